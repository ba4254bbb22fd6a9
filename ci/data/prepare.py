"""The prepare stage: read, check, split by day, describe, fingerprint."""

import hashlib
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa

from ci import task, workspace
from ci.data import quality
from ci.data.reference import describe
from ci.data.windows import PARTS, Part, Windows, calendar_days, windows
from ci.errors import InputError
from ci.results.data import REFERENCE, SCHEMA, SUMMARY
from ci.settings import Settings
from ci.task import columns


def prepare(settings: Settings) -> dict[str, Any]:
    """Write `build/data/` and return its summary.

    The schema is checked on the days before `as_of`, because later days are not known yet. It is applied to both parts,
    each separately: a default that a parser computes from the data must not come from later days.

    Raises:
        InputError: the source, `as_of` or a window does not fit, the data violate the task's schema, or a column holds
            something else than the task declares.
    """
    wanted = task.load()
    schema = quality.usable(task.part("model.schema", "SCHEMA"))
    table = _read(settings.source, wanted, schema)
    times = quality.shaped(table[[wanted.time]], schema)
    days = _days_of(times, wanted, settings.source)
    undated = [change for change in times.changes if change.startswith("dropped")]
    read, table = len(table), table.loc[days.index]
    unlabelled = table[wanted.target].isna().sum() if wanted.target in table else len(table)
    placed = windows(sorted(set(days)), settings.as_of, settings.data)
    known = quality.apply(table[(days >= placed.training) & (days < placed.as_of)], schema)
    before = _fitting(known, f"before {placed.as_of}", settings.source, wanted)
    coming = table[(days >= placed.as_of) & (days < placed.end)]
    to_come = quality.apply(coming, schema) if len(coming) else quality.Applied(known.table.iloc[:0], [], [])
    requests = quality.Applied(to_come.table, [], [])
    after = _fitting(requests, f"from {placed.as_of}", settings.source, wanted, learned=False)
    crossed = (before[wanted.time].dt.date >= placed.as_of).sum() + (after[wanted.time].dt.date < placed.as_of).sum()
    if crossed:  # judged or not by the day before the schema: they would be lost, or known too early
        raise InputError(
            f"model/schema.py: the schema takes {crossed} rows over {placed.as_of}, which is as_of, after it was seen "
            f"which days are known: change {wanted.time} by a parser of that column, or in model/data.py"
        )
    parts = {**_parts(before, placed, wanted), "traffic": _parts(after, placed, wanted)["traffic"]}
    labelled = {part: rows[rows[wanted.target].notna()].reset_index(drop=True) for part, rows in parts.items()}
    labelled["traffic"] = parts["traffic"].reset_index(drop=True)
    for part in ("train", "validation", "holdout"):
        if labelled[part].empty:
            dropped = "".join(f"; the schema {change}" for change in known.changes if change.startswith("dropped"))
            raise InputError(f"as_of: {placed.as_of} leaves no labelled rows for {part}; choose another as_of{dropped}")
    notes = [f"tolerated: {violation}" for violation in known.violations]
    notes += [f"the schema {change}" for change in [*undated, *known.changes]]
    notes += [f"the schema, in the days from as_of on, {change}" for change in to_come.changes]
    source = {"rows": read, "unlabelled": int(unlabelled)}
    summary = {**_summary(placed, parts, labelled, wanted), "source": source, "notes": notes}
    with workspace.replacing(workspace.DATA) as folder:
        for part, rows in labelled.items():
            _store(rows, folder / f"{part}.parquet")
        SUMMARY.write(summary, folder)
        SCHEMA.write(quality.report(known, schema), folder)
        REFERENCE.write(describe(labelled["train"], wanted.features), folder)
    return summary


def _name(source: Path | None) -> str:
    return "the task's own data" if source is None else f"data.source: {source}"


def _read(source: Path | None, wanted: task.Task, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """Read the raw table and check that it is a table. Its columns are checked later, by schema and declarations."""
    with task.told("load fails"):
        load = task.part("model.data", "load")
        try:
            table = load(source)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            problem = f"there is no column {error}" if isinstance(error, KeyError) else error
            place = task.where(error).removesuffix(": ")
            raise InputError(f"{_name(source)}: {problem}{f' ({place})' if place else ''}") from error
    if not isinstance(table, pd.DataFrame):
        raise InputError(f"model/data.py: load gave {type(table).__name__}: expected a DataFrame of pandas")
    if table.empty:
        raise InputError("model.data.load gave no rows")
    if odd := [name for name in table.columns if not isinstance(name, str)]:
        raise InputError(f"model.data.load gave a column named {odd[0]!r}: a name is a text")
    if twice := list(table.columns[table.columns.duplicated()].unique()):
        raise InputError(f"model.data.load gave more than one column named {', '.join(twice)}: rename or drop one")
    if wanted.time not in table:
        raise InputError(f"model/__init__.py: TIME is {wanted.time!r}: model.data.load gave no such column of dates")
    if schema.index is None:  # rows are told apart by their index where some are dropped
        return table.reset_index(drop=True)
    if not table.index.is_unique:
        raise InputError(
            "model.data.load gave rows with the same index: the schema has an index, so each needs its own"
        )
    return table


def _days_of(times: quality.Applied, wanted: task.Task, source: Path | None) -> "pd.Series[date]":
    """Return each row's day.

    Raises:
        InputError: a row has none.
    """
    if problems := columns.problems(times.table, wanted, only=wanted.time):
        raise _misfit(source, [*problems, *map(str, times.violations)])
    days: pd.Series[date] = times.table[wanted.time].dt.date
    return days


def _fitting(
    applied: quality.Applied, days: str, source: Path | None, wanted: task.Task, *, learned: bool = True
) -> pd.DataFrame:
    """Return the table with the schema applied and each column in its declared type.

    `learned` says whether the rows are to be learned or judged, see `columns.problems`.

    Raises:
        InputError: one of these does not; the message names the column, the rule, and the rows that are wrong.
    """
    table = applied.table
    _require_columns(table, wanted)
    if fatal := [violation for violation in applied.violations if violation.fatal]:
        lines = "\n  ".join(map(str, fatal))
        raise InputError(
            f"{_name(source)}: the data violate the schema in model/schema.py:\n  {lines}\n"
            "mend the data, or the schema if it is wrong"
        )
    if problems := columns.problems(table, wanted, learned=learned):
        raise _misfit(source, problems, f" in the days {days}")
    return columns.stored(table, wanted)


def _misfit(source: Path | None, problems: list[str], where: str = "") -> InputError:
    lines = "\n  ".join(problems)
    return InputError(
        f"{_name(source)}: columns{where} do not hold what model/__init__.py declares:\n  {lines}\n"
        "mend the data in model/data.py, or the declaration if it is wrong"
    )


def _parts(table: pd.DataFrame, placed: Windows, wanted: task.Task) -> dict[Part, pd.DataFrame]:
    days = table[wanted.time].dt.date
    part_of = {day: placed.part(day) for day in set(days)}
    return {part: table[days.map(part_of) == part] for part in PARTS}


def _store(rows: pd.DataFrame, path: Path) -> None:
    try:
        rows.to_parquet(path, index=False)
    except (ValueError, TypeError, NotImplementedError, OverflowError) as error:  # what pyarrow raises is one of them
        raise InputError(
            f"model.data.load gave values that cannot be stored: {task.in_words(error)}: drop or convert the column"
        ) from None


def _require_columns(table: pd.DataFrame, wanted: task.Task) -> None:
    """Check that the table has what the task declares.

    Raises:
        InputError: a column is missing; the message names the declaration.
    """
    declared = [
        ("TIME", [wanted.time]),
        ("TARGET", [wanted.target]),
        ("FEATURES", [*wanted.features]),
        ("SLICES", [*wanted.slices]),
    ]
    for name, names in declared:
        if missing := [column for column in names if list(table.columns).count(column) != 1]:
            raise InputError(f"model/__init__.py: {name} names {', '.join(missing)}: no such column in the data")


def _summary(
    placed: Windows, parts: dict[Any, pd.DataFrame], labelled: dict[Any, pd.DataFrame], wanted: task.Task
) -> dict[str, Any]:
    return {
        "as_of": str(placed.as_of),
        "fingerprint": fingerprint(pd.concat(labelled.values(), ignore_index=True)),
        "windows": {
            "training": _days(placed.training, placed.holdout),
            "holdout": _days(placed.holdout, placed.as_of),
            "traffic": _days(placed.as_of, placed.end),
        },
        "rows": {part: len(rows) for part, rows in labelled.items()},
        "unlabelled": {part: int(rows[wanted.target].isna().sum()) for part, rows in parts.items()},
        "days": {part: len(set(calendar_days(rows[wanted.time]))) for part, rows in labelled.items()},
        "target": {
            part: round(float(rows[wanted.target].mean()), 6)
            for part, rows in labelled.items()
            if rows[wanted.target].notna().any()
        },
    }


def _days(first: date, end: date) -> dict[str, str]:
    return {"first": str(first), "end": str(end)}


def fingerprint(table: pd.DataFrame) -> str:
    """Return a digest of a table's names, types and values: the same for the same content in any file format.

    Raises:
        InputError: a column holds lists or the like.
    """
    digest = hashlib.sha256()
    for name in table.columns:
        column = table[name]
        digest.update(f"{name}:{column.dtype}\n".encode())
        try:
            digest.update(pd.util.hash_pandas_object(column, index=False).to_numpy().tobytes())
        except (TypeError, ValueError) as error:
            raise InputError(
                f"model.data.load gave values that cannot be told apart in column {name} ({error}): drop or convert it"
            ) from None
    return f"sha256:{digest.hexdigest()}"
