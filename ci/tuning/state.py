"""The state of a search on disk: one file, replaced as a whole, with a checksum and the version before it."""

import fcntl
import hashlib
import json
import os
import time
from pathlib import Path
from typing import IO, Any

from ci import reading, workspace
from ci.errors import InputError

VERSION = 3
FILE = "search.json"
_MOST = 2**28
"""Bytes that the state of a search may have."""
LAST_GOOD = "search.previous.json"
DAMAGED = "search.damaged.json"
AFRESH = "to start afresh, delete {}"


def save(folder: Path, content: dict[str, Any]) -> None:
    """Replace the state in `folder`; the one it replaces stays beside it."""
    path = folder / FILE
    text = json.dumps(content, sort_keys=True)
    document = {"version": VERSION, "sha256": hashlib.sha256(text.encode()).hexdigest(), "content": text}
    if path.exists():
        path.replace(folder / LAST_GOOD)
    workspace.write_bytes(path, json.dumps(document).encode())


def load(folder: Path) -> dict[str, Any] | None:
    """Return the newest state in `folder` that is whole, None if there never was one; says what was damaged.

    Raises:
        InputError: there is state, but neither it nor the one before it is whole, or another version wrote it.
    """
    newest, before = folder / FILE, folder / LAST_GOOD
    if not newest.exists() and not before.exists():
        return None
    for path in (newest, before):
        if not path.exists():
            continue  # killed between two renames: the one before it is the newest
        try:
            return _read(path)
        except (reading.ReadError, ValueError, KeyError, TypeError) as error:
            kept = path.replace(folder / DAMAGED)  # or the next save would put it in the place of the good one
            print(f"warning: {path} is damaged ({error}), and is {kept} now", flush=True)
    raise InputError(f"{folder}: the search's state and the one before it are damaged; {AFRESH.format(folder)}")


def _read(path: Path) -> dict[str, Any]:
    document = reading.json(reading.content(path, _MOST), path)
    if document["version"] != VERSION:
        raise InputError(f"{path}: version {document['version']}, not {VERSION}; {AFRESH.format(path.parent)}")
    if hashlib.sha256(document["content"].encode()).hexdigest() != document["sha256"]:
        raise ValueError("its checksum is wrong")
    content: dict[str, Any] = reading.json(document["content"].encode(), path)
    return content


def lock(folder: Path) -> IO[str]:
    """Return a file whose lock on `folder` lasts until it is closed or the process ends, however that happens.

    Raises:
        InputError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        owner = path.read_text(encoding="utf-8", errors="replace").strip()[:20] or "unknown"
        raise InputError(f"{folder}: another search (process {owner}) works here: wait for it, or end it") from None
    path.write_text(f"{os.getpid()}\n")
    return file


def taken(folder: Path, wait: float) -> bool:
    """Tell whether another process holds the lock on a folder, and still does after so many seconds."""
    end = time.monotonic() + wait
    while True:
        try:
            lock(folder).close()
        except InputError:
            if time.monotonic() > end:
                return True
            time.sleep(0.5)
        else:
            return False


def peek(folder: Path) -> dict[str, Any] | None:
    """Return the state of another search, to describe it in a message; None if it cannot be read."""
    try:
        return _read(folder / FILE)
    except (InputError, OSError, ValueError, KeyError, TypeError):
        return None


def check_space(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Compare the search space of a state with the model's.

    Raises:
        InputError: they differ; says in what, and how to start afresh.
    """
    if changes := difference(before, now):
        raise InputError(f"the search space changed under a running search: {changes}; {AFRESH.format(folder)}")


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return in words how two search spaces differ, as keras-tuner's configuration has them; "" if they do not."""
    old, new = ([json.dumps(entry, sort_keys=True) for entry in config["space"]] for config in (before, now))
    gone = "; ".join(entry for entry in old if entry not in new)
    come = "; ".join(entry for entry in new if entry not in old)
    return f"gone: {gone or 'nothing'}; new: {come or 'nothing'}" if gone or come else ""
