"""What the schema makes of the data is what is trained on, and it says how much it changed."""

import json
from pathlib import Path

import pandas as pd
import pytest

from ci.data.windows import PARTS

HEAD = "import pandera.pandas as pa\nfrom pandera.typing import Series\n\n"
DAY = '"day": pa.Column("datetime64[ns]", coerce=True)'


def schema(columns="", **options):
    """Return the text of a schema module: the column of days, others, and options of the whole."""
    given = "".join(f", {name}={value}" for name, value in options.items())
    return f"{HEAD}SCHEMA = pa.DataFrameSchema({{{DAY}, {columns}}}{given})\n"


def found():
    """Return the prepared rows, the notes of the summary and the schema report."""
    rows = pd.concat([pd.read_parquet(f"build/data/{part}.parquet").assign(part=part) for part in PARTS])
    notes = json.loads(Path("build/data/summary.json").read_text())["notes"]
    return rows, notes, json.loads(Path("build/data/schema.json").read_text())


def strange(value, column="x"):
    """Return a change that puts a value into 8 rows of the first two days and 4 of the days from as_of on."""

    def change(rows):
        values = rows[column].astype(object)
        values[(rows.index < 8) | (rows.index >= 276)] = value
        return rows.assign(**{column: values.infer_objects()})

    return change


@pytest.mark.parametrize(
    "text",
    [
        schema('"x": pa.Column("float64", pa.Check.lt(100))', drop_invalid_rows=True),
        schema('"x": pa.Column("float64", pa.Check.lt(100), drop_invalid_rows=True)'),
        schema(checks='pa.Check(lambda rows: rows["x"] < 100, name="less than 100")', drop_invalid_rows=True),
        schema('"^x$": pa.Column("float64", pa.Check.lt(100), regex=True, drop_invalid_rows=True)'),
        HEAD + "class Table(pa.DataFrameModel):\n"
        '    day: Series[pa.DateTime] = pa.Field(coerce=True)\n    x: Series["float64"] = pa.Field(lt=100)\n\n'
        "    class Config:\n        drop_invalid_rows = True\n\n\nSCHEMA = Table\n",
    ],
    ids=["whole", "column", "row check", "pattern", "class"],
)
def test_rows_that_the_schema_drops_are_dropped_and_counted(task, text):
    task.write("schema.py", text)
    code, said = task.prepare(change=strange(999.0))
    assert code == 0, said
    rows, notes, report = found()
    assert rows["x"].max() < 100
    assert len(rows) == 4 * 60 - 8, "the days from as_of on have 4 more, which lie beyond the traffic's"
    assert report["violations"] == []
    assert len(notes) == 1
    assert notes[0].startswith("the schema dropped: ")
    assert ": 8 rows (4.00%), such as 999.0" in notes[0] or "less than 100: 8 rows" in notes[0]
    assert f"prepare: {notes[0]}\n" in said


def test_rows_to_come_are_dropped_too_and_counted_by_themselves(task):
    task.write("schema.py", schema('"x": pa.Column("float64", pa.Check.lt(100))', drop_invalid_rows=True))
    code, said = task.prepare(change=lambda rows: rows.assign(x=rows["x"].where(rows.index % 8 > 0, 999.0)))
    assert code == 0, said
    rows, notes, _ = found()
    assert rows.groupby("part").size().to_dict() == {"holdout": 35, "traffic": 35, "train": 112, "validation": 28}
    assert [note.partition("such")[0] for note in notes] == [
        "the schema dropped: column x: less_than(100): 25 rows (12.50%), ",
        "the schema, in the days from as_of on, dropped: column x: less_than(100): 5 rows (12.50%), ",
    ]


def test_what_does_not_hold_of_the_rest_is_a_violation_though_rows_were_dropped(task):
    few = 'pa.Check(lambda rows: len(rows) > 1000, name="more than 1000 rows")'
    text = schema('"x": pa.Column("float64", pa.Check.lt(100))', checks=few, drop_invalid_rows=True)
    task.write("schema.py", text)
    code, said = task.prepare(change=strange(999.0))
    assert code == 2
    assert "table: more than 1000 rows" in said


def test_a_value_that_cannot_be_coerced_is_dropped_and_the_others_have_the_type(task):
    task.write("schema.py", schema('"k": pa.Column("int64", coerce=True)', drop_invalid_rows=True))
    code, said = task.prepare(change=lambda rows: strange("?", "k")(rows.assign(k=rows["k"].astype(str))))
    assert code == 0, said
    rows, notes, report = found()
    assert rows["k"].dtype == "int64"
    assert len(rows) == 4 * 60 - 8
    assert report["columns"]["k"]["type"] == "int64"
    assert any("dropped: column k: coerce_dtype('int64'): 8 rows (4.00%), such as ?" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "change", "right", "notes"),
    [
        (
            schema('"c": pa.Column(str, parsers=pa.Parser(lambda c: c.str.strip()))'),
            strange("a ", "c"),
            lambda rows: set(rows["c"]) == {"a", "b", "c"},
            ["the schema changed: column c: 8 rows"],
        ),
        (
            schema(parsers='pa.Parser(lambda rows: rows.assign(c=rows["c"].str.strip()))'),
            strange("a ", "c"),
            lambda rows: set(rows["c"]) == {"a", "b", "c"},
            ["the schema changed: column c: 8 rows"],
        ),
        (
            schema('"x": pa.Column("float64", default=-1.0)'),
            strange(None),
            lambda rows: (rows["x"] == -1).sum() == 8,
            ["the schema changed: column x: 8 rows"],
        ),
        (
            schema('"k": pa.Column("int64", default=7)', add_missing_columns=True),
            lambda rows: rows.drop(columns="k"),
            lambda rows: set(rows["k"]) == {7},
            ["the schema added: column k", "the schema, in the days from as_of on, added: column k"],
        ),
        (
            schema('"^k$": pa.Column("int64", regex=True, coerce=True)'),
            lambda rows: rows.assign(k=rows["k"].astype(str)),
            lambda rows: rows["k"].dtype == "int64",
            [
                "the schema changed: column k: 200 rows",
                "the schema, in the days from as_of on, changed: column k: 40 rows",
            ],
        ),
        (
            schema(
                '"x": pa.Column("float64"), "k": pa.Column("int64"), "c": pa.Column(str), "y": pa.Column("int64")',
                strict='"filter"',
            ),
            lambda rows: rows.assign(secret=1),
            lambda rows: "secret" not in rows,
            ["the schema dropped: column secret", "the schema, in the days from as_of on, dropped: column secret"],
        ),
        (
            schema(parsers="pa.Parser(lambda rows: rows[rows['x'] < 100].reset_index(drop=True))"),
            strange(999.0),
            lambda rows: len(rows) == 232,
            ["the schema dropped: 8 rows"],
        ),
        (
            HEAD + "class Table(pa.DataFrameModel):\n    day: Series[pa.DateTime] = pa.Field(coerce=True)\n"
            '    c: Series[str]\n\n    @pa.parser("c")\n    def strip(cls, c):\n        return c.str.strip()\n\n\n'
            "SCHEMA = Table\n",
            strange("a ", "c"),
            lambda rows: set(rows["c"]) == {"a", "b", "c"},
            ["the schema changed: column c: 8 rows"],
        ),
    ],
    ids=["parser", "parser of the table", "default", "added", "pattern", "filter", "parser that drops", "class"],
)
def test_what_the_schema_returns_is_what_is_used(task, text, change, right, notes):
    task.write("schema.py", text)
    code, said = task.prepare(change=change)
    assert code == 0, said
    rows, told, report = found()
    assert right(rows)
    assert told == notes
    assert report["changes"] == [note.removeprefix("the schema ") for note in notes if "as_of" not in note]


def test_rows_of_a_violation_that_is_tolerated_stay_as_the_schema_made_them(task):
    tolerated = '"x": pa.Column("float64", pa.Check.lt(100), metadata={"tolerated": 0.05})'
    parsed = '"c": pa.Column(str, parsers=pa.Parser(lambda c: c.str.strip()))'
    task.write("schema.py", schema(f"{tolerated}, {parsed}"))
    code, said = task.prepare(change=lambda rows: strange("a ", "c")(strange(999.0)(rows)))
    assert code == 0, said
    rows, notes, report = found()
    assert (rows["x"] == 999.0).sum() == 8
    assert "a " not in set(rows["c"])
    assert notes == [
        "tolerated: column x: less_than(100): 8 rows (4.00%), such as 999.0",
        "the schema changed: column c: 8 rows",
    ]
    assert [violation["fatal"] for violation in report["violations"]] == [False]


@pytest.mark.parametrize("name", ['"x"', '"^x$"'])
def test_what_is_tolerated_of_a_pattern_is_tolerated_of_each_column(task, name):
    regex = ', regex=True, metadata={"tolerated": 0.05}' if "^" in name else ', metadata={"tolerated": 0.01}'
    task.write("schema.py", schema(f'{name}: pa.Column("float64", pa.Check.lt(100){regex})'))
    code, said = task.prepare(change=strange(999.0))
    assert code == (0 if "^" in name else 2)
    assert "column x: less_than(100): 8 rows (4.00%), such as 999.0" in said


def test_days_to_come_are_not_judged_and_teach_nothing(task):
    """A parser that fills with the mean takes it from the rows before as_of for these, and never from those to come."""
    mean = '"x": pa.Column("float64", pa.Check.lt(100), parsers=pa.Parser(lambda x: x.fillna(x.mean())))'
    task.write("schema.py", schema(mean))

    def change(rows):
        x = rows["x"].where(rows.index % 8 > 0)
        return rows.assign(x=x.where(rows["day"] < "2024-02-20", 500.0).where(rows.index % 8 > 0))

    code, said = task.prepare(change=change)
    assert code == 0, said
    rows, _, report = found()
    assert rows.loc[rows["part"] != "traffic", "x"].max() < 2
    assert set(rows.loc[rows["part"] == "traffic", "x"]) == {500.0}
    assert report["violations"] == []


def test_the_latest_data_have_no_days_to_come(task):
    task.write("schema.py", schema('"k": pa.Column("int64", default=7)', add_missing_columns=True))
    (task.folder / "pipeline.yaml").write_text(
        (task.folder / "pipeline.yaml").read_text().replace("2024-02-20", "latest")
    )
    code, said = task.prepare(change=lambda rows: rows.drop(columns="k"))
    assert code == 0, said
    train, traffic = (pd.read_parquet(f"build/data/{part}.parquet") for part in ("train", "traffic"))
    assert len(traffic) == 0
    assert traffic.dtypes.equals(train.dtypes)


def test_rows_that_the_schema_takes_over_as_of_are_not_lost(task):
    task.write(
        "schema.py", schema(parsers='pa.Parser(lambda rows: rows.assign(day=rows["day"] + np.timedelta64(3, "D")))')
    )
    task.write("schema.py", "import numpy as np\n" + (task.folder / "model/schema.py").read_text())
    code, said = task.prepare()
    assert code == 2, said
    assert "model/schema.py: the schema takes 12 rows over 2024-02-20, which is as_of" in said


@pytest.mark.parametrize("index", ["rows['day']", "rows.index // 2"])
def test_a_parser_may_number_rows_by_something_that_repeats(task, index):
    task.write("schema.py", schema(parsers=f"pa.Parser(lambda rows: rows.set_axis({index}).assign(x=1.0))"))
    code, said = task.prepare()
    assert code == 0, said
    rows, notes, _ = found()
    assert set(rows["x"]) == {1.0}
    assert "the schema changed: column x: 172 rows" in notes


def test_rows_with_the_same_index_are_told_apart(task):
    task.write("schema.py", schema('"x": pa.Column("float64", pa.Check.lt(100))', drop_invalid_rows=True))
    code, said = task.prepare(change=lambda rows: strange(999.0)(rows).set_axis([0] * len(rows)))
    assert code == 0, said
    assert len(found()[0]) == 4 * 60 - 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SCHEMA = None\n", "model/schema.py: SCHEMA is NoneType: expected a DataFrameSchema or a DataFrameModel"),
        ("SCHEMA = {}\n", "model/schema.py: SCHEMA is dict: expected"),
        (HEAD + "SCHEMA = pa.Column(str)\n", "model/schema.py: SCHEMA is Column: expected"),
        (schema('"x": pa.Column(float, metadata={"tolerated": "5%"})'), "column x: metadata is {'tolerated': '5%'}: "),
        (schema('"x": pa.Column(float, metadata=["tolerated"])'), "column x: metadata is ['tolerated']: expected a "),
        (schema('"x": pa.Column(float, metadata={"tolerated": 2})'), "column x: metadata is {'tolerated': 2}: "),
        (
            schema('"x": pa.Column(float, pa.Check.lt(-9))', drop_invalid_rows=True),
            "choose another as_of; the schema dropped: column x: less_than(-9): 200 rows (100.00%)",
        ),
        (HEAD + "SCHEMA = pa.DataFrameSchema\n", "model/schema.py: SCHEMA is the class DataFrameSchema: expected"),
        (
            schema('"c": pa.Column(str, parsers=pa.Parser(lambda c: c.nope()))'),
            "model/schema.py:4: the schema in model",
        ),
        (schema('"c": pa.Column(str, pa.Check(lambda c: c.nope()))'), "AttributeError(\"'Series' object has no"),
        (schema('"q": pa.Column(float)'), "column q: is missing"),
        (schema('"q.*": pa.Column(float, regex=True)'), "no_regex_column_match('q.*')"),
        (schema('"q": pa.Column(float)', add_missing_columns=True), "add_missing_has_default"),
        (
            schema('"k": pa.Column("int64", coerce=True)'),
            "column k: coerce_dtype('int64'): 200 rows (100.00%), such as",
        ),
        (schema(strict=True), "column x: is not in the schema"),
        (schema('"m": pa.Column(str, pa.Check(lambda m: m.str.len() < 2))'), "column m: "),
        (
            HEAD + "class Table(pa.DataFrameModel):\n    x: Series[Nope]\n",
            "model/schema.py:5: model/schema.py cannot be",
        ),
    ],
)
def test_a_schema_that_is_none_or_fails_is_told_of_by_line(task, text, words):
    task.write("schema.py", text)
    code, said = task.prepare(change=lambda rows: rows.assign(k=rows["c"] + "?") if "coerce=True)}" in text else rows)
    assert code == 2, said
    assert words in said
    assert "Traceback" not in said


def undated(value):
    """Return a change that writes days as text, of which one is none."""
    return lambda rows: rows.assign(day=rows["day"].dt.strftime("%Y-%m-%d").where(rows.index != 5, value))


@pytest.mark.parametrize(("value", "shown"), [("2024-13-45", "2024-13-45"), ("soon", "soon"), (None, "missing")])
def test_a_row_whose_day_cannot_be_read_is_named_or_dropped_as_the_schema_says(task, value, shown):
    code, said = task.prepare(change=undated(value))
    assert code == 2
    assert "column day: declared as TIME: dates or times" in said
    assert f"1 rows (0.36%), such as {shown}" in said or f"1 rows (0.36%) hold something else, such as {shown}" in said
    task.write("schema.py", schema(drop_invalid_rows=True))
    code, said = task.prepare(change=undated(value))
    assert code == 0, said
    rows, notes, _ = found()
    assert len(rows) == 4 * 60 - 1
    assert [note for note in notes if "dropped" in note] == notes[:1]
    assert notes[0].startswith("the schema dropped: column day: ")
    assert notes[0].endswith(f": 1 rows (0.36%), such as {shown}")
