"""Running code of the fork's `model/`: what it lacks or raises becomes bad input, with its file and line."""

import importlib
import importlib.util
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ci.errors import InputError

GUIDE = "docs/task.md says what a task provides"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""How Keras prints words in bold."""


def part(module: str, name: str) -> Any:
    """Return one name from a module of the task, such as `part("model.data", "load")`.

    Raises:
        InputError: the module or the name is missing, or the module cannot be imported.
    """
    found = _module(module)
    if not hasattr(found, name):
        raise InputError(f"{_file(module)}: {name} is missing: {GUIDE}")
    return getattr(found, name)


def optional(module: str, name: str, default: Any = None) -> Any:
    """Return one name from a module of the task, or `default` if the task has no such module or name.

    Raises:
        InputError: the module cannot be imported.
    """
    if module != "model" and not Path(_file(module)).exists():
        return default
    return getattr(_module(module), name, default)


def _file(module: str) -> str:
    return module.replace(".", "/") + ("/__init__.py" if module == "model" else ".py")


def _module(module: str) -> Any:
    file = _file(module)
    try:
        with told(f"{file} cannot be imported", but=(ModuleNotFoundError,)):
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in ("model", module):
            with told(f"{file} cannot be imported"):
                raise
        raise InputError(f"{file} is missing: {GUIDE}") from None


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
        message = " ".join(_COLOUR.sub("", str(error.msg if isinstance(error, SyntaxError) else error)).split())
    except Exception:  # an error's own words are code of the task too
        message = ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
