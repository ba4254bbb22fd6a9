"""The releases of this machine: a file with a record for each, and a folder with the evidence of each.

Each environment has its own, in a folder with its lock and its servers' sockets.
"""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ci import workspace
from ci.errors import InputError, StageError
from ci.releases.ledger import Ledger, Release
from ci.results.rollout import RELEASES

FOLDER = workspace.STATE / "serving"
RECORDS = RELEASES.path


def folder(environment: str | None) -> Path:
    """Return the folder of an environment on this machine; None where there is one place only."""
    return FOLDER if environment is None else FOLDER.with_name(f"{FOLDER.name}-{environment}")


def folders() -> list[Path]:
    """Return the folder of every place that something may have been released to."""
    return [FOLDER, *sorted(FOLDER.parent.glob(f"{FOLDER.name}-*"))]


class MachineLedger(Ledger):
    """The releases that this checkout has served on this machine.

    Args:
        environment: where, if there are several environments.
    """

    def __init__(self, environment: str | None = None) -> None:
        super().__init__()
        self.folder = folder(environment)
        self.records = self.folder / RECORDS.name

    def read(self) -> list[Release]:
        """Return every release, the oldest first.

        Raises:
            StageError: the record is damaged; names file, line and key.
        """
        try:
            found: list[Release] = RELEASES.plain_all(self.records)
        except InputError as error:  # nobody but the pipeline writes it
            raise StageError(f"{error}, or delete it to begin anew") from None
        for number, release in enumerate(found, 1):
            if release["release"] != number:
                why = f"release: it is {release['release']}, where release {number} should be"
                raise StageError(f"{self.records}:{number}: {why}: restore it, or delete it to begin anew")
        return found

    def add(self, release: Release) -> Release:
        """Record a release under the next number, and return it with that number."""
        releases = self.read()
        record = {"release": len(releases) + 1, **release}
        workspace.write_text(self.records, RELEASES.text([*releases, record]))
        return record

    def keep(self, digest: str, files: dict[str, str]) -> None:
        """Store a version's evidence: file names with their text."""
        for name, text in files.items():
            workspace.write_text(self.evidence(digest) / name, text)

    def restore(self, releases: list[Release]) -> None:
        """Put these releases in the place of what is recorded."""
        workspace.write_text(self.records, RELEASES.text(releases))

    def evidence(self, digest: str) -> Path:
        """Return the folder with a version's manifest, golden predictions and reference statistics."""
        return self.folder / "releases" / digest.removeprefix("sha256:")


@contextmanager
def alone(place: Path = FOLDER) -> Iterator[None]:
    """Hold the lock on what serves on this machine; it ends with the process at the latest.

    Args:
        place: the folder of the environment.

    Raises:
        StageError: another command holds it.
    """
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StageError("another deploy, serve or stop is under way here: wait for it, then try again") from None
        yield


@contextmanager
def all_alone() -> Iterator[None]:
    """Hold the locks of all environments on this machine; raises as `alone` does."""
    with ExitStack() as held:
        for place in folders():
            held.enter_context(alone(place))
        yield
