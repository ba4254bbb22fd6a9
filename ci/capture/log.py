"""A log of captured requests in a file, where no gateway of a cluster can be asked: a JSON object a line.

A line has what a gateway captures: `number`, `time`, `path`, `status`, `request` and `response`, and if they are known
`id`, `version` and `release`.
"""

from pathlib import Path

from ci import reading
from ci.capture.records import Entry
from ci.errors import InputError

_MOST = 2**30
"""Bytes of a log."""
_NEEDED = {"number": int, "time": str, "path": str, "status": int, "request": str, "response": str}
_KNOWN = ("id", "version", "release")


def read(path: Path) -> tuple[dict[str, list[Entry]], list[str]]:
    """Return the entries of a log under its name, and in words each line that is none; nothing if there is no log yet.

    A last line without its end is being written, and is left out.

    Raises:
        InputError: it cannot be read, or no line is a captured request: it is no log. Names file, line and key.
    """
    if not path.exists():
        return {}, []
    whole, _, _ = reading.content(path, _MOST).rpartition(b"\n")
    found: list[Entry] = []
    wrong: list[str] = []
    for place, line in enumerate(whole.splitlines(), 1):
        try:
            if line.strip():
                found.append(_entry(line, path, place))
        except InputError as error:
            wrong.append(str(error))
    if wrong and not found:
        raise InputError(f"{path}: no line is a captured request: {wrong[0]}")
    return {path.name: found}, wrong


def _entry(line: bytes, path: Path, place: int) -> Entry:
    try:
        found = reading.json(line, path)
    except reading.ReadError as error:
        raise InputError(f"{path}:{place}: {error.problem}") from None
    for key, kind in _NEEDED.items():
        if not isinstance(found, dict) or not isinstance(found.get(key), kind):
            raise InputError(f"{path}:{place}: {key}: a captured request has {key}, of type {kind.__name__}")
    for key in _KNOWN:
        if not isinstance(found.get(key), str | None):
            raise InputError(f"{path}:{place}: {key}: it is a text, or absent where it is not known")
    return dict(found)
