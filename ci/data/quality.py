"""Applying the task's schema to a table: what it changed, and which checks failed, with counts and examples."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from ci.data.outcome import EXAMPLES, Outcome, Violation, component, matches, place, tolerated
from ci.errors import InputError
from ci.task import told


@dataclass(frozen=True)
class Applied:
    """The table with the schema applied, and what it found and changed."""

    table: pd.DataFrame
    outcome: Outcome

    @property
    def violations(self) -> list[Violation]:
        """The checks that failed."""
        return self.outcome.violations

    @property
    def changes(self) -> list[str]:
        """What the schema changed or dropped, with counts."""
        return self.outcome.changes


def require_by_row(schema: pa.DataFrameSchema, table: pd.DataFrame) -> None:
    """Check that a schema judges and changes each row by itself, as it must where it meets some rows at a time.

    Args:
        schema: the task's.
        table: some rows, by which it is tried.

    Raises:
        InputError: it does not; names the column and the rule.
    """
    mend = "a Parquet data set is read some rows at a time: judge each row by itself, or have load return a table"
    unique = [f"column {name} must be unique" for name, column in schema.columns.items() if column.unique]
    if unique or schema.unique:
        raise InputError(f"model/schema.py: {unique[0] if unique else 'rows must be unique'}: {mend}")
    made = apply(table, schema).table
    judged: list[tuple[str, Any, Any]] = [("table", schema.checks, made)]
    judged += [(f"column {name}", _component_checks(schema, str(name)), made[name]) for name in made]
    for what, checks, values in judged:
        for check in checks:
            with told(f"the schema in model/schema.py cannot be applied: {check.name or check}"):
                whole = check.groupby is not None or not hasattr(check(values).check_output, "index")
            if whole:
                raise InputError(f"model/schema.py: {what}: {check.name or check}: this needs all rows, and {mend}")
    half = apply(table.head(len(table) // 2), schema).table
    alike = made.loc[made.index.isin(half.index)]
    for name in half:
        if name not in alike or _differences(alike[name], half[name]):
            raise InputError(
                f"model/schema.py: column {name}: its values depend on the rows beside them, as where a parser fills "
                f"gaps with the mean; {mend}"
            )


def _component_checks(schema: pa.DataFrameSchema, column: str) -> list[Any]:
    found = component(schema, column)
    return [] if found is None else list(found[1].checks)


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
    found = component(schema, str(column.columns[0]))
    if found is None:
        return Applied(column, _outcome(column, [], {}, [], len(column)))
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
    changed, judged = dict(_changes(table, made)), len(made)
    dropped: list[Violation] = []
    for part in (keeping, *keeping.columns.values()):
        part.parsers = []
    while (lost := _to_drop(cases, schema)) is not None and (gone := made.index.isin(lost["index"])).any():
        dropped += _violations(lost, len(made), schema)
        made, cases = _validated(keeping, made[~gone])
    violations = [] if cases is None else _violations(cases, len(made), schema)
    return Applied(made, _outcome(made, violations, changed, dropped, judged))


def _outcome(
    made: pd.DataFrame,
    violations: list[Violation],
    changed: Mapping[str, int | None],
    dropped: list[Violation],
    judged: int,
) -> Outcome:
    types = {str(name): str(column.dtype) for name, column in made.items()}
    missing = {str(name): int(column.isna().sum()) for name, column in made.items()}
    return Outcome(len(made), types, missing, violations, changed, dropped, judged)


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
    flagged = [any(matches(schema, name, str(column)) for name in columns) for column in by_row["column"]]
    return by_row[np.array(flagged, dtype=bool)]


def _by_row(cases: pd.DataFrame) -> pd.Series:
    """Return which failure cases judge single rows, and not a column or the table as a whole."""
    return ~cases["check"].astype(str).str.startswith(("missing share", "dtype(", "column_in_"))


def _changes(before: pd.DataFrame, after: pd.DataFrame) -> Iterator[tuple[str, int | None]]:
    """Yield what parsers, defaults and coercion made of a table in words, and in how many rows if rows count."""
    if len(before) > len(after):
        yield "dropped", len(before) - len(after)
    elif len(after) > len(before):
        yield "added", len(after) - len(before)
    # Rows that were numbered anew cannot be compared with those that they were.
    anew = len(before) != len(after) and after.index.equals(pd.RangeIndex(len(after)))
    for name in after.columns:
        if name not in before:
            yield f"added: column {name}", None
        elif not anew and (count := _differences(before[name], after[name])):
            yield f"changed: column {name}", count
    for name in before.columns:
        if name not in after:
            yield f"dropped: column {name}", None


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
                fatal=share is None or share > tolerated(schema, named),
                examples=list(dict.fromkeys(map(_example, group["failure_case"])))[:EXAMPLES]
                if told and (named is not None or not by_row) and not str(name).startswith("column_in")
                else [],
            )
        )
    return sorted(found, key=lambda violation: place(schema, violation.column))


def _in_words(check: str) -> str:
    return {
        "column_in_dataframe": "is missing",
        "column_in_schema": "is not in the schema",
        "not_nullable": "has missing values",
    }.get(check, check.replace("dtype(", "should be of type (") if check.startswith("dtype(") else check)


def _example(value: Any) -> str:
    return "missing" if pd.api.types.is_scalar(value) and pd.isna(value) else str(value)
