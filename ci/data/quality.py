"""Does the table look as the task's schema says? Violations by column, with counts and examples."""

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd
import pandera.pandas as pa

EXAMPLES = 5


@dataclass(frozen=True)
class Violation:
    """One check that one column, or the whole table, does not pass."""

    column: str | None
    check: str
    rows: int | None
    """Rows that violate it; None where the check judges a column or the table as a whole."""
    share: float | None
    fatal: bool
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Describe the violation in a line."""
        where = f"column {self.column}" if self.column else "table"
        count = "" if self.rows is None else f": {self.rows} rows ({self.share:.2%})"
        examples = f", such as {', '.join(self.examples)}" if self.examples else ""
        return f"{where}: {self.check}{count}{examples}"


def coerced(table: pd.DataFrame, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """Return the table with the types that the schema coerces to; `check` names a column that cannot be."""
    changed = {}
    for name, column in schema.columns.items():
        if name in table and column.dtype is not None and (column.coerce or schema.coerce):
            with suppress(TypeError, ValueError, OverflowError):
                changed[name] = column.dtype.coerce(table[name])
    return table.assign(**changed)


def check(table: pd.DataFrame, schema: pa.DataFrameSchema) -> list[Violation]:
    """Return every violation of the schema, in the order of the columns.

    A violation is fatal unless the share of its rows is within the `tolerated` share in the column's metadata.
    """
    try:
        schema.validate(table, lazy=True)
    except pa.errors.SchemaErrors as errors:
        return _violations(errors.failure_cases, len(table), schema)
    return []


def _violations(cases: pd.DataFrame, rows: int, schema: pa.DataFrameSchema) -> list[Violation]:
    found = []
    whole_column = ("missing share", "dtype(", "column_in_dataframe", "column_in_schema")
    for (context, column, name), group in cases.groupby(
        ["schema_context", "column", "check"], dropna=False, sort=False
    ):
        named = None if context == "DataFrameSchema" and not str(name).startswith("column_in") else str(column)
        if str(name).startswith("column_in"):
            named = str(group["failure_case"].iloc[0])
        by_row = not str(name).startswith(whole_column) and bool(group["index"].notna().any())
        count = len(group) if by_row else None
        share = None if count is None else count / rows
        found.append(
            Violation(
                column=named,
                check=_in_words(str(name)),
                rows=count,
                share=share,
                fatal=share is None or share > _tolerated(schema, named),
                examples=[_example(value) for value in group["failure_case"].drop_duplicates().head(EXAMPLES)]
                if by_row or str(name).startswith("dtype(")
                else [],
            )
        )
    order = {name: place for place, name in enumerate(schema.columns)}
    return sorted(found, key=lambda violation: order.get(violation.column or "", len(order)))


def _in_words(check: str) -> str:
    return {
        "column_in_dataframe": "is missing",
        "column_in_schema": "is not in the schema",
        "not_nullable": "has missing values",
    }.get(check, check.replace("dtype(", "should be of type (") if check.startswith("dtype(") else check)


def _tolerated(schema: pa.DataFrameSchema, column: str | None) -> float:
    metadata = schema.columns[column].metadata if column in schema.columns else None
    return float((metadata or {}).get("tolerated", 0.0))


def _example(value: Any) -> str:
    return "missing" if pd.isna(value) else str(value)


def report(violations: list[Violation], table: pd.DataFrame, schema: pa.DataFrameSchema) -> dict[str, Any]:
    """Return the schema report: what was checked, what was found, and each column's missing share."""
    return {
        "rows": len(table),
        "columns": {
            name: {
                "type": str(table[name].dtype) if name in table else None,
                "missing": round(float(table[name].isna().mean()), 6) if name in table else None,
                "checks": [check.name or str(check) for check in column.checks],
            }
            for name, column in schema.columns.items()
        },
        "violations": [asdict(violation) for violation in violations],
    }
