"""A column holds what the task declares: each value of each row, whatever pandas calls the column."""

import contextlib
import json
import shutil
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci import task as declarations
from ci.data.windows import PARTS
from ci.task import columns, declaration
from tests.tasks import INIT, SCHEMA, SETTINGS, table

WHOLE = "whole numbers from -2^63 to 2^63 - 1, none missing"
REAL = "finite numbers up to 3.4e38, or missing"
TEXT = "texts, none missing"
BINARY = "TARGET of a binary task: 0 for no, 1 for yes, or missing where there is no label"
REGRESSION = "TARGET of a regression task: finite numbers up to 3.4e38, or missing where there is no label"


def put(name, value, every=7, dtype=None):
    """Return a change that puts a value into every so many rows of a column."""

    def change(rows):
        values = rows[name].astype(object)
        values[rows.index % every == 0] = pd.Series([value] * len(rows), dtype=object)
        return rows.assign(**{name: values.astype(dtype) if dtype else values})

    return change


def cast(name, dtype):
    return lambda rows: rows.assign(**{name: rows[name].astype(dtype)})


def gap(name, dtype):
    return lambda rows: rows.assign(**{name: rows[name].astype(dtype).where(rows.index % 7 > 0)})


WRONG = [
    ("k", gap("k", "float64"), WHOLE, 29, "missing"),
    ("k", gap("k", "Int64"), WHOLE, 29, "missing"),
    ("k", gap("k", "int64[pyarrow]"), WHOLE, 29, "missing"),
    ("k", put("k", None), WHOLE, 29, "missing"),
    (
        "k",
        lambda rows: rows.assign(k=(rows["k"] > 2).astype("boolean").where(rows.index % 7 > 0)),
        WHOLE,
        29,
        "missing",
    ),
    ("k", put("k", 2.7, dtype="float64"), WHOLE, 29, "2.7"),
    ("k", put("k", 2.7), WHOLE, 29, "2.7"),
    ("k", put("k", Decimal("0.5")), WHOLE, 29, "0.5"),
    ("k", put("k", float("inf"), dtype="float64"), WHOLE, 29, "inf"),
    ("k", put("k", 2**63, dtype="uint64"), WHOLE, 29, "9223372036854775808"),
    ("k", put("k", 2.0**63, dtype="float64"), WHOLE, 29, "9.223372036854776e+18"),
    ("k", put("k", -(2**63) - 1), WHOLE, 29, "-9223372036854775809"),
    ("k", put("k", 10**5000), WHOLE, 29, "a number of 16610 bits"),
    ("k", cast("k", str), WHOLE, 200, "'0', '1', '2', '3', '4'"),
    ("k", put("k", "many"), WHOLE, 29, "'many'"),
    ("k", put("k", [1]), WHOLE, 29, "[1]"),
    ("k", put("k", {"a": 1}), WHOLE, 29, "{'a': 1}"),
    ("k", put("k", 1j), WHOLE, 29, "1j"),
    ("k", put("k", pd.Timestamp("2024-01-01")), WHOLE, 29, "2024-01-01 00:00:00"),
    ("k", lambda rows: rows.assign(k=rows["day"]), WHOLE, 200, "2024-01-01 00:00:00"),
    ("x", put("x", "1,234.5"), REAL, 29, "'1,234.5'"),
    ("x", cast("x", str), REAL, 200, "'0.0', '0.25'"),
    ("x", put("x", "n/a"), REAL, 29, "'n/a'"),
    ("x", put("x", float("-inf"), dtype="float64"), REAL, 29, "-inf"),
    ("x", put("x", 1e39, dtype="float64"), REAL, 29, "1e+39"),
    ("x", put("x", 10**400), REAL, 29, "a number of 1329 bits"),
    ("x", put("x", (1.0, 2.0)), REAL, 29, "(1.0, 2.0)"),
    ("x", put("x", np.array([1.0, 2.0])), REAL, 29, "array([1., 2.])"),
    ("x", cast("x", "complex128"), REAL, 200, "0j"),
    ("x", lambda rows: rows.assign(x=rows["day"] - rows["day"].min()), REAL, 200, "Timedelta"),
    ("c", gap("c", object), TEXT, 29, "missing"),
    ("c", gap("c", "string"), TEXT, 29, "missing"),
    ("c", gap("c", "category"), TEXT, 29, "missing"),
    ("c", lambda rows: rows.assign(c=rows["k"]), TEXT, 200, "0, 1, 2, 3, 4"),
    ("c", lambda rows: rows.assign(c=rows["k"].astype("category")), TEXT, 200, "0, 1, 2, 3, 4"),
    ("c", put("c", 7), TEXT, 29, "7"),
    ("c", put("c", b"a"), TEXT, 29, "b'a'"),
    ("c", put("c", ["a", "b"]), TEXT, 29, "['a', 'b']"),
    ("c", put("c", "\ud800"), TEXT, 29, "'\\ud800'"),
    ("c", put("c", ["long " * 100]), TEXT, 29, "..."),
    ("y", lambda rows: rows.assign(y=rows["y"] * 2 - 1), BINARY, 133, "-1"),
    ("y", put("y", 0.5, dtype="float64"), BINARY, 29, "0.5"),
    ("y", put("y", 2), BINARY, 29, "2"),
    ("y", put("y", float("inf"), dtype="float64"), BINARY, 29, "inf"),
    ("y", cast("y", str), BINARY, 200, "'1', '0'"),
    ("y", lambda rows: rows.assign(y=rows["y"].map({0: "no", 1: "yes"})), BINARY, 200, "'yes', 'no'"),
    ("y", cast("y", "category"), BINARY, 200, "1, 0"),
    ("y", put("y", "yes"), BINARY, 29, "'yes'"),
    ("y", put("y", [1]), BINARY, 29, "[1]"),
    ("y", lambda rows: rows.assign(y=rows["day"]), BINARY, 200, "2024-01-01"),
    ("day", lambda rows: rows.assign(day=rows["k"].astype(str)), "TIME", 280, "'0'"),
    ("day", lambda rows: rows.assign(day=rows["k"]), "TIME", 280, "0"),
    ("day", lambda rows: rows.assign(day=rows["day"].dt.date), "TIME", 280, "datetime.date(2024, 1, 1)"),
    ("day", lambda rows: rows.assign(day=rows["day"].dt.to_period("D")), "TIME", 280, "Period"),
    ("day", lambda rows: rows.assign(day=rows["day"].where(rows.index % 7 > 0)), "TIME", 40, "missing"),
    ("g", lambda rows: put("g", [1])(rows.assign(g="a")), "one of SLICES: single values", 29, "[1]"),
    ("g", lambda rows: put("g", {"a"})(rows.assign(g=1)), "one of SLICES: single values", 29, "{'a'}"),
]


@pytest.mark.parametrize(("column", "change", "declared", "rows", "examples"), WRONG)
def test_a_column_that_holds_something_else_is_refused_before_anything_is_written(
    task, column, change, declared, rows, examples
):
    if column == "day":
        task.write("schema.py", "import pandera.pandas as pa\n\nSCHEMA = pa.DataFrameSchema({})\n")
    if column == "g":
        task.write("__init__.py", INIT.replace('("c",)', '("c", "g")'))
    code, said = task.prepare(change=change)
    assert code == 2
    assert said.startswith("bad input: data.source: table.pickle: columns")
    line = next(line for line in said.splitlines() if line.startswith(f"  column {column}: declared as "))
    assert declared in line
    assert f"; {rows} rows (" in line
    assert "something else, such as " in line
    assert examples in line.partition("such as ")[2]
    assert "mend the data in model/data.py, or the declaration if it is wrong" in said


NUMBERS = [
    ("text", cast("y", str), "'1', '0'"),
    ("infinite", put("y", float("inf"), dtype="float64"), "inf"),
    ("too large", put("y", 1e39, dtype="float64"), "1e+39"),
    ("category", cast("y", "category"), "1, 0"),
    ("list", put("y", [1.0]), "[1.0]"),
]


@pytest.mark.parametrize(("change", "examples"), [case[1:] for case in NUMBERS], ids=[case[0] for case in NUMBERS])
def test_a_regression_learns_finite_numbers(task, change, examples):
    task.write("__init__.py", INIT.replace("binary", "regression"))
    (task.folder / "pipeline.yaml").write_text(f"{SETTINGS}gates: {{primary: rmse}}\n")
    code, said = task.prepare(change=change)
    assert code == 2
    assert f"column y: declared as {REGRESSION}; " in said
    assert examples in said


def test_all_columns_are_told_of_at_once(task):
    code, said = task.prepare(change=lambda rows: gap("k", "float64")(cast("x", str)(put("y", 5)(rows))))
    assert code == 2
    assert [line.split(":")[0] for line in said.splitlines() if "declared as" in line] == [
        "  column y",
        "  column x",
        "  column k",
    ]


def test_days_to_come_are_sent_to_the_model_and_hold_what_is_declared_too(task):
    code, said = task.prepare(change=lambda rows: rows.assign(k=rows["k"].where(rows["day"] < "2024-02-25", 2.5)))
    assert code == 2
    assert "columns in the days from 2024-02-20 do not hold what model/__init__.py declares" in said
    assert "column k: declared as int64 in FEATURES" in said


@pytest.mark.parametrize("dtype", ["float64", "Int64", "object"])
@pytest.mark.parametrize("name", ["k", "c"])
def test_a_field_may_be_missing_in_days_to_come_as_users_may_leave_it_out(task, name, dtype):
    def change(rows):
        gone = (rows["day"] >= "2024-02-25") & (rows.index % 7 == 0)
        kept = rows[name].astype(dtype if name == "k" else "object")
        return rows.assign(
            **{name: kept.where(~gone, None if dtype == "object" else pd.NA if dtype == "Int64" else np.nan)}
        )

    code, said = task.prepare(change=change)
    assert code == 0, said
    traffic = pd.read_parquet("build/data/traffic.parquet")
    assert 0 < traffic[name].isna().sum() < len(traffic)


@pytest.mark.parametrize("missing", [None, pd.NA, pd.NaT, np.nan, Decimal("NaN")], ids=repr)
@pytest.mark.parametrize("kind", [int, float, np.float32, Decimal, Fraction, bool])
def test_whole_numbers_of_any_kind_may_be_missing_in_days_to_come_in_any_way(task, missing, kind):
    def change(rows):
        values = [missing if row > 210 and row % 3 == 0 else kind(row % 2) for row in rows.index]
        return rows.assign(k=pd.Series(values, dtype=object))

    code, said = task.prepare(change=change)
    assert code == 0, said
    traffic = pd.read_parquet("build/data/traffic.parquet")["k"]
    assert set(traffic.dropna()) == {0, 1}
    assert 0 < traffic.isna().sum() < len(traffic)


RIGHT = [
    ("k", lambda rows: rows.assign(k=rows["k"].astype("float64"))),
    ("k", cast("k", "Int64")),
    ("k", cast("k", "uint8")),
    ("k", cast("k", "bool")),
    ("k", cast("k", "category")),
    ("k", put("k", 2**63 - 1)),
    ("k", put("k", -(2**63))),
    ("k", put("k", True)),
    ("k", put("k", Decimal(4))),
    ("k", put("k", 3.0)),
    ("x", gap("x", "float64")),
    ("x", gap("x", "Float64")),
    ("x", gap("x", "double[pyarrow]")),
    ("x", lambda rows: rows.assign(x=rows["k"].astype("Int64").where(rows.index % 7 > 0))),
    ("x", lambda rows: rows.assign(x=(rows["k"] > 2).astype("boolean").where(rows.index % 7 > 0))),
    ("x", put("x", None)),
    ("x", put("x", Decimal("1.5"))),
    ("x", put("x", np.float32(1.5))),
    ("x", put("x", 3.4e38, dtype="float64")),
    ("c", cast("c", "category")),
    ("c", cast("c", object)),
    ("c", cast("c", "string")),
    ("c", put("c", "größe\0")),
    ("y", cast("y", "bool")),
    ("y", cast("y", "float64")),
    ("y", put("y", None)),
    ("y", put("y", True)),
    ("y", lambda rows: rows.assign(y=(rows["y"] > 0).astype("boolean").where(rows.index % 7 > 0))),
    ("y", lambda rows: rows.assign(y=rows["y"].astype("Int64").where(rows.index % 7 > 0))),
]


@pytest.mark.parametrize(("column", "change"), RIGHT)
def test_values_that_are_what_is_declared_are_used_whatever_pandas_calls_the_column(task, column, change):
    before = change(table()).assign(id=range(280))
    code, said = task.prepare(rows=before)
    assert code == 0, said
    found = pd.concat(pd.read_parquet(f"build/data/{part}.parquet") for part in PARTS)
    dtype = {"x": "float32", "k": "int64", "c": object, "y": "float32"}[column]
    given = before[column].astype(object)[found["id"]]
    expected = [float("nan") if value is None or pd.isna(value) else value for value in given]
    np.testing.assert_array_equal(found[column].to_numpy(dtype=dtype), np.array(expected, dtype=dtype))


UNCHECKED = "import pandera.pandas as pa\n\nSCHEMA = pa.DataFrameSchema({})\n"


@pytest.mark.parametrize(
    ("schema", "times"),
    [
        (UNCHECKED, lambda day: day.dt.tz_localize("Asia/Tokyo")),
        (UNCHECKED, lambda day: day + pd.to_timedelta(day.index % 24, unit="h")),
        (UNCHECKED, lambda day: (day + pd.Timedelta(hours=23)).dt.tz_localize("America/New_York")),
        (UNCHECKED, lambda day: day.astype("datetime64[s]")),
        (UNCHECKED, lambda day: day.astype("timestamp[us][pyarrow]")),
        (UNCHECKED, lambda day: day.dt.date.astype("date32[pyarrow]")),
        (SCHEMA, lambda day: day.dt.strftime("%Y-%m-%d")),
        (SCHEMA, lambda day: day.dt.date),
    ],
)
def test_times_of_any_kind_have_days(task, schema, times):
    task.write("schema.py", schema)
    code, said = task.prepare(change=lambda rows: rows.assign(day=times(rows["day"])))
    assert code == 0, said
    summary = json.loads(Path("build/data/summary.json").read_text())
    assert summary["days"] == {"train": 32, "validation": 8, "holdout": 10, "traffic": 10}
    assert summary["rows"] == {part: 4 * days for part, days in summary["days"].items()}


def test_categories_of_arrow_can_be_read_again(task):
    kind = pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))
    code, said = task.prepare(change=lambda rows: rows.assign(c=rows["c"].astype(kind), more=rows["c"].astype(kind)))
    assert code == 0, said
    rows = pd.read_parquet("build/data/train.parquet")
    assert set(rows["c"]) == set(rows["more"]) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: None, "load gave NoneType: expected a DataFrame of pandas"),
        (lambda _: [1, 2], "load gave list: expected a DataFrame of pandas"),
        (lambda rows: rows["x"], "load gave Series: expected a DataFrame of pandas"),
        (lambda rows: rows.head(0), "gave no rows"),
        (lambda rows: rows[["day", "x", "k", "c", "y", "x", "c"]], "gave more than one column named x, c"),
        (lambda rows: pd.concat([rows, rows["y"]], axis=1), "gave more than one column named y"),
        (lambda rows: rows.assign(**{"z": 1}).rename(columns={"z": 0}), "gave a column named 0: a name is a text"),
        (lambda rows: rows.drop(columns="day"), "TIME is 'day': model.data.load gave no such column of dates"),
        (lambda rows: rows.drop(columns="k"), "FEATURES names k: no such column in the data"),
        (lambda rows: rows.drop(columns="y"), "TARGET names y: no such column in the data"),
        (lambda rows: rows.assign(more=[[1]] * len(rows)), "cannot be told apart in column more (unhashable type"),
        (lambda rows: put("more", 1)(rows.assign(more="a")), "cannot be stored"),
    ],
)
def test_a_table_that_is_none_or_cannot_be_kept_is_refused(task, change, words):
    code, said = task.prepare(change=change)
    assert code == 2
    assert said.startswith("bad input: model")
    assert words in said


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.text(),
    st.binary(),
    st.complex_numbers(),
    st.dates(),
    st.datetimes(),
    st.lists(st.integers(), max_size=2),
    st.sampled_from(
        [2**63, 2**63 - 1, -(2**63), 2.0**63, 3.4e38, 3.5e38, "\ud800", pd.NA, pd.NaT, np.float64(1), Decimal("NaN")]
    ),
)


@given(
    st.lists(VALUES, min_size=1, max_size=4), st.sampled_from(["string", "int64", "float32", "binary", "regression"])
)
def test_what_is_let_through_becomes_what_is_declared(values, declared):
    column = pd.Series([0] * len(values), dtype=object)
    for row, value in enumerate(values):
        column[row] = value
    rule = columns.FIELDS.get(declared) or columns.target_rule(declarations.Output("y", declared, ("y",)))
    kept = column[~rule.wrong(column)]
    if declared == "string":
        assert all(isinstance(value, str) and value.encode() is not None for value in kept)
    elif declared == "int64":
        assert rule.stored(kept).to_list() == list(kept)
    else:
        stored = rule.stored(kept).to_numpy(dtype="float32")
        assert np.isfinite(stored[kept.notna().to_numpy()]).all()
        assert declared != "binary" or set(stored[kept.notna().to_numpy()]) <= {0, 1}


def test_each_type_and_kind_that_a_task_may_declare_has_its_rule():
    assert set(columns.FIELDS) == set(declaration.DTYPES)
    for kind in declaration.KINDS:
        assert columns.target_rule(declarations.Output("y", kind, ("y",), ("a", "b"))).holds


def test_days_to_come_need_no_labels(task):
    code, said = task.prepare(change=lambda rows: rows.assign(y=rows["y"].where(rows["day"] < "2024-02-20")))
    assert code == 0, said
    summary = json.loads(Path("build/data/summary.json").read_text())
    assert set(summary["target"]) == {"train", "validation", "holdout"}
    assert summary["unlabelled"] == {"train": 0, "validation": 0, "holdout": 0, "traffic": 40}


DTYPES = st.sampled_from(
    [None, "object", "float64", "Float64", "int64", "Int64", "uint64", "boolean", "string", "category", "datetime64[s]"]
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    column=st.sampled_from(["x", "k", "c", "y", "day", "more"]),
    values=st.lists(
        VALUES | st.lists(st.text(max_size=2)) | st.dictionaries(st.text(), st.none()), min_size=1, max_size=3
    ),
    every=st.sampled_from([1, 3, 50]),
    dtype=DTYPES,
)
def test_no_table_ends_in_anything_but_data_or_bad_input(task, column, values, every, dtype):
    rows = table().assign(more=1)
    mixed = rows[column].astype(object)
    for place, row in enumerate(range(0, len(rows), every)):
        mixed.iat[row] = values[place % len(values)]
    with contextlib.suppress(TypeError, ValueError, OverflowError, NotImplementedError):
        mixed = mixed.astype(dtype) if dtype else mixed.infer_objects()
    shutil.rmtree("build", ignore_errors=True)
    code, said = task.prepare(rows=rows.assign(**{column: mixed}))
    assert code in (0, 2)
    assert code == 0 or said.startswith("bad input: ")
