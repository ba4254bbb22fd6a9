"""What the task's schema found in a table and changed, or in many tables as if they were one."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pandera.pandas as pa

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
class Outcome:
    """What a schema found and changed in some rows.

    Attributes:
        rows: of the table that it made.
        types: of that table's columns.
        missing: values that are, by column.
        violations: the checks that failed.
        changed: what was changed, in words, and in how many rows; None where rows do not count.
        dropped: the checks for which rows were dropped, and `judged`, of how many rows.
    """

    rows: int
    types: Mapping[str, str]
    missing: Mapping[str, int]
    violations: list[Violation]
    changed: Mapping[str, int | None]
    dropped: list[Violation]
    judged: int

    @property
    def changes(self) -> list[str]:
        """What the schema changed or dropped, with counts."""
        said = [what if count is None else f"{what}: {count} rows" for what, count in self.changed.items()]
        return said + [f"dropped: {found}" for found in self.dropped]


def merged(outcomes: Sequence[Outcome], schema: pa.DataFrameSchema) -> Outcome:
    """Return what was found in several tables as if they were one; of no table there is nothing."""
    if len(outcomes) == 1:
        return outcomes[0]
    rows, judged = sum(each.rows for each in outcomes), sum(each.judged for each in outcomes)
    missing = Counter[str]()
    changed: dict[str, int | None] = {}
    for each in outcomes:
        missing.update(each.missing)
        for what, count in each.changed.items():
            changed[what] = None if count is None else count + (changed.get(what) or 0)
    types = {name: kind for each in outcomes for name, kind in each.types.items()}
    violations = _added([found for each in outcomes for found in each.violations], rows, schema)
    dropped = _added([found for each in outcomes for found in each.dropped], judged, schema)
    return Outcome(rows, types, dict(missing), violations, changed, dropped, judged)


def _added(found: Sequence[Violation], rows: int, schema: pa.DataFrameSchema) -> list[Violation]:
    """Return violations with those of the same check added up."""
    made: dict[tuple[str | None, str], Violation] = {}
    for each in found:
        before = made.get((each.column, each.check))
        if each.rows is not None:
            count = each.rows + (before.rows or 0 if before else 0)
            share = count / rows
            examples = list(dict.fromkeys([*(before.examples if before else []), *each.examples]))[:EXAMPLES]
            each = replace(
                each, rows=count, share=share, fatal=share > tolerated(schema, each.column), examples=examples
            )
        made[each.column, each.check] = each
    return sorted(made.values(), key=lambda violation: place(schema, violation.column))


def matches(schema: pa.DataFrameSchema, name: Any, column: str) -> bool:
    """Return whether the rules of the schema's name or pattern are about a column."""
    return str(name) == column or bool(schema.columns[name].regex and re.match(name, column))


def component(schema: pa.DataFrameSchema, column: str) -> tuple[int, pa.Column] | None:
    """Return place and rules of a column in the schema, by its name or else by the first pattern that it matches."""
    named = list(enumerate(schema.columns.items()))
    exact = ((place, found) for place, (name, found) in named if str(name) == column)
    pattern = ((place, found) for place, (name, found) in named if matches(schema, name, column))
    return next(exact, None) or next(pattern, None)


def place(schema: pa.DataFrameSchema, column: str | None) -> int:
    """Return where a column's rules stand in the schema; those of the table come last."""
    found = None if column is None else component(schema, column)
    return len(schema.columns) if found is None else found[0]


def tolerated(schema: pa.DataFrameSchema, column: str | None) -> float:
    """Return the share of rows that may violate a column's rules."""
    found = None if column is None else component(schema, column)
    return float(((found and found[1].metadata) or {}).get("tolerated", 0.0))


def report(outcome: Outcome, schema: pa.DataFrameSchema) -> dict[str, Any]:
    """Return the schema report: what was checked, changed and found, and each column's missing share."""
    expanded = [
        (name, column)
        for pattern, column in schema.columns.items()
        for name in ([each for each in outcome.types if matches(schema, pattern, each)] or [pattern])
    ]
    return {
        "rows": outcome.rows,
        "columns": {
            name: {
                "type": outcome.types.get(name),
                "missing": round(outcome.missing[name] / outcome.rows, 6)
                if name in outcome.types and outcome.rows
                else None,
                "checks": [check.name or str(check) for check in column.checks],
            }
            for name, column in expanded
        },
        "changes": outcome.changes,
        "violations": [asdict(violation) for violation in outcome.violations],
    }
