"""A Parquet data set is prepared as a table would be, some rows at a time; what that does not allow is refused."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests import tasks

PARTS = ("train", "validation", "holdout", "traffic")
LOAD = "def load(source):\n    return source\n"


@pytest.fixture(params=[("day", None), ("day", "c"), (None, None), (None, "c")], ids=str)
def divided(request, task):
    """The tiny task, divided in each way."""
    time, group = request.param
    text = tasks.INIT.replace('TIME = "day"', f"TIME = {time!r}") + f"GROUP = {group!r}\n"
    task.write("__init__.py", text)
    return task


def rows():
    """Return the tiny table with a label missing and a column of whole numbers with a gap, in its last rows."""
    table = tasks.table().assign(c=[f"g{row // 9}" for row in range(280)], extra=range(280))
    return table.assign(y=table["y"].mask(table.index == 5), extra=table["extra"].mask(table.index == 270))


def write(task, table, sizes=(60, 1, 100, 119)):
    """Write a table as files of so many rows each, and have `load` return their folder."""
    folder = task.folder / "rows"
    folder.mkdir(exist_ok=True)
    start = 0
    for number, size in enumerate(sizes):
        table.iloc[start : start + size].to_parquet(folder / f"{number}.parquet", index=False)
        start += size
    task.write("data.py", LOAD)
    text = (task.folder / "pipeline.yaml").read_text()
    (task.folder / "pipeline.yaml").write_text(text.replace("table.pickle", "rows"))


def left():
    found = {part: pd.read_parquet(f"build/data/{part}.parquet") for part in PARTS}
    return found, [json.loads(Path(f"build/data/{name}.json").read_text()) for name in ("summary", "reference")]


def test_it_is_prepared_as_the_same_table_would_be(divided, monkeypatch):
    # Whole numbers with a gap are floats in a table; files keep them whole numbers.
    monkeypatch.setattr("ci.rows.CELLS", 6 * 50)
    monkeypatch.setattr("ci.rows._FEWEST", 1)
    table = rows()
    code, said = divided.prepare(table)
    assert code == 0, said
    parts, results = left()
    write(divided, table.astype({"extra": "Int64", "y": "Int64"}))
    code, said = divided.prepare()
    assert code == 0, said
    many, again = left()
    for part in PARTS:
        pd.testing.assert_frame_equal(parts[part], many[part])
    assert again == results


@pytest.mark.parametrize("sizes", [(0, 280), (100, 0, 180)])
def test_a_file_without_rows_changes_nothing(divided, sizes):
    schema = 'SCHEMA = pa.DataFrameSchema({"day": pa.Column("datetime64[ns]", coerce=True), "k": pa.Column(int)})\n'
    divided.write("schema.py", f"import pandera.pandas as pa\n\n{schema}")
    table = tasks.table().assign(c=[f"g{row // 9}" for row in range(280)])
    code, said = divided.prepare(table)
    assert code == 0, said
    parts, results = left()
    write(divided, table, sizes)
    code, said = divided.prepare()
    assert code == 0, said
    many, again = left()
    for part in PARTS:
        pd.testing.assert_frame_equal(parts[part], many[part])
    assert again == results


SCHEMAS = {
    "pa.Column(float, pa.Check(lambda x: bool(x.mean() < 5), name='mean'))": "column x: mean: this needs all rows, and",
    "pa.Column(float, unique=True)": "column x must be unique: a Parquet data set is read some rows at a time",
    "pa.Column(float, parsers=pa.Parser(lambda x: x - x.mean()))": "column x: its values depend on the rows beside",
}


@pytest.mark.parametrize(("rule", "words"), SCHEMAS.items())
def test_a_schema_that_needs_all_rows_is_refused(task, rule, words):
    schema = f'SCHEMA = pa.DataFrameSchema({{"x": {rule}}})\n'
    task.write("schema.py", f"import pandera.pandas as pa\n\n{schema}")
    write(task, tasks.table())
    code, said = task.prepare()
    assert (code, f"model/schema.py: {words}" in said) == (2, True), said


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: [file.unlink() for file in folder.iterdir()], "rows: expected a Parquet file, or a folder"),
        (lambda folder: (folder / "1.parquet").write_bytes(b"PAR1"), "rows/1.parquet: not a whole Parquet file"),
        (
            lambda folder: tasks.table().assign(x="a").to_parquet(folder / "2.parquet", index=False),
            "rows/2.parquet: its columns are not those of rows/0.parquet: only one of them has x: ",
        ),
        (
            lambda folder: [pd.read_parquet(f).iloc[:0].to_parquet(f) for f in sorted(folder.iterdir())],
            "rows: it has no rows",
        ),
    ],
    ids=["no file", "no Parquet", "other columns", "no rows"],
)
def test_files_that_are_no_data_set_are_named(task, spoil, words):
    write(task, tasks.table())
    spoil(task.folder / "rows")
    code, said = task.prepare()
    assert (code, words in said) == (2, True), said


RANGE = """\
import pandera.pandas as pa

SCHEMA = pa.DataFrameSchema({"k": pa.Column("int64", pa.Check.lt(4), metadata={"tolerated": SHARE})})
"""


@pytest.mark.parametrize(("share", "code"), [(0.21, 0), (0.19, 2)])
def test_what_is_tolerated_is_counted_over_all_files(task, share, code):
    task.write("schema.py", RANGE.replace("SHARE", str(share)))
    write(task, tasks.table())
    found, said = task.prepare()
    assert (found, "column k: less_than(4): 40 rows (20.00%), such as 4" in said) == (code, True), said


def test_a_column_that_is_wrong_names_the_rows(task):
    table = tasks.table()
    write(task, table.assign(y=table["y"].mask(table.index == 70, 7)))
    code, said = task.prepare()
    words = "columns in the days before 2024-02-20 (rows 61 to 160) do not hold what model/__init__.py declares"
    assert (code, words in said, "such as 7" in said) == (2, True, True), said
