"""The small interface to the fork's `model/`: what it must provide, checked before any work is done."""

import importlib
import importlib.util
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ci.errors import InputError

KINDS = ("binary", "regression")
DTYPES = ("string", "int64", "float32")
GUIDE = "model/README.md says what a task provides"
_INIT = "model/__init__.py"


@dataclass(frozen=True)
class Task:
    """What is to be predicted, from which fields; the names mean the same as in `model/__init__.py`."""

    kind: Literal["binary", "regression"]
    target: str
    time: str
    features: Mapping[str, str]
    slices: tuple[str, ...]


def load() -> Task:
    """Return the task that `model/` declares. Imports no data library and no TensorFlow.

    Raises:
        InputError: a name is missing or has a value that the pipeline cannot use.
    """
    with told(f"{_INIT} cannot be used"):
        return _load()


def _load() -> Task:
    kind = part("model", "KIND")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"{_INIT}: KIND is {kind!r}: expected {' or '.join(map(repr, KINDS))}; {GUIDE}")
    target, time = (_column(name, part("model", name)) for name in ("TARGET", "TIME"))
    features = part("model", "FEATURES")
    if not isinstance(features, Mapping) or not features:
        raise InputError(f"{_INIT}: FEATURES is {features!r}: expected the names of fields and their types; {GUIDE}")
    for name, dtype in features.items():
        _column("FEATURES", name)
        if dtype not in DTYPES:
            raise InputError(f"{_INIT}: FEATURES[{name!r}] is {dtype!r}: expected one of {', '.join(DTYPES)}")
    slices = part("model", "SLICES")
    if not isinstance(slices, list | tuple):
        raise InputError(f"{_INIT}: SLICES is {slices!r}: expected a tuple of columns, such as ('a',) or (); {GUIDE}")
    for name in slices:
        _column("SLICES", name)
        if list(slices).count(name) > 1:
            raise InputError(f"{_INIT}: SLICES holds {name} more than once: remove one")
    _apart(target, time, features, slices)
    return Task("binary" if kind == "binary" else "regression", target, time, dict(features), tuple(slices))


def _column(declared: str, name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise InputError(f"{_INIT}: {declared}: {name!r} is no name of a column; {GUIDE}")
    return name


def _apart(target: str, time: str, features: Mapping[str, str], slices: list[str] | tuple[str, ...]) -> None:
    """Check that no column stands for two things that exclude each other.

    Raises:
        InputError: one does.
    """
    if target in features:
        raise InputError(
            f"{_INIT}: FEATURES holds {target}, which is TARGET: a model that is told the answer learns nothing else; "
            "remove it"
        )
    if time in features:
        raise InputError(f"{_INIT}: FEATURES holds {time}, which is TIME: give what matters of it a column of its own")
    if target == time:
        raise InputError(f"{_INIT}: TARGET and TIME are both {target}: the day of a row is known, not predicted")
    if target in slices:
        raise InputError(
            f"{_INIT}: SLICES holds {target}, which is TARGET: where all answers are the same nothing can be judged; "
            "remove it"
        )


def part(module: str, name: str) -> Any:
    """Return one name from a module of the task, such as `part("model.data", "load")`.

    Raises:
        InputError: the module or the name is missing, or the module cannot be imported.
    """
    file = module.replace(".", "/") + ("/__init__.py" if module == "model" else ".py")
    try:
        with told(f"{file} cannot be imported", but=(ModuleNotFoundError,)):
            found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in ("model", module):
            with told(f"{file} cannot be imported"):
                raise
        raise InputError(f"{file} is missing: {GUIDE}") from None
    if not hasattr(found, name):
        raise InputError(f"{file}: {name} is missing: {GUIDE}")
    return getattr(found, name)


@contextmanager
def told(what: str, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Run code of the task. An exception becomes an InputError that names the task's file and line.

    Args:
        what: what could not be done.
        but: errors that the caller has better words for.

    Raises:
        InputError: the code raised something, or would have ended the process.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, (InputError, *but)):
            raise
        raise InputError(f"{where(error)}{what}: {in_words(error)}") from error


def where(error: BaseException) -> str:
    """Return the place in `model/` where an error arose, as `model/data.py:7: `, or nothing if it arose elsewhere."""
    if isinstance(error, SyntaxError) and error.filename:
        places = [(error.filename, error.lineno)]
    else:
        places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    package = importlib.util.find_spec("model")
    folders = [Path(folder).resolve() for folder in (package and package.submodule_search_locations) or ()]
    for file, line in reversed(places):
        for folder in folders:
            if (path := Path(file).resolve()).is_relative_to(folder):
                return f"model/{path.relative_to(folder).as_posix()}:{line}: "
    return ""


def in_words(error: BaseException) -> str:
    """Return an error in one line: its kind, as few messages make sense without it, and its message."""
    try:
        message = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    except Exception:  # an error's own words are code of the task too
        message = ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
