"""The small interface to the fork's `model/`: what it must provide, checked before any work is done."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ci.errors import InputError

DTYPES = ("string", "int64", "float32")
GUIDE = "model/README.md says what a task provides"


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
    kind = part("model", "KIND")
    if kind not in ("binary", "regression"):
        raise InputError(f"model/__init__.py: KIND is {kind!r}: expected 'binary' or 'regression'; {GUIDE}")
    features = dict(part("model", "FEATURES"))
    for name, dtype in features.items():
        if dtype not in DTYPES:
            raise InputError(f"model/__init__.py: FEATURES[{name!r}] is {dtype!r}: expected one of {', '.join(DTYPES)}")
    return Task(kind, part("model", "TARGET"), part("model", "TIME"), features, tuple(part("model", "SLICES")))


def part(module: str, name: str) -> Any:
    """Return one name from a module of the task, such as `part("model.data", "load")`.

    Raises:
        InputError: the module or the name is missing.
    """
    file = module.replace(".", "/") + ("/__init__.py" if module == "model" else ".py")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("model"):
            raise
        raise InputError(f"{file} is missing: {GUIDE}") from None
    if not hasattr(found, name):
        raise InputError(f"{file}: {name} is missing: {GUIDE}")
    return getattr(found, name)
