"""The releases of this machine: a file with a record for each, and a folder with the evidence of each."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ci import workspace
from ci.errors import InputError, StageError
from ci.releases.ledger import Ledger, Release
from ci.results.rollout import RELEASES

FOLDER = workspace.STATE / "serving"
RECORDS = RELEASES.path


class MachineLedger(Ledger):
    """The releases that this checkout has served on this machine."""

    def read(self) -> list[Release]:
        """Return every release, the oldest first.

        Raises:
            StageError: the record is damaged; names file, line and key.
        """
        try:
            found: list[Release] = RELEASES.plain_all()
        except InputError as error:  # nobody but the pipeline writes it
            raise StageError(f"{error}, or delete it to begin anew") from None
        for number, release in enumerate(found, 1):
            if release["release"] != number:
                why = f"release: it is {release['release']}, where release {number} should be"
                raise StageError(f"{RECORDS}:{number}: {why}: restore it, or delete it to begin anew")
        return found

    def add(self, release: Release) -> Release:
        """Record a release under the next number, and return it with that number."""
        releases = self.read()
        record = {"release": len(releases) + 1, **release}
        workspace.write_text(RECORDS, RELEASES.text([*releases, record]))
        return record

    def evidence(self, digest: str) -> Path:
        """Return the folder with a version's manifest, golden predictions and reference statistics."""
        return FOLDER / "releases" / digest.removeprefix("sha256:")


@contextmanager
def alone() -> Iterator[None]:
    """Hold the lock on what serves on this machine; it ends with the process at the latest.

    Raises:
        StageError: another command holds it.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StageError("another deploy, serve or stop is under way here: wait for it, then try again") from None
        yield
