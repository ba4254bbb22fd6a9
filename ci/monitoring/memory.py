"""What outlives a build: the windows that were watched and the retrainings that were begun, as lines of two files.

Each change holds a lock, reads what is there, and replaces the file at once: however many monitors run, and whenever
one is killed, the files are whole and hold each window once.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ci import workspace
from ci.results.file import File, Lines
from ci.results.monitoring import Attempt, Labels, Watched
from ci.settings import History


def watched(settings: History) -> list[Watched]:
    """Return the windows that were watched; raises as `Lines.read_all` does."""
    return _windows(settings).read_all()


def watch(found: Watched, settings: History) -> None:
    """Record a window; one of the same release and days is replaced."""
    file = _windows(settings)
    with _locked(file.path.with_name("watched.lock")):
        key = (found.release, found.window)
        others = [each for each in file.read_all() if (each.release, each.window) != key]
        _write(file, [*others, found][-settings.keep :])


def attempts(settings: History) -> list[Attempt]:
    """Return the retrainings that were begun, the oldest first; raises as `Lines.read_all` does."""
    return _attempts(settings).read_all()


def attempt(made: Attempt, settings: History) -> None:
    """Record a retraining, for those who hold `alone`; what was recorded of the same request is replaced."""
    file = _attempts(settings)
    others = [each for each in file.read_all() if each.request != made.request]
    _write(file, [*others, made][-settings.keep :])


def labels(settings: History) -> File[Labels]:
    """Return the file that says which labels have come."""
    return File(Path(settings.folder) / "labels.json", Labels)


@contextmanager
def alone(settings: History) -> Iterator[IO[str] | None]:
    """Hold the right to begin a retraining; yields the locked file, or None if another has it.

    A process that inherits the file holds the lock as well, so that what it does counts as running if we are killed.
    """
    path = Path(settings.folder) / "retraining.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(file: Lines[Watched] | Lines[Attempt], entries: list[Watched] | list[Attempt]) -> None:
    workspace.write_text(file.path, file.text(each.model_dump(mode="json") for each in entries))


def _windows(settings: History) -> Lines[Watched]:
    return Lines(Path(settings.folder) / "watched.jsonl", Watched)


def _attempts(settings: History) -> Lines[Attempt]:
    return Lines(Path(settings.folder) / "retrainings.jsonl", Attempt)
