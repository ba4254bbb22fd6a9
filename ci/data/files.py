"""Files that rows name: each is read once, to see that it can be, and to know its content."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ci import reading
from ci.errors import InputError
from ci.results.data import Part
from ci.settings import Settings
from ci.task import Task
from ci.task.values import MOST

DIGEST = "sha256 of "
"""What the column with the digest of a field's files is called, before the field's name."""
_SHOWN = 5
"""Unreadable files that a message names, at most."""


def readable(
    parts: Mapping[Part, pd.DataFrame], settings: Settings, wanted: Task
) -> tuple[dict[Part, pd.DataFrame], list[str]]:
    """Return the parts without rows whose files cannot be read, and in sentences which these were.

    In what is returned, the column of a `bytes` field holds paths from the repository's folder, and a column beside it
    the digest of each file.

    Args:
        parts: rows whose columns hold what the task declares; a path begins in the folder of the data source.
        settings: the source, and the share of unreadable files that is tolerated.
        wanted: the task.

    Raises:
        InputError: more files cannot be read; names some of them and why.
    """
    fields = [name for name, field in wanted.features.items() if field.dtype == "bytes"]
    if not fields:
        return dict(parts), []
    root = Path("." if settings.source is None else settings.source)
    root = root if root.is_dir() else root.parent
    made: dict[Part, pd.DataFrame] = {}
    problems: list[str] = []
    for part, rows in parts.items():
        good = pd.Series(True, index=rows.index)
        for name in fields:
            found = [_digest(root, path) for path in rows[name]]
            paths = [(root / path).as_posix() if isinstance(path, str) else None for path in rows[name]]
            rows = rows.assign(**{name: pd.Series(paths, rows.index, dtype=object)})
            rows[DIGEST + name] = [digest for digest, _ in found]
            problems += [problem for _, problem in found if problem]
            good &= rows[DIGEST + name] != ""
        made[part] = rows[good].reset_index(drop=True)
    total, left = sum(map(len, parts.values())), sum(map(len, made.values()))
    if left == total:
        return made, []
    shown = "; ".join(problems[:_SHOWN]) + (f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else "")
    share = (total - left) / total
    if share > settings.data.unreadable:
        raise InputError(
            f"{root}: {total - left} of {total} rows ({share:.2%}) name files that cannot be read: {shown}; "
            f"mend them, or tolerate more (data.unreadable is {settings.data.unreadable:g})"
        )
    return made, [f"left out: {total - left} rows ({share:.2%}), whose files cannot be read: {shown}"]


def _digest(root: Path, path: Any) -> tuple[str, str]:
    """Return the digest of a file's content and nothing, or nothing and why it cannot be read."""
    if not isinstance(path, str):  # of the days to come, a field may be missing
        return "", "no file is named"
    try:
        return hashlib.sha256(reading.content(root / path, MOST)).hexdigest(), ""
    except InputError as error:
        return "", str(error)
