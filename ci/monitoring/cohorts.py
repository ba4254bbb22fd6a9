"""Requests by day, with the outcomes that were joined: kept as one Parquet file a day, and published as a data source.

Each file is replaced at once, and what is in it does not depend on how often it was added: a command that was killed is
run again.
"""

import io
import re
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pandas as pd

from ci import stages, workspace
from ci.capture import records
from ci.errors import InputError
from ci.monitoring import labels

_DAY = re.compile(r"\d{4}-\d\d-\d\d\.parquet|\.\d{4}-\d\d-\d\d\.parquet\.part")
"""A day in a source, whole or broken off."""


def collect(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Add requests to those that are kept, and return them all; one that is there already stays as it is.

    Args:
        folder: with a file for each day.
        table: requests as `ci.capture.records.read` returns them, and their predictions.
    """
    kept = read(folder)
    new = table if kept.empty else table[~table[records.ID].isin(kept[records.ID])]
    every = new if kept.empty else pd.concat([kept, new], ignore_index=True) if len(new) else kept
    return every.drop_duplicates(records.ID)


def add(folder: Path, table: pd.DataFrame, days: int, today: date) -> None:
    """Add requests to those that are kept, and drop days that are too old; one that is there already stays as it is.

    Args:
        folder: with a file for each day.
        table: requests with their predictions.
        days: how many are kept.
        today: the last of them.
    """
    for day, rows in table.groupby(table[records.TIME].dt.strftime("%Y-%m-%d")):
        path = folder / f"{day}.parquet"
        before = stored(path) if path.exists() else rows.head(0)
        new = rows[~rows[records.ID].isin(before[records.ID])]
        if len(new):
            keep(folder, pd.concat([before, new], ignore_index=True) if len(before) else new)
    for path in folder.glob("*.parquet"):
        if path.stem <= str(today - timedelta(days=days)):
            path.unlink()


def read(folder: Path, first: date = date.min) -> pd.DataFrame:
    """Return the requests that are kept, from a day on."""
    files = sorted(path for path in folder.glob("*.parquet") if path.stem >= str(first))
    return pd.concat([stored(path) for path in files], ignore_index=True) if files else pd.DataFrame()


def stored(path: Path) -> pd.DataFrame:
    """Return the requests in one file.

    Raises:
        InputError: it is missing or damaged; names the command that writes it.
    """
    if not stages.require(path).is_file():
        raise stages.damaged(path, "this is no plain file")
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise stages.damaged(path, f"it cannot be read: {str(error).splitlines()[0]}") from None


def keep(folder: Path, table: pd.DataFrame) -> None:
    """Write requests by day, in order: equal requests are equal bytes."""
    days = table[records.TIME].dt.strftime("%Y-%m-%d")
    for day, rows in table.sort_values([records.TIME, records.ID], kind="stable").groupby(days):
        content = io.BytesIO()
        rows.to_parquet(content, index=False)
        path = folder / f"{day}.parquet"
        if not path.exists() or path.read_bytes() != content.getvalue():
            workspace.write_bytes(path, content.getvalue())


def publish(folder: Path, joined: labels.Joined, until: date, columns: Sequence[str], time: str | None) -> int:
    """Replace a data source by the requests of mature days, and return its rows.

    Args:
        folder: of the source, for it alone; days that are not mature any more are removed from it.
        joined: requests with their outcomes.
        until: the first day that is not mature.
        columns: fields and targets.
        time: the task's column of days; a request's own day where it was not sent.

    Raises:
        InputError: the folder holds something that was not published here.
    """
    before = _published(folder)
    rows = labels.mature(joined, until)
    if time is not None and time not in rows:
        rows = rows.assign(**{time: rows[records.TIME].dt.tz_localize(None).dt.normalize()})
    wanted = [records.ID, records.TIME, *dict.fromkeys([*([time] if time else []), *columns])]
    present = [name for name in wanted if name in rows]
    keep(folder, rows[present])
    days = {f"{day}.parquet" for day in rows[records.TIME].dt.strftime("%Y-%m-%d")}
    for path in before:
        if path.name not in days:
            path.unlink(missing_ok=True)  # a part that was broken off may have been finished above
    return len(rows)


def _published(folder: Path) -> list[Path]:
    """Return the days in a source; raises InputError if anything else is there, as it may be somebody's."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"labels.into: {folder} is a file: name a folder that holds nothing else")
    found = sorted(folder.iterdir()) if folder.exists() else []
    if others := [path.name for path in found if not _DAY.fullmatch(path.name)]:
        raise InputError(f"labels.into: {folder} holds {others[0]} too: name a folder that holds nothing else")
    return found
