"""What outlives a build: the windows that were watched and the retrainings that were begun, as lines of two files.

Each change holds a lock, reads what is there, and replaces the file at once: however many monitors run, and whenever
one is killed, the files are whole and hold each window once.
"""

import fcntl
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from ci import workspace
from ci.errors import InputError
from ci.results.backup import Remembered
from ci.results.file import File, Lines
from ci.results.monitoring import Attempt, Labels, Look, Shadow, Watched
from ci.settings import Settings
from ci.settings.watching import History

_LOOKS = 1000
"""Looks that are kept."""


def require(settings: Settings, file: Path, variables: Mapping[str, str]) -> None:
    """Check that what is remembered outlives the process, where a setting needs that.

    Args:
        settings: the fork's.
        file: what they are in, for messages.
        variables: of the environment; Kubernetes tells each pod by them where its API is.

    Raises:
        InputError: a shadow is wanted, and would end with this pod.
    """
    folder = settings.history.folder
    if settings.rollout.shadow and "KUBERNETES_SERVICE_HOST" in variables and not Path(folder).is_absolute():
        raise InputError(
            f"{file}: history.folder: {folder} ends with this pod, and so would the shadow that rollout.shadow keeps "
            "there: name a folder on a volume that all builds mount, such as /var/lib/dvc-remote/history"
        )


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


def looks(settings: History) -> list[Look]:
    """Return the looks at the gateways' counters, the oldest first; raises as `Lines.read_all` does."""
    return _looks(settings).read_all()


def look(
    time: datetime, pods: Mapping[str, tuple[int, int]], settings: History, p99: float | None = None
) -> list[Look]:
    """Record what the gateways' counters say, and return all looks.

    Args:
        time: when.
        pods: by pod, its requests and errors since its gateway started.
        settings: where.
        p99: seconds that the slowest of 100 of the last requests took.
    """
    file = _looks(settings)
    with _locked(file.path.with_name("watched.lock")):
        before = file.read_all()
        last = before[-1] if before else Look(time=time, pods=dict(pods), requests=0, errors=0)
        more = [0, 0]
        for pod, counted in pods.items():
            known = last.pods.get(pod, (0, 0))
            again = counted[0] < known[0]  # its gateway was started again: what it counts since then is all
            for place in range(2):
                more[place] += max(counted[place] - (0 if again else known[place]), 0)
        sums = {"requests": last.requests + more[0], "errors": last.errors + more[1]}
        found = Look(time=time, pods=dict(pods), **sums, p99=p99)
        kept = [*before, found][-_LOOKS:]
        _write(file, kept)
    return kept


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


def shadow(settings: History) -> File[Shadow]:
    """Return the file about the champion's shadow, beside which its model lies."""
    return File(Path(settings.folder) / "shadow" / "shadow.json", Shadow)


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


def saved(settings: History) -> dict[str, Any]:
    """Return all that is remembered as JSON values, for a backup."""
    labelled, days = labels(settings), sorted((Path(settings.folder) / "requests").glob("*.parquet"))
    return {
        "watched": _windows(settings).plain_all(),
        "retrainings": _attempts(settings).plain_all(),
        "labels": labelled.plain() if labelled.path.exists() else None,
        "requests": {path.name: b64encode(path.read_bytes()).decode() for path in days},
    }


def restore(found: Remembered, settings: History, *, dry_run: bool) -> str:
    """Put back what is lost of a backup, and return that in words; what is there stays as it is."""
    seen, tried, folder = watched(settings), attempts(settings), Path(settings.folder) / "requests"
    windows = {(each.release, each.window): each for each in [*found.watched, *seen]}
    tries = {each.request: each for each in [*found.retrainings, *tried]}
    days = {name: content for name, content in found.requests.items() if not (folder / name).exists()}
    labelled = None if labels(settings).path.exists() else found.labels
    if not dry_run:
        for name, content in days.items():
            workspace.write_bytes(folder / name, content)
        if len(windows) > len(seen):
            _write(_windows(settings), sorted(windows.values(), key=lambda each: each.window.end)[-settings.keep :])
        if len(tries) > len(tried):
            _write(_attempts(settings), sorted(tries.values(), key=lambda each: each.time)[-settings.keep :])
        if labelled:
            labels(settings).write(labelled)
    words = f"{len(windows) - len(seen)} windows, {len(tries) - len(tried)} retrainings, {len(days)} days of requests"
    return f"{words} that were lost" + (", and what labels came" if labelled else "")


@contextmanager
def requests(settings: History) -> Iterator[Path]:
    """Give the folder of the requests that are kept, by day; nobody else changes them meanwhile."""
    folder = Path(settings.folder) / "requests"
    with _locked(folder.with_suffix(".lock")):
        yield folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(
    file: Lines[Watched] | Lines[Attempt] | Lines[Look], entries: list[Watched] | list[Attempt] | list[Look]
) -> None:
    workspace.write_text(file.path, file.text(each.model_dump(mode="json") for each in entries))


def _windows(settings: History) -> Lines[Watched]:
    return Lines(Path(settings.folder) / "watched.jsonl", Watched)


def _looks(settings: History) -> Lines[Look]:
    return Lines(Path(settings.folder) / "looks.jsonl", Look)


def _attempts(settings: History) -> Lines[Attempt]:
    return Lines(Path(settings.folder) / "retrainings.jsonl", Attempt)
