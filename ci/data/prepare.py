"""The prepare stage: read, check, divide into parts, describe, fingerprint."""

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from ci import task, workspace
from ci.data import files, quality, split
from ci.data.reference import describe
from ci.data.windows import Windows, calendar_days, windows
from ci.errors import InputError
from ci.results.data import REFERENCE, SCHEMA, SUMMARY, Part
from ci.settings import Settings
from ci.task import columns

_SMALL = 1e-3
"""Below this a mean is kept with six digits, not six decimals."""


@dataclass(frozen=True)
class Divided:
    """The data by part, with all that is to be said of them.

    Attributes:
        parts: rows that hold what schema and task say, unlabelled ones too.
        known: the schema's outcome on the rows that are learned from or judged.
        notes: what was changed or left out, in sentences.
        read: rows that the source has.
        unlabelled: rows of the source without a label.
        placed: which days are for what; None for a task without days.
    """

    parts: Mapping[Part, pd.DataFrame]
    known: quality.Applied
    notes: list[str]
    read: int
    unlabelled: int
    placed: Windows | None


def prepare(settings: Settings) -> dict[str, Any]:
    """Write `build/data/` and return its summary.

    Raises:
        InputError: the source, `as_of` or a window does not fit, the data violate the task's schema, or a column holds
            something else than the task declares.
    """
    wanted = task.load()
    schema = quality.usable(task.part("model.schema", "SCHEMA"))
    labelled, divided = divide(settings, wanted, schema)
    notes = [f"tolerated: {violation}" for violation in divided.known.violations] + divided.notes
    summary = {**_summary(divided, labelled, settings, wanted), "notes": [*notes, *_absent(labelled, wanted)]}
    with workspace.replacing(workspace.DATA) as folder:
        for part, rows in labelled.items():
            _store(rows, folder / f"{part}.parquet")
        SUMMARY.write(summary, folder)
        SCHEMA.write(quality.report(divided.known, schema), folder)
        REFERENCE.write(describe(labelled["train"], wanted.features), folder)
    return summary


def divide(
    settings: Settings, wanted: task.Task, schema: pa.DataFrameSchema
) -> tuple[dict[Part, pd.DataFrame], Divided]:
    """Return the labelled rows of each part (of traffic all rows), and how they came to be.

    Raises:
        InputError: as of `prepare`.
    """
    table = _read(settings.source, wanted, schema)
    divided = (_by_hash if wanted.time is None else _by_day)(table, schema, settings, wanted)
    labelled = {
        part: (rows if part == "traffic" else rows[columns.labelled(rows, wanted)]).reset_index(drop=True)
        for part, rows in divided.parts.items()
    }
    labelled, unread = files.readable(labelled, settings, wanted)
    _require_rows(labelled, divided, settings, wanted)
    return labelled, replace(divided, notes=[*divided.notes, *unread])


def _by_day(table: pd.DataFrame, schema: pa.DataFrameSchema, settings: Settings, wanted: task.Task) -> Divided:
    """Divide a table whose rows have days.

    The schema is checked on the days before `as_of`, because later days are not known yet. It is applied to both parts,
    each separately: a default that a parser computes from the data must not come from later days.
    """
    assert wanted.time is not None  # noqa: S101 - asked by the caller
    times = quality.shaped(table[[wanted.time]], schema)
    days = _days_of(times, wanted, settings.source)
    undated = [change for change in times.changes if change.startswith("dropped")]
    read, table = len(table), table.loc[days.index]
    unlabelled = int((~columns.labelled(table, wanted)).sum())
    placed = windows(sorted(set(days)), settings.as_of, settings.data)
    known = quality.apply(table[(days >= placed.training) & (days < placed.as_of)], schema)
    before = _fitting(known, f" in the days before {placed.as_of}", settings.source, wanted)
    coming = table[(days >= placed.as_of) & (days < placed.end)]
    to_come = quality.apply(coming, schema) if len(coming) else quality.Applied(known.table.iloc[:0], [], [])
    requests = quality.Applied(to_come.table, [], [])
    after = _fitting(requests, f" in the days from {placed.as_of}", settings.source, wanted, learned=False)
    crossed = (before[wanted.time].dt.date >= placed.as_of).sum() + (after[wanted.time].dt.date < placed.as_of).sum()
    if crossed:  # judged or not by the day before the schema: they would be lost, or known too early
        raise InputError(
            f"model/schema.py: the schema takes {crossed} rows over {placed.as_of}, which is as_of, after it was seen "
            f"which days are known: change {wanted.time} by a parser of that column, or in model/data.py"
        )
    parts, left_out = split.by_day(before, placed, wanted)
    parts["traffic"] = split.by_day(after, placed, wanted)[0]["traffic"]
    notes = [f"the schema {change}" for change in [*undated, *known.changes]]
    notes += [f"the schema, in the days from as_of on, {change}" for change in to_come.changes]
    return Divided(parts, known, notes + left_out, read, unlabelled, placed)


def _by_hash(table: pd.DataFrame, schema: pa.DataFrameSchema, settings: Settings, wanted: task.Task) -> Divided:
    """Divide a table whose rows have no days: by a hash of each row, or of its group."""
    if settings.as_of == "latest":
        raise InputError(
            "as_of: latest is the day after the data, and the task has no TIME: name a date; it becomes part of the "
            "model's version"
        )
    known = quality.apply(table, schema)
    fitting = _fitting(known, "", settings.source, wanted)
    unlabelled = int((~columns.labelled(table, wanted)).sum())
    notes = [f"the schema {change}" for change in known.changes]
    return Divided(split.by_hash(fitting, settings.data, wanted), known, notes, len(table), unlabelled, None)


def _require_rows(
    labelled: Mapping[Part, pd.DataFrame], divided: Divided, settings: Settings, wanted: task.Task
) -> None:
    """Check that each part that is learned from or judged has labelled rows, and rows with a weight.

    Raises:
        InputError: one has none.
    """
    learned: tuple[Part, ...] = ("train", "validation", "holdout")
    for part in learned:
        rows = labelled[part]
        if rows.empty:
            dropped = "".join(f"; the schema {each}" for each in divided.known.changes if each.startswith("dropped"))
            dropped += "".join(f"; {each}" for each in divided.notes if each.startswith("left out"))
            if wanted.group is not None:
                dropped += f"; {split.counted(divided.parts, wanted.group)}"
            if divided.placed is None:
                share = f"data.{'holdout' if part == 'holdout' else 'validation'}_share"
                raise InputError(f"{share}: no labelled rows are left for {part}; choose another share{dropped}")
            raise InputError(
                f"as_of: {divided.placed.as_of} leaves no labelled rows for {part}; choose another as_of{dropped}"
            )
        if wanted.weight is not None and not (rows[wanted.weight] > 0).any():
            raise InputError(
                f"{_name(settings.source)}: column {wanted.weight}: declared as WEIGHT: every row of {part} weighs 0"
            )


def _absent(labelled: Mapping[Part, pd.DataFrame], wanted: task.Task) -> list[str]:
    """Return in sentences which classes no row of a part has: nothing can be learned, or nothing judged, about them."""
    notes = []
    for output in wanted.outputs:
        if output.kind not in ("binary", "multiclass"):
            continue
        names = output.classes or ("0", "1")
        judged: tuple[tuple[Part, str], ...] = (("train", "learned"), ("holdout", "judged"))
        for part, what in judged:
            seen = set(columns.outcomes(labelled[part], output).astype(int).tolist())
            if missing := [name for number, name in enumerate(names) if number not in seen]:
                more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
                notes.append(
                    f"no row of {part} has the {output.target[0]} {', '.join(missing[:10])}{more}: nothing is {what} "
                    "about it"
                )
    return notes


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
    if wanted.time is not None and wanted.time not in table:
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
        raise _misfit(source, problems, days)
    return columns.stored(table, wanted)


def _misfit(source: Path | None, problems: list[str], where: str = "") -> InputError:
    lines = "\n  ".join(problems)
    return InputError(
        f"{_name(source)}: columns{where} do not hold what model/__init__.py declares:\n  {lines}\n"
        "mend the data in model/data.py, or the declaration if it is wrong"
    )


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
    declared = {
        "TIME": [wanted.time],
        "TARGET": wanted.targets,
        "FEATURES": wanted.features,
        "SLICES": wanted.slices,
        "GROUP": [wanted.group],
        "WEIGHT": [wanted.weight],
    }
    for name, found in declared.items():
        names = [column for column in found if column is not None]
        if missing := [column for column in names if list(table.columns).count(column) != 1]:
            raise InputError(f"model/__init__.py: {name} names {', '.join(missing)}: no such column in the data")


def _summary(
    divided: Divided, labelled: Mapping[Part, pd.DataFrame], settings: Settings, wanted: task.Task
) -> dict[str, Any]:
    placed, time = divided.placed, wanted.time
    return {
        "as_of": str(settings.as_of if placed is None else placed.as_of),
        "fingerprint": fingerprint(pd.concat(labelled.values(), ignore_index=True), wanted),
        "windows": None
        if placed is None
        else {
            "training": _days(placed.training, placed.holdout - timedelta(days=placed.gap_days)),
            "holdout": _days(placed.holdout, placed.as_of),
            "traffic": _days(placed.as_of, placed.end),
        },
        "rows": {part: len(rows) for part, rows in labelled.items()},
        "unlabelled": {part: int((~columns.labelled(rows, wanted)).sum()) for part, rows in divided.parts.items()},
        "days": {part: len(set(calendar_days(rows[time]))) for part, rows in labelled.items()} if time else {},
        "target": {part: balance for part, rows in labelled.items() if (balance := _balance(rows, wanted))},
        "source": {"rows": divided.read, "unlabelled": divided.unlabelled},
        "split": split.identity(settings.data, wanted),
    }


def _balance(rows: pd.DataFrame, wanted: task.Task) -> dict[str, float]:
    """Return the mean of each number that is predicted, and the share of each class."""
    found: dict[str, float] = {}
    rows = rows[columns.labelled(rows, wanted)]
    for output in wanted.outputs if len(rows) else ():
        values = columns.outcomes(rows, output)
        if output.kind == "multiclass":
            shares = np.bincount(values.astype(int), minlength=len(output.classes)) / len(values)
            found |= {
                f"{output.target[0]} is {name}": share for name, share in zip(output.classes, shares, strict=True)
            }
        else:
            found |= dict(zip(output.target, np.atleast_1d(values.mean(axis=0)), strict=True))
    return {name: round(float(v), 6) if abs(v) >= _SMALL else float(f"{v:.6g}") for name, v in found.items()}


def _days(first: date, end: date) -> dict[str, str]:
    return {"first": str(first), "end": str(end)}


def fingerprint(table: pd.DataFrame, wanted: task.Task | None = None) -> str:
    """Return a digest of a table's names, types and values: the same for the same content in any file format.

    Files that a `bytes` field names count by the digest of their content, which `files.readable` has put beside them.

    Raises:
        InputError: a column holds lists or the like, and the task does not declare it as such.
    """
    digest = hashlib.sha256()
    for name in table.columns:
        column = table[name]
        if wanted is not None and name in wanted.features:
            column = columns.plain_bytes(column, wanted.features[name])
        digest.update(f"{name}:{column.dtype}\n".encode())
        try:
            digest.update(pd.util.hash_pandas_object(column, index=False).to_numpy().tobytes())
        except (TypeError, ValueError) as error:
            raise InputError(
                f"model.data.load gave values that cannot be told apart in column {name} ({error}): drop or convert it"
            ) from None
    return f"sha256:{digest.hexdigest()}"
