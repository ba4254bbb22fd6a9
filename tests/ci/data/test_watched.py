"""What is watched of fields that are lists, files or prose, also where a request leaves one out."""

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from ci.data import watched
from ci.data.psi import psi
from ci.data.reference import counts, describe, shares
from ci.errors import InputError
from ci.results.data import REFERENCE
from ci.task import Field, Output, Summary

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
    found = watched.fields(table, {"t": FIELDS["t"]}, among={"t": {}, "t (words)": {}})
    assert found["t (words)"][0].tolist() == [1, 1]


def test_words_that_training_has_not_are_watched_and_usual_ones_are_no_drift():
    random = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(3000)])

    def texts(rows, known=3000):
        places = (random.pareto(1.0, (rows, 20)) * 20).astype(int) % known
        return pd.DataFrame({"t": [" ".join(row) for row in words[places]]})

    wanted = {"t": FIELDS["t"]}
    described = describe(texts(2000, 2000), wanted)
    assert TypeAdapter(REFERENCE.kind).validate_python(described)

    def index(table):
        column, _ = watched.fields(table, wanted, among=described)["t (unknown words)"]
        found = described["t (unknown words)"]
        return psi(np.array(found["shares"]), shares(counts(column, found), found), (found["rows"], len(column)))

    assert index(texts(2000, 2000)) < 0.1
    other = texts(2000)
    other["t"] += " entirely other words about something new"
    assert index(other) > 0.25


def test_what_a_task_sums_a_field_up_by_is_watched(tmp_path):
    (tmp_path / "a").write_bytes(b"four")
    own = {
        "first": Summary("f", lambda content: content[0]),
        "norm": Summary("v", lambda values: float(np.linalg.norm(values))),
        "capitals": Summary("t", lambda text: sum(letter.isupper() for letter in text)),
    }
    table = pd.DataFrame(
        {"f": [str(tmp_path / "a"), None], "v": pd.Series([[3.0, 4.0], None], dtype=object), "t": ["A B", None]}
    )
    found = watched.fields(table, FIELDS, summaries=own)
    for name, value in {"first": float(ord("f")), "norm": 5.0, "capitals": 2.0}.items():
        assert found[name][0].tolist() == pytest.approx([value, np.nan], nan_ok=True)
    assert "norm" not in watched.fields(table, FIELDS, among={"first": {}}, summaries=own)
    broken = {"first": Summary("f", lambda _: 1 / 0)}
    with pytest.raises(InputError, match=r"SUMMARIES\['first'\] fails: ZeroDivisionError"):
        watched.fields(table, FIELDS, summaries=broken)


def test_of_classes_the_likeliest_ones_name_is_watched_and_of_no_answer_nothing():
    outputs = (Output("y", "multiclass", ("y",), ("a", "b")),)
    found = watched.predictions({"y": np.array([[0.2, 0.8], [0.9, 0.1], [np.nan, np.nan]])}, outputs)
    assert found["prediction"].tolist()[:2] == ["b", "a"]
    assert found["prediction"].isna().tolist() == [False, False, True]
