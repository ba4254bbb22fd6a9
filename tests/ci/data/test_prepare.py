"""What prepare leaves beside the data: a reference of the training rows alone, and a fingerprint of what is in them."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ci.data.prepare import fingerprint
from ci.errors import InputError


def reference():
    return json.loads(Path("build/data/reference.json").read_text())


def test_drift_is_measured_against_the_rows_that_were_trained_on_and_no_others(task):
    """Validation days lie among them; holdout and traffic come later: each has a number and a text of its own here."""
    assert task.prepare()[0] == 0
    parts = ("validation", "holdout", "traffic")
    days = {part: set(pd.read_parquet(f"build/data/{part}.parquet")["day"]) for part in parts}
    trained = len(pd.read_parquet("build/data/train.parquet"))

    def marked(rows):
        for part, number in zip(parts, (500.0, 600.0, 700.0), strict=True):
            here = rows["day"].isin(days[part])
            rows = rows.assign(x=rows["x"].mask(here, number), c=rows["c"].mask(here, part))
        return rows

    code, said = task.prepare(change=marked)
    assert code == 0, said
    found = reference()
    assert {*found} == {"x", "k", "c"}
    assert {column["rows"] for column in found.values()} == {trained}
    assert max([*found["x"]["edges"], *found["x"]["values"]]) < 2
    assert found["c"]["categories"] == ["a", "b", "c"]
    assert found["c"]["shares"][:3] == pytest.approx([0.5, 0.25, 0.25])


TABLE = pd.DataFrame({"a": pd.array([1, 2, 3], dtype="int64"), "b": ["x", "y", None]})


def digest(folder, table, index=None):
    """Return the fingerprint of a table that is a file's only content."""
    table.to_parquet(folder / "other.parquet", index=index)
    with pq.ParquetFile(folder / "other.parquet") as file:
        return fingerprint({"train": file})


@pytest.mark.parametrize(
    "other",
    [
        TABLE.rename(columns={"a": "c"}),
        TABLE.astype({"a": "int32"}),
        TABLE.assign(a=[1, 2, 4]),
        TABLE.assign(b=["x", None, "y"]),
        TABLE[["b", "a"]],
        TABLE[::-1],
        TABLE[:2],
        TABLE[["a"]],
    ],
    ids=["name", "type", "number", "place", "order of columns", "order of rows", "rows", "columns"],
)
def test_the_fingerprint_differs_where_names_types_or_values_do(other, tmp_path):
    assert digest(tmp_path, other, index=False) != digest(tmp_path, TABLE)


def test_the_fingerprint_is_of_the_content_and_not_of_how_it_is_stored(tmp_path):
    for compression, size in (("zstd", 2), ("none", 1)):
        pq.write_table(
            pa.Table.from_pandas(TABLE), tmp_path / "table.parquet", compression=compression, row_group_size=size
        )
        with pq.ParquetFile(tmp_path / "table.parquet") as file:
            assert fingerprint({"train": file}) == digest(tmp_path, TABLE)
    with pytest.raises(InputError, match="cannot be told apart in column b"):
        digest(tmp_path, TABLE.assign(b=[[1], [2], [3]]))
