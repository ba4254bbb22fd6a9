"""The state of a search on disk: one file, replaced as a whole, with a checksum and the version before it."""

import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import IO, Any

from ci import workspace
from ci.errors import InputError

VERSION = 1
FILE = "search.json"
LAST_GOOD = "search.previous.json"


def save(folder: Path, content: dict[str, Any]) -> None:
    """Replace the state in `folder`; the one it replaces stays beside it."""
    path, previous = folder / FILE, folder / LAST_GOOD
    text = json.dumps(content, sort_keys=True)
    document = {"version": VERSION, "sha256": hashlib.sha256(text.encode()).hexdigest(), "content": text}
    if path.exists():
        beside = folder / f".{LAST_GOOD}.part"
        beside.unlink(missing_ok=True)
        os.link(path, beside)
        beside.replace(previous)
    workspace.write_bytes(path, json.dumps(document).encode())


def load(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the newest state in `folder` that is whole, None if there never was one, and what was wrong on the way.

    Raises:
        InputError: there is state, but neither it nor the one before it is whole, or another version wrote it.
    """
    problems: list[str] = []
    for name in (FILE, LAST_GOOD):
        path = folder / name
        try:
            return _read(path), problems
        except FileNotFoundError:
            continue
        except ValueError as error:
            problems.append(f"{path} is damaged ({error}): the state before it is used")
    if problems:
        raise InputError(f"{folder}: the state of the search and the one before it are damaged; {_afresh(folder)}")
    return None, problems


def lock(folder: Path) -> IO[str]:
    """Return a file whose lock on `folder` lasts until it is closed or the process ends, however that happens.

    Raises:
        InputError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise InputError(
            f"{folder}: another search (process {owner}) works on this state: wait for it to end, or end it"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def check_space(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Compare the search space of a state with the model's, both as keras-tuner's configuration.

    Raises:
        InputError: they differ; says in what, and how to start afresh.
    """
    old, new = ({_name(entry): entry["config"] for entry in config["space"]} for config in (before, now))
    changes = [f"{name} is new" for name in new.keys() - old.keys()]
    changes += [f"{name} is gone" for name in old.keys() - new.keys()]
    for name in old.keys() & new.keys():
        fields = [field for field in new[name] if new[name][field] != old[name].get(field)]
        changes += [f"{name}: {field} was {old[name].get(field)}, is {new[name][field]}" for field in fields]
    if changes:
        raise InputError(
            f"the search space changed under a running search: {'; '.join(sorted(changes))}; {_afresh(folder)}"
        )


def _name(entry: dict[str, Any]) -> str:
    conditions = [f"{c['config']['name']} in {c['config']['values']}" for c in entry["config"]["conditions"]]
    return f"{entry['config']['name']} ({entry['class_name']}{''.join(f', if {c}' for c in conditions)})"


def _afresh(folder: Path) -> str:
    return f"delete {folder} to start afresh"


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a state file.

    Raises:
        ValueError: it is not whole.
        InputError: another version wrote it.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or not {"version", "sha256", "content"} <= document.keys():
        raise ValueError("not a state of a search")
    if document["version"] != VERSION:
        raise InputError(f"{path}: version {document['version']}, this program reads {VERSION}; {_afresh(path.parent)}")
    if hashlib.sha256(str(document["content"]).encode()).hexdigest() != document["sha256"]:
        raise ValueError("its checksum is wrong")
    content: dict[str, Any] = json.loads(document["content"])
    return content
