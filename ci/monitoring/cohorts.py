"""Requests by day, with the outcomes that were joined: kept as one Parquet file a day, and published as a data source.

Each file is replaced at once, and what is in it does not depend on how often it was added: a command that was killed is
run again.
"""

import io
import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from ci import workspace
from ci.capture import records
from ci.errors import InputError
from ci.monitoring import labels
from ci.task import Output
from ci.task.columns import target_rule

_DAY = re.compile(r"\d{4}-\d\d-\d\d\.parquet|\.\d{4}-\d\d-\d\d\.parquet\.part")
"""A day in a source, whole or broken off."""
_READ: dict[str, Callable[[Path, Sequence[str]], pd.DataFrame]] = {
    ".csv": lambda path, texts: pd.read_csv(path, dtype=dict.fromkeys(texts, str)),
    ".parquet": lambda path, _: pd.read_parquet(path),
    ".jsonl": lambda path, _: pd.read_json(path, lines=True, dtype=False),
}


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
        before = pd.read_parquet(path) if path.exists() else rows.head(0)
        new = rows[~rows[records.ID].isin(before[records.ID])]
        if len(new):
            keep(folder, pd.concat([before, new], ignore_index=True) if len(before) else new)
    for path in folder.glob("*.parquet"):
        if path.stem <= str(today - timedelta(days=days)):
            path.unlink()


def read(folder: Path, first: date = date.min) -> pd.DataFrame:
    """Return the requests that are kept, from a day on."""
    files = sorted(path for path in folder.glob("*.parquet") if path.stem >= str(first))
    return pd.concat([pd.read_parquet(path) for path in files], ignore_index=True) if files else pd.DataFrame()


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


def outcomes(
    path: Path, needed: Sequence[str], known: str, texts: Sequence[str] = (), outputs: Sequence[Output] = ()
) -> pd.DataFrame:
    """Return the outcomes in a table, or in all tables of a folder.

    Args:
        path: of the table or folder.
        needed: its columns with keys and targets.
        known: its column with the time when each became known.
        texts: columns that hold texts, though they may look like numbers: ids.
        outputs: whose targets must hold what a build could learn from.

    Raises:
        InputError: there is none, one cannot be read, lacks a column, or has a row without a time, or with a target
            that the task cannot have.
    """
    files = sorted(each for each in path.iterdir() if each.suffix in _READ) if path.is_dir() else [path]
    if not path.exists() or not files:
        raise InputError(f"{path}: there are no outcomes: name a .csv, .jsonl or .parquet, or a folder of such")
    tables = [_table(each, needed, known, texts) for each in files]
    for each, table in zip(files, tables, strict=True):
        for output in outputs:
            for name in output.target:
                _judge(each, table[name], output)
    return pd.concat(tables, ignore_index=True)


def _judge(path: Path, column: "pd.Series[Any]", output: Output) -> None:
    """Raise InputError if a column of targets holds one that a build could not learn from."""
    rule = target_rule(output)
    if path.suffix == ".csv" and rule.number is not None and not pd.api.types.is_numeric_dtype(column):
        numbers = pd.to_numeric(column, errors="coerce")  # one that is none has made texts of all others
        column = column.astype(object).where(numbers.isna(), numbers)
    wrong = rule.wrong(column)
    if wrong.any():
        place = int(wrong.argmax())
        more = f" (one of {wrong.sum()} such rows)" if wrong.sum() > 1 else ""
        raise InputError(
            f"{path}: row {place + 1}: {column.name}: {str(column.iloc[place])!r:.40}{more} is no target of a "
            f"{output.kind} task: give {rule.holds}"
        )


def there(path: Path) -> bool:
    """Tell whether there is a table of outcomes, or a folder with one."""
    return any(each.suffix in _READ for each in path.iterdir()) if path.is_dir() else path.exists()


def _table(path: Path, needed: Sequence[str], known: str, texts: Sequence[str] = ()) -> pd.DataFrame:
    if path.suffix not in _READ:
        raise InputError(f"{path}: outcomes are a .csv, .jsonl or .parquet")
    try:
        found = _READ[path.suffix](path, texts)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: it cannot be read: {str(error).splitlines()[0]}") from None
    if missing := [name for name in [*needed, known] if name not in found]:
        raise InputError(f"{path}: no column {', '.join(missing)}: see labels.id, labels.key and labels.known")
    times = pd.to_datetime(found[known], utc=True, errors="coerce", format="ISO8601")
    if wrong := [place for place, missing in enumerate(times.isna()) if missing]:
        value = "" if pd.isna(found[known].iloc[wrong[0]]) else found[known].iloc[wrong[0]]
        raise InputError(f"{path}: row {wrong[0] + 1}: {known}: {value!r} is no time, such as 2024-03-01T12:00:00Z")
    return found[list(needed)].assign(**{known: times})
