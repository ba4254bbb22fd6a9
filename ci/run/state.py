"""What this machine remembers of its clusters of Kind, outside of every checkout: locks, and what was begun."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ci import workspace
from ci.errors import StageError


def folder() -> Path:
    """Return the folder, which need not exist: `model-pipeline` in `$XDG_CACHE_HOME`, as a rule `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "model-pipeline"


def volume() -> Path:
    """Return the folder that clusters mount as their DVC remote; it outlives them, and is made here.

    Pods write there as user 1000, whoever runs Docker, so it is open to all users of this machine.
    """
    outer = folder() / "volume"
    remote = outer / "dvc-remote"
    remote.mkdir(parents=True, exist_ok=True)
    if remote.stat().st_uid == os.getuid():
        remote.chmod(0o777)
    return outer


class Note:
    """A small file that says that something is ours, or was begun."""

    def __init__(self, name: str):
        self._name = name

    @property
    def path(self) -> Path:
        """The file."""
        return folder() / self._name

    def text(self) -> str:
        """Return what it says, empty if it was never written."""
        return self.path.read_text(encoding="utf-8").strip() if self.path.exists() else ""

    def write(self, text: str) -> None:
        """Write it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        workspace.write_text(self.path, f"{text}\n")

    def remove(self) -> None:
        """Forget it."""
        self.path.unlink(missing_ok=True)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Keep every other user of a cluster out while the block runs; the lock ends with this process, however it ends.

    Args:
        name: the cluster's.

    Raises:
        StageError: somebody else has it; the message says who.
    """
    path = folder() / f"kind-{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StageError(
                f"cluster {name} is in use by {_holder(path)}: wait for it, or name another CLUSTER"
            ) from None
        file.truncate(0)
        holder = {"pid": os.getpid(), "folder": str(Path.cwd()), "since": f"{datetime.now(UTC):%H:%M:%S} UTC"}
        file.write(json.dumps(holder))
        file.flush()
        yield


def _holder(path: Path) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return f"process {found['pid']} in {found['folder']} since {found['since']}"
    except (OSError, ValueError, LookupError, TypeError):  # it is just being written
        return "another process"
