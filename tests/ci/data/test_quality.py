"""Violations of the schema are found by column, counted, and judged."""

import pandas as pd
import pandera.pandas as pa
import pytest

from ci.data import quality

MISSING = pa.Check(lambda column: column.isna().mean() <= 0.25, ignore_na=False, name="missing share at most 0.25")
SCHEMA = pa.DataFrameSchema(
    {
        "n": pa.Column("float64", [pa.Check.in_range(0, 10), MISSING], nullable=True, metadata={"tolerated": 0.2}),
        "c": pa.Column(str, pa.Check.isin(["a", "b"])),
    },
    checks=pa.Check(lambda table: len(table) >= 3, name="at least 3 rows"),
    strict=True,
)


def table(**columns):
    return pd.DataFrame({"n": [1.0, 2.0, 3.0, 4.0, 5.0], "c": list("ababa")} | columns)


def test_good_data_have_no_violations():
    assert quality.apply(table(), SCHEMA).violations == []


@pytest.mark.parametrize(
    ("data", "column", "fatal", "words"),
    [
        (table(n=[1.0, 2.0, 3.0, 4.0, 99.0]), "n", False, "column n: in_range(0, 10): 1 rows (20.00%), such as 99.0"),
        (table(n=[1.0, 2.0, 3.0, 98.0, 99.0]), "n", True, "column n: in_range(0, 10): 2 rows (40.00%)"),
        (table(n=[1.0, None, None, 4.0, 5.0]), "n", True, "column n: missing share at most 0.25"),
        (table(c=["a", "b", "x", "a", "x"]), "c", True, "column c: isin(['a', 'b']): 2 rows (40.00%), such as x"),
        (table(c=["a", "b", None, "a", "b"]), "c", True, "column c: has missing values: 1 rows"),
        (table(n=[1, 2, 3, 4, 5]), "n", True, "column n: should be of type ('float64'), such as int64"),
        (table()[["n"]], "c", True, "column c: is missing"),
        (table(extra=1), "extra", True, "column extra: is not in the schema"),
        (table().head(2), None, True, "table: at least 3 rows"),
    ],
)
def test_each_kind_of_violation(data, column, fatal, words):
    found = quality.apply(data, SCHEMA).violations
    assert [(violation.column, violation.fatal) for violation in found] == [(column, fatal)]
    assert words in str(found[0])


def test_all_violations_are_reported_at_once_in_the_order_of_the_columns():
    found = quality.apply(table(n=[-1.0, -1.0, -1.0, 1.0, 1.0], c=list("xxxxx")), SCHEMA).violations
    assert [violation.column for violation in found] == ["n", "c"]
