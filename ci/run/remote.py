"""Retention of the DVC remote: old results go, unless a commit names them or a later result was made from them.

Which results there are is in the remote's cache of runs: for each run of a stage what it read and wrote, by digest.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ci import git, workspace
from ci.run import dvc

_DIGEST = re.compile(r"\bmd5: '?([0-9a-f]{32}(?:\.dir)?)\b")
_DAY = 86400.0


@dataclass(frozen=True)
class Run:
    """A run of a stage.

    Attributes:
        command: the stage's.
        time: when it was pushed; seconds since the epoch.
        reads: digests of what it depends on.
        writes: digests of what it made.
    """

    command: str
    time: float
    reads: frozenset[str]
    writes: frozenset[str]


def needed(runs: Mapping[Path, Run], limit: float) -> set[Path]:
    """Return the runs that stay: the later ones, the newest of each command, and those that one of them builds on.

    Args:
        runs: by their file.
        limit: the time before which a run is old; seconds since the epoch.
    """
    newest: dict[str, Path] = {}
    for path, run in sorted(runs.items(), key=lambda item: (item[1].time, item[0])):
        newest[run.command] = path
    found = {path for path, run in runs.items() if run.time >= limit} | set(newest.values())
    while True:
        wanted = {digest for path in found for digest in runs[path].reads}
        more = {path for path, run in runs.items() if run.writes & wanted} - found
        if not more:
            return found
        found |= more


def retire(days: float, now: float, *, dry_run: bool) -> str:
    """Delete what is older than so many days and needed no more, and say what that was, or why nothing was touched.

    Args:
        days: age from which a result may go; days.
        now: seconds since the epoch.
        dry_run: delete nothing.
    """
    folder = _folder()
    if isinstance(folder, str):
        return f"not touched: {folder}"
    if hidden := git.hidden(tips=False):
        return f"not touched: {hidden}"
    limit = now - days * _DAY
    objects = [path for path in folder.glob("files/md5/??/*") if path.is_file()]
    runs = {path: run for path in folder.glob("runs/??/*/*") if (run := _run(path)) is not None}
    kept = needed(runs, limit)
    digests = {digest for path in kept for digest in (*runs[path].reads, *runs[path].writes)} | set(_tracked())
    digests |= {inner for digest in digests if digest.endswith(".dir") for inner in _inside(folder, digest)}
    old = [path for path in objects if path.parent.name + path.name not in digests and path.stat().st_mtime < limit]
    results = sorted(runs.keys() - kept)
    freed = sum(workspace.size(path) for path in (*results, *old))
    if not dry_run:
        for path in (*results, *old):  # first the runs, so that none is left whose results are gone
            path.unlink(missing_ok=True)
    what = f"{len(results)} of {len(runs)} runs and {len(old)} of {len(objects)} files"
    return f"{what}, {freed / 1e6:.1f} MB {'to free' if dry_run else 'freed'}"


def _folder() -> Path | str:
    """Return the folder that is the remote, or why there is none."""
    name = dvc.remote()
    if not name:
        return "there is no DVC remote"
    url = dvc.remote_url(name)
    if "://" in url:
        return f"{url} is no folder: let the rules of the object store delete what is old (docs/operations.md)"
    folder = Path(url)
    return folder if folder.is_dir() else f"{url} is not there"


def _run(path: Path) -> Run | None:
    """Return a run of the cache; None if the file is none."""
    found = dvc.mapping(path)
    if found is None or not path.is_file():
        return None
    reads, writes = (
        frozenset(str(each["md5"]) for each in found.get(key) or () if isinstance(each, dict) and "md5" in each)
        for key in ("deps", "outs")
    )
    return Run(str(found.get("cmd")), path.stat().st_mtime, reads, writes)


def _inside(folder: Path, digest: str) -> Iterator[str]:
    """Yield the digests of the files in a folder that DVC knows by one digest."""
    path = folder / "files" / "md5" / digest[:2] / digest[2:]
    if path.exists():
        yield from (entry["md5"] for entry in json.loads(path.read_bytes()))


def _tracked() -> Iterator[str]:
    """Yield the digests of all that any commit, or this checkout, names."""
    if workspace.LOCK.exists():
        yield from _DIGEST.findall(workspace.LOCK.read_text(encoding="utf-8", errors="replace"))
    for file in Path().glob("**/*.dvc"):
        if file.is_file():
            yield from _DIGEST.findall(file.read_text(encoding="utf-8", errors="replace"))
    listed = git.output("rev-list", "--objects", "--all", "--", ":(glob)**/*.dvc", ":(glob)**/dvc.lock")
    for line in listed.splitlines():
        name, _, path = line.partition(" ")
        if path.endswith(".dvc") or path.rpartition("/")[2] == workspace.LOCK.name:
            yield from _DIGEST.findall(git.output("cat-file", "-p", name))
