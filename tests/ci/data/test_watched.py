"""What is watched of fields that are lists, files or prose, also where a request leaves one out."""

import numpy as np
import pandas as pd
import pytest

from ci.data import watched
from ci.task import Field, Output

FIELDS = {
    "v": Field("float32", (2,)),
    "s": Field("string", (None,)),
    "f": Field("bytes"),
    "t": Field("string"),
}


def test_a_request_without_a_list_a_file_or_a_text_counts_as_missing(tmp_path):
    (tmp_path / "a").write_bytes(b"four")
    table = pd.DataFrame(
        {
            "v": pd.Series([[1.0, 3.0], None, float("nan")], dtype=object),
            "s": pd.Series([["a"], None, []], dtype=object),
            "f": [str(tmp_path / "a"), None, str(tmp_path / "none")],
            "t": ["some words of prose", None, ""],
        }
    )
    found = {name: column.tolist() for name, (column, _) in watched.fields(table, FIELDS).items()}
    assert found.pop("t")[0] == "some words of prose"
    expected = {
        "v (mean)": [2.0, np.nan, np.nan],
        "v (deviation)": [1.0, np.nan, np.nan],
        "s (length)": [1.0, np.nan, 0.0],
        "f (bytes)": [4.0, np.nan, np.nan],
    }
    assert {name: pytest.approx(values, nan_ok=True) for name, values in expected.items()} == found | {}


def test_prose_is_watched_by_its_words_where_the_reference_is_prose():
    table = pd.DataFrame({"t": ["one", "two"]})
    assert set(watched.fields(table, {"t": FIELDS["t"]})) == {"t"}
    found = watched.fields(table, {"t": FIELDS["t"]}, among={"t", "t (words)"})
    assert found["t (words)"][0].tolist() == [1, 1]


def test_of_classes_the_likeliest_ones_name_is_watched_and_of_no_answer_nothing():
    outputs = (Output("y", "multiclass", ("y",), ("a", "b")),)
    found = watched.predictions({"y": np.array([[0.2, 0.8], [0.9, 0.1], [np.nan, np.nan]])}, outputs)
    assert found["prediction"].tolist()[:2] == ["b", "a"]
    assert found["prediction"].isna().tolist() == [False, False, True]
