"""The prepare stage: read, check, split by day, describe, fingerprint."""

import hashlib
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from ci import task, workspace
from ci.data import quality
from ci.data.windows import PARTS, Windows, calendar_days, windows
from ci.errors import InputError
from ci.monitoring.reference import describe
from ci.results.data import REFERENCE, SCHEMA, SUMMARY
from ci.settings import Settings


def prepare(settings: Settings) -> dict[str, Any]:
    """Write `build/data/` and return its summary.

    Raises:
        InputError: the source, `as_of` or a window does not fit, or the data violate the task's schema.
    """
    wanted = task.load()
    schema = task.part("model.schema", "SCHEMA")
    table = _read(settings.source, wanted, schema)
    days = table[wanted.time].dt.date
    _require_columns(table, wanted)
    source = {"rows": len(table), "unlabelled": int(table[wanted.target].isna().sum())}
    placed = windows(sorted(set(days)), settings.as_of, settings.data)
    table = table[(days >= placed.training) & (days < placed.end)]
    days = table[wanted.time].dt.date
    known = table[days < placed.as_of]
    violations = quality.check(known, schema)
    if fatal := [violation for violation in violations if violation.fatal]:
        lines = "\n  ".join(map(str, fatal))
        raise InputError(
            f"{_name(settings.source)}: the data violate the schema in model/schema.py:\n  {lines}\n"
            "mend the data, or the schema if it is wrong"
        )
    part_of = {day: placed.part(day) for day in set(days)}
    parts = {part: table[days.map(part_of) == part] for part in PARTS}
    labelled = {part: rows[rows[wanted.target].notna()].reset_index(drop=True) for part, rows in parts.items()}
    labelled["traffic"] = parts["traffic"].reset_index(drop=True)
    for part in ("train", "validation", "holdout"):
        if labelled[part].empty:
            raise InputError(f"as_of: {placed.as_of} leaves no labelled rows for {part}; choose another as_of")
    tolerated = [f"tolerated: {violation}" for violation in violations]
    summary = {**_summary(placed, parts, labelled, wanted), "source": source, "notes": tolerated}
    with workspace.replacing(workspace.DATA) as folder:
        for part, rows in labelled.items():
            rows.to_parquet(folder / f"{part}.parquet", index=False)
        SUMMARY.write(summary, folder)
        SCHEMA.write(quality.report(violations, known, schema), folder)
        REFERENCE.write(describe(labelled["train"], wanted.features), folder)
    return summary


def _name(source: Path | None) -> str:
    return "the task's own data" if source is None else f"data.source: {source}"


def _read(source: Path | None, wanted: task.Task, schema: Any) -> pd.DataFrame:
    """Read the raw table and check that it has days; what else it must have is the schema's matter."""
    try:
        table: pd.DataFrame = task.part("model.data", "load")(source)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        problem = f"there is no column {error}" if isinstance(error, KeyError) else error
        raise InputError(f"{_name(source)}: {problem}") from error
    table = quality.coerced(table, schema)
    if table.empty:
        raise InputError("model.data.load gave no rows")
    if wanted.time not in table or not pd.api.types.is_datetime64_any_dtype(table[wanted.time]):
        raise InputError(f"model/__init__.py: TIME is {wanted.time!r}: model.data.load gave no such column of dates")
    if table[wanted.time].isna().any():
        raise InputError(f"model.data.load gave rows without a day in column {wanted.time!r}")
    return table


def _require_columns(table: pd.DataFrame, wanted: task.Task) -> None:
    """Check that the table has what the task declares.

    Raises:
        InputError: a column is missing; the message names the declaration.
    """
    declared = [("TARGET", [wanted.target]), ("FEATURES", [*wanted.features]), ("SLICES", [*wanted.slices])]
    for name, columns in declared:
        if missing := [column for column in columns if column not in table]:
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
        "target": {part: round(float(rows[wanted.target].mean()), 6) for part, rows in labelled.items() if len(rows)},
    }


def _days(first: date, end: date) -> dict[str, str]:
    return {"first": str(first), "end": str(end)}


def fingerprint(table: pd.DataFrame) -> str:
    """Return a digest of a table's names, types and values: the same for the same content in any file format."""
    digest = hashlib.sha256()
    for name in table.columns:
        column = table[name]
        digest.update(f"{name}:{column.dtype}\n".encode())
        digest.update(pd.util.hash_pandas_object(column, index=False).to_numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"
