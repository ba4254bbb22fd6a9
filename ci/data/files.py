"""Files that rows name: each is read once, to see that it can be, and to know its content."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ci import reading
from ci.errors import InputError
from ci.settings import Settings
from ci.task import Task
from ci.task.values import MOST

DIGEST = "sha256 of "
"""What the column with the digest of a field's files is called, before the field's name."""
_SHOWN = 5
"""Unreadable files that a message names, at most."""


@dataclass
class Files:
    """The files that the rows of a task name.

    Attributes:
        settings: the source, and the share of unreadable files that is tolerated.
        wanted: the task.
        rows: that were met.
        left: rows that were left out.
        problems: why, for some of them.
    """

    settings: Settings
    wanted: Task
    rows: int = 0
    left: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        """The folder in which paths begin."""
        root = Path("." if self.settings.source is None else self.settings.source)
        return root if root.is_dir() else root.parent

    def readable(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows whose files can be read.

        The column of a `bytes` field holds paths from the repository's folder then, and a column beside it the digest
        of each file.

        Args:
            rows: columns hold what the task declares; a path begins in the folder of the data source.
        """
        fields = [name for name, field in self.wanted.features.items() if field.dtype == "bytes"]
        if not fields:
            return rows
        root = self.root
        good = pd.Series(True, index=rows.index)
        for name in fields:
            found = [_digest(root, path, self.settings.source is not None) for path in rows[name]]
            paths = [(root / path).as_posix() if isinstance(path, str) else None for path in rows[name]]
            rows = rows.assign(**{name: pd.Series(paths, rows.index, dtype=object)})
            rows[DIGEST + name] = [digest for digest, _ in found]
            self.problems += [problem for _, problem in found if problem]
            good &= rows[DIGEST + name] != ""
        self.rows, self.left = self.rows + len(rows), self.left + int((~good).sum())
        return rows[good].reset_index(drop=True)

    def told(self) -> list[str]:
        """Return in sentences which rows were left out.

        Raises:
            InputError: more than are tolerated; names some of the files and why.
        """
        if not self.left:
            return []
        more = f"; and {len(self.problems) - _SHOWN} more" if len(self.problems) > _SHOWN else ""
        shown, share = "; ".join(self.problems[:_SHOWN]) + more, self.left / self.rows
        if share > self.settings.data.unreadable:
            raise InputError(
                f"{self.root}: {self.left} of {self.rows} rows ({share:.2%}) name files that cannot be read: {shown}; "
                f"mend them, or tolerate more (data.unreadable is {self.settings.data.unreadable:g})"
            )
        return [f"left out: {self.left} rows ({share:.2%}), whose files cannot be read: {shown}"]


def _digest(root: Path, path: Any, bounded: bool) -> tuple[str, str]:
    """Return the digest of a file's content and nothing, or nothing and why it cannot be read.

    Args:
        root: the folder in which paths begin.
        path: the file's.
        bounded: whether it must be in that folder: another file could change without a new build, and DVC would not
            bring it to an agent.
    """
    if not isinstance(path, str):  # of the days to come, a field may be missing
        return "", "no file is named"
    if bounded and Path(os.path.relpath(root / path, root)).parts[:1] == ("..",):
        return "", f"{path!r} is outside of the folder {root}"
    try:
        return hashlib.sha256(reading.content(root / path, MOST)).hexdigest(), ""
    except InputError as error:
        return "", str(error)
