"""Applying the task's schema to a table: what it changed, and which checks failed, with counts and examples."""

import copy
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from ci.errors import InputError
from ci.task import told

EXAMPLES = 5
"""Values that the report of a failed check shows, at most."""


@dataclass(frozen=True)
class Violation:
    """A check that a column, or the whole table, failed."""

    column: str | None
    check: str
    rows: int | None
    """Number of rows that failed; None if the check is about a column or the table as a whole."""
    share: float | None
    fatal: bool
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Describe the violation in a line."""
        where = f"column {self.column}" if self.column else "table"
        count = "" if self.rows is None else f": {self.rows} rows ({self.share:.2%})"
        examples = f", such as {', '.join(self.examples)}" if self.examples else ""
        return f"{where}: {self.check}{count}{examples}"


@dataclass(frozen=True)
class Applied:
    """The table with the schema applied, the failed checks, and what the schema changed."""

    table: pd.DataFrame
    violations: list[Violation]
    changes: list[str]
    """What the schema changed or dropped, with counts."""


def usable(schema: Any) -> pa.DataFrameSchema:
    """Return the task's schema; it may be declared as a class.

    Raises:
        InputError: it is no schema, or tolerates something else than a share.
    """
    if isinstance(schema, type(pa.DataFrameModel)):
        with told("SCHEMA is no usable class"):
            schema = schema.to_schema()
    if not isinstance(schema, pa.DataFrameSchema):
        found = f"the class {schema.__name__}" if isinstance(schema, type) else type(schema).__name__
        raise InputError(
            f"model/schema.py: SCHEMA is {found}: expected a DataFrameSchema or a DataFrameModel of pandera.pandas"
        )
    for name, column in schema.columns.items():
        share = column.metadata.get("tolerated", 0) if isinstance(column.metadata, dict) else column.metadata or 0
        if not (isinstance(share, int | float) and 0 <= share <= 1):
            raise InputError(
                f"model/schema.py: column {name}: metadata is {column.metadata!r:.80}: expected a share of rows from 0 "
                'to 1, as in {"tolerated": 0.02}'
            )
    return schema


def shaped(column: pd.DataFrame, schema: pa.DataFrameSchema) -> Applied:
    """Return a table of one column as the schema's parsers and types for that column make it, without its checks."""
    found = _component(schema, str(column.columns[0]))
    if found is None:
        return Applied(column, [], [])
    alone = copy.deepcopy(found[1])
    alone.checks, alone.unique = [], False
    alone.coerce = alone.coerce or schema.coerce
    return apply(column, pa.DataFrameSchema({alone.name: alone}, drop_invalid_rows=schema.drop_invalid_rows))


def apply(table: pd.DataFrame, schema: pa.DataFrameSchema) -> Applied:
    """Return the table that the schema makes of a table: parsed, completed, of the types that it coerces to.

    Rows that the schema drops (`drop_invalid_rows`) are dropped, and what is left is judged by the schema again. A
    violation is fatal unless the share of its rows is within the `tolerated` share in the column's metadata: then its
    rows stay.

    Raises:
        InputError: code of the schema fails.
    """
    keeping = copy.deepcopy(schema)
    for part in (keeping, *keeping.columns.values()):
        part.drop_invalid_rows = False
    made, cases = _validated(keeping, table)
    changes = list(_changes(table, made))
    for part in (keeping, *keeping.columns.values()):
        part.parsers = []
    while (lost := _to_drop(cases, schema)) is not None and (gone := made.index.isin(lost["index"])).any():
        changes += [f"dropped: {found}" for found in _violations(lost, len(made), schema)]
        made, cases = _validated(keeping, made[~gone])
    return Applied(made, [] if cases is None else _violations(cases, len(made), schema), changes)


def _validated(schema: pa.DataFrameSchema, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the table that a schema makes, and the failure cases if there are any."""
    with told("the schema in model/schema.py cannot be applied"):
        try:
            return schema.validate(table, lazy=True), None
        except pa.errors.SchemaErrors as errors:
            cases = errors.failure_cases
            return errors.data, cases if "index" in cases else cases.assign(index=None)


def _to_drop(cases: pd.DataFrame | None, schema: pa.DataFrameSchema) -> pd.DataFrame | None:
    """Return the failure cases whose rows the schema says to drop."""
    if cases is None:
        return None
    by_row = cases[_by_row(cases) & cases["index"].notna()]
    if schema.drop_invalid_rows:
        return by_row
    columns = [name for name, column in schema.columns.items() if column.drop_invalid_rows]
    flagged = [any(_matches(schema, name, str(column)) for name in columns) for column in by_row["column"]]
    return by_row[np.array(flagged, dtype=bool)]


def _by_row(cases: pd.DataFrame) -> pd.Series:
    """Return which failure cases judge single rows, and not a column or the table as a whole."""
    return ~cases["check"].astype(str).str.startswith(("missing share", "dtype(", "column_in_"))


def _changes(before: pd.DataFrame, after: pd.DataFrame) -> Iterator[str]:
    """Yield what parsers, defaults and coercion made of a table, a sentence each."""
    if len(before) > len(after):
        yield f"dropped: {len(before) - len(after)} rows"
    elif len(after) > len(before):
        yield f"added: {len(after) - len(before)} rows"
    # Rows that were numbered anew cannot be compared with those that they were.
    anew = len(before) != len(after) and after.index.equals(pd.RangeIndex(len(after)))
    for name in after.columns:
        if name not in before:
            yield f"added: column {name}"
        elif not anew and (count := _differences(before[name], after[name])):
            yield f"changed: column {name}: {count} rows"
    for name in before.columns:
        if name not in after:
            yield f"dropped: column {name}"


def _differences(before: pd.Series, after: pd.Series) -> int:
    """Return in how many of the common rows the value changed; a change of type alone does not count."""
    if not before.index.equals(after.index):
        if before.index.is_unique and after.index.is_unique:
            shared = after.index.intersection(before.index)
            before, after = before.loc[shared], after.loc[shared]
        elif len(before) == len(after):
            before, after = before.reset_index(drop=True), after.reset_index(drop=True)
        else:  # rows cannot be told apart
            return 0
    if before.equals(after):
        return 0
    absent, gone = before.isna().to_numpy(dtype=bool), after.isna().to_numpy(dtype=bool)
    differ = (before.astype(object) != after.astype(object)).to_numpy(dtype=bool)
    return int((np.where(absent | gone, absent != gone, differ)).sum())


def _matches(schema: pa.DataFrameSchema, name: Any, column: str) -> bool:
    return str(name) == column or bool(schema.columns[name].regex and re.match(name, column))


def _component(schema: pa.DataFrameSchema, column: str) -> tuple[int, pa.Column] | None:
    """Return place and rules of a column in the schema, by its name or else by the first pattern that it matches."""
    named = list(enumerate(schema.columns.items()))
    exact = ((place, found) for place, (name, found) in named if str(name) == column)
    pattern = ((place, found) for place, (name, found) in named if _matches(schema, name, column))
    return next(exact, None) or next(pattern, None)


def _violations(cases: pd.DataFrame, rows: int, schema: pa.DataFrameSchema) -> list[Violation]:
    found = []
    # A check of whole rows names each of their columns.
    columns = cases["column"].where(cases["schema_context"] != "DataFrameSchema", None)
    cases = cases.assign(by_row=_by_row(cases), column=columns)
    for (context, column, name), group in cases.groupby(
        ["schema_context", "column", "check"], dropna=False, sort=False
    ):
        if context == "DataFrameSchema":
            group = group.drop_duplicates("index") if group["index"].notna().all() else group
        named = column if isinstance(column, str) else None
        if str(name).startswith("column_in"):
            named = str(group["failure_case"].iloc[0])
        by_row = bool(group["by_row"].all() and group["index"].notna().any())
        count = len(group) if by_row else None
        share = None if count is None else count / rows
        told = by_row or str(name).startswith("dtype(") or isinstance(group["failure_case"].iloc[0], str)
        found.append(
            Violation(
                column=named,
                check=_in_words(str(name)),
                rows=count,
                share=share,
                fatal=share is None or share > _tolerated(schema, named),
                examples=list(dict.fromkeys(map(_example, group["failure_case"])))[:EXAMPLES]
                if told and (named is not None or not by_row) and not str(name).startswith("column_in")
                else [],
            )
        )
    return sorted(found, key=lambda violation: _place(schema, violation.column))


def _place(schema: pa.DataFrameSchema, column: str | None) -> int:
    found = None if column is None else _component(schema, column)
    return len(schema.columns) if found is None else found[0]


def _in_words(check: str) -> str:
    return {
        "column_in_dataframe": "is missing",
        "column_in_schema": "is not in the schema",
        "not_nullable": "has missing values",
    }.get(check, check.replace("dtype(", "should be of type (") if check.startswith("dtype(") else check)


def _tolerated(schema: pa.DataFrameSchema, column: str | None) -> float:
    found = None if column is None else _component(schema, column)
    return float(((found and found[1].metadata) or {}).get("tolerated", 0.0))


def _example(value: Any) -> str:
    return "missing" if pd.api.types.is_scalar(value) and pd.isna(value) else str(value)


def report(applied: Applied, schema: pa.DataFrameSchema) -> dict[str, Any]:
    """Return the schema report: what was checked, changed and found, and each column's missing share."""
    table = applied.table
    expanded = [
        (name, column)
        for pattern, column in schema.columns.items()
        for name in ([each for each in table if _matches(schema, pattern, str(each))] or [pattern])
    ]
    return {
        "rows": len(table),
        "columns": {
            name: {
                "type": str(table[name].dtype) if name in table else None,
                "missing": round(float(table[name].isna().mean()), 6) if name in table else None,
                "checks": [check.name or str(check) for check in column.checks],
            }
            for name, column in expanded
        },
        "changes": applied.changes,
        "violations": [asdict(violation) for violation in applied.violations],
    }
