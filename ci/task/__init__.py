"""The small interface to the fork's `model/`: what it must provide, checked before any work is done."""

from ci.task import declaration
from ci.task.code import in_words, optional, part, told, where
from ci.task.declaration import Field, Metric, Output, Summary, Task

__all__ = ["Field", "Metric", "Output", "Summary", "Task", "in_words", "load", "optional", "part", "told", "where"]


def load() -> Task:
    """Return the task that `model/` declares. Imports no data library and no TensorFlow.

    Raises:
        InputError: a name is missing or has a value that the pipeline cannot use.
    """
    with told("model/__init__.py cannot be used"):
        return declaration.read()
