"""DVC, which caches the stages: why a stage runs, cleaning up after a killed command, and pruning its cache."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ci import git, workspace
from ci.errors import InputError, StageError

COMMAND = (sys.executable, "-m", "dvc")
RWLOCK = Path(".dvc/tmp/rwlock")


def make_ready() -> None:
    """Prepare for the next DVC command: wait for running ones, and remove what killed ones left.

    Raises:
        InputError: this folder is in no Git repository, without which DVC does nothing, or `dvc.lock` was not merged.
    """
    if not git.checkout().repository:
        raise InputError(f"this folder is {git.NONE} (a downloaded archive is none), and DVC needs one: run `git init`")
    release(RWLOCK)
    clear_stale(workspace.LOCK)


def remote() -> str:
    """Return the name of the remote that shares results; empty if there is none."""
    return _dvc("config", "core.remote", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.strip()


def remote_url(name: str) -> str:
    """Return where a remote is: a folder's absolute path, or an address."""
    asked = ("config", f"remote.{name}.url")
    url = _dvc(*asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.strip()
    return url if "://" in url else str((Path(".dvc") / url).resolve())


def reasons(stage: str) -> dict[str, list[str]]:
    """Return for a stage and each one before it that is not up to date what changed, before anything runs."""
    result = _dvc("status", "--json", stage, "--with-deps", stdout=subprocess.PIPE)
    if result.returncode:
        raise StageError("dvc status failed; its message is above")
    status: dict[str, Any] = json.loads(result.stdout or "{}")
    known = mapping(workspace.LOCK) or {}
    ran = known.get("stages")
    return {
        name: list(_changes(found)) if isinstance(ran, dict) and name in ran else ["it has not run here before"]
        for name, found in status.items()
    }


def _dvc(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=git.environment(), encoding="utf-8", errors="replace", check=False, **options
    )


def _changes(found: list[Any]) -> Iterator[str]:
    for entry in found:
        if not isinstance(entry, dict):
            yield str(entry)
            continue
        for kind, paths in entry.items():
            for path, change in paths.items() if isinstance(paths, dict) else [(kind, paths)]:
                inner = ", ".join(change) if isinstance(change, dict) else change
                yield f"{path} is {inner}" if isinstance(change, str) else f"{path}: {inner} changed"


def collect(*, dry_run: bool, tips: bool) -> int | str:
    """Delete what neither a commit nor the workspace names from DVC's cache.

    Data that any commit tracks stay; results of builds other than the last go, and are computed again if asked for.
    The remote is left alone, as others share it.

    Args:
        dry_run: delete nothing.
        tips: of the commits only the tips of branches and tags count.

    Returns:
        the bytes that this freed, or why the cache was not touched.

    Raises:
        StageError: DVC failed; its message has been printed.
    """
    if not git.checkout().repository:
        return f"this folder is {git.NONE}, so there is no cache of DVC's"
    if hidden := git.hidden(tips=tips):
        return hidden
    release(RWLOCK)
    where = _dvc("cache", "dir", stdout=subprocess.PIPE)
    cache = Path(where.stdout.strip())
    if where.returncode:
        raise StageError("dvc cache dir failed; its message is above")
    if not cache.resolve().is_relative_to(Path.cwd()):
        return "outside the repository, where others may share it"
    before = workspace.size(cache)
    named = ["--all-branches", "--all-tags"] if tips else ["--all-commits"]
    command = ["gc", "--workspace", *named, "--force", *(["--dry"] if dry_run else [])]
    if _dvc(*command, stdout=sys.stderr).returncode:
        if not tips:  # one old commit with a file that DVC cannot read is enough
            return "DVC cannot read every commit, see above; `python -m scripts.prune --tips` asks the tips only"
        raise StageError("dvc gc failed; its message is above")
    return before - workspace.size(cache)


def clear_stale(path: Path) -> None:
    """Remove a file of DVC's that a killed run left empty or cut short: every later DVC command would fail on it.

    Raises:
        InputError: Git left marks of a merge in it.
    """
    if not path.exists() or mapping(path) is not None:
        return
    if any(line.startswith(b"<<<<<<< ") for line in path.read_bytes().splitlines()):
        raise InputError(f"{path}: Git could not merge it: take one version, as by `git checkout --ours -- {path}`")
    path.unlink()
    print(f"dvc: removed {path}, which a killed run had left unreadable")


def mapping(path: Path) -> dict[str, Any] | None:
    """Return the content of one of DVC's YAML files; None if it is missing or is not a mapping."""
    try:
        content = yaml.safe_load(path.read_bytes())
    except (FileNotFoundError, yaml.YAMLError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def release(path: Path) -> None:
    """Wait for DVC commands that outlive the run that started them, then remove the locks that killed ones left.

    DVC itself takes a killed command that is not yet reaped, or another program under its number, for a holder.
    """
    said: set[int] = set()
    while pids := _holders(path):
        if pids - said:
            print(f"dvc: waiting for process {', '.join(map(str, sorted(pids)))} of another run to end", flush=True)
            said |= pids
        time.sleep(0.5)
    path.unlink(missing_ok=True)


def _holders(path: Path) -> set[int]:
    """Return the living DVC processes that hold a lock in DVC's lock file."""
    try:
        locks = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return set()
    found = [lock.get(kind) for lock in _values(locks) if isinstance(lock, dict) for kind in ("read", "write")]
    entries = [entry for held in found for entry in (held if isinstance(held, list) else [held])]
    pids = [entry.get("pid") for entry in entries if isinstance(entry, dict)]
    return {pid for pid in pids if type(pid) is int and _is_dvc(pid)}


def _values(locks: Any) -> list[Any]:
    return list(locks.values()) if isinstance(locks, dict) else []


def _is_dvc(pid: int) -> bool:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()  # empty for a process that only waits to be reaped
    except OSError:
        return False
    return b"dvc" in {word.rpartition(b"/")[2] for word in line.split(b"\0")}
