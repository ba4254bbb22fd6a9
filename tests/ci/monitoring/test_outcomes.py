"""Tables of outcomes: what can be used of them, and what is said of the rest."""

import json
import os
from datetime import datetime

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.capture import records
from ci.errors import InputError
from ci.monitoring import cohorts, labels, outcomes
from ci.task import Output


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("o.csv", "request_id,late\nr1,1\n", "o.csv: no column known_at: see labels.id"),
        ("o.csv", "", "o.csv: it cannot be read: No columns to parse"),
        (
            "o.csv",
            "request_id,late,known_at\nr1,1,later\nr2,1,soon\n",
            "o.csv: row 1: known_at: 'later' is no time, such as 2024-03-01T12:00:00Z; no other row can be used",
        ),
        ("o.csv", 'request_id,late,known_at\nr1,"1,2013-04-02\n', "o.csv: it cannot be read: Error tokenizing data"),
        ("o.csv", "request_id,late,known_at\nr1,1,\n", "o.csv: row 1: known_at: '' is no time"),
        ("o.txt", "x", "o.txt: outcomes are a .csv, .jsonl or .parquet"),
        ("o.parquet", "x", "o.parquet: it cannot be read: "),
    ],
)
def test_outcomes_that_cannot_be_used_are_told_by_file(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as error:
        outcomes.read(tmp_path / name, ["request_id", "late"], "known_at")
    assert message in str(error.value)
    with pytest.raises(InputError, match="there are no outcomes"):
        outcomes.read(tmp_path / "none", ["late"], "known_at")


def test_outcomes_come_in_several_tables(tmp_path):
    (tmp_path / "a.csv").write_text("request_id,late,known_at\nr1,1,2013-04-02\n")
    (tmp_path / "b.jsonl").write_text('{"request_id": "r2", "late": null, "known_at": "2013-04-02"}\n')
    assert outcomes.read(tmp_path, ["request_id", "late"], "known_at").table["request_id"].tolist() == ["r1", "r2"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("o.csv", "request_id,late,known_at\n0012,1,2013-04-02\n12e4,0,2013-04-02\n,1,2013-04-02\n"),
        (
            "o.jsonl",
            '{"request_id": "0012", "late": 1, "known_at": "2013-04-02"}\n'
            '{"request_id": "12e4", "late": 0, "known_at": "2013-04-02"}\n',
        ),
    ],
)
def test_an_id_that_looks_like_a_number_is_a_text(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    found = outcomes.read(tmp_path, ["request_id", "late"], "known_at", ["request_id"]).table
    times = pd.to_datetime(["2013-04-01T12:00Z"] * 2)
    asked = pd.DataFrame({records.ID: ["0012", "12e4"], records.TIME: times})
    joined = labels.join(asked, found.rename(columns={"request_id": records.ID}), [records.ID], ["late"], "known_at")
    assert joined.table["late"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("name", "text", "used", "unusable"),
    [
        ("o.csv", "a,1,{day}\nb,,{day}\nc,yes,{day}\n", "ab", ["row 3: late: 'yes' is no target of a binary"]),
        ("o.csv", "a,1,{day}\nb,1\nc,0,{day}\n", "ac", ["row 2: known_at: '' is no time, such as"]),
        ("o.csv", "a,1,{day}\nb,1,{day},5\nc,9,soon\nd,0,{day}\n", "ad", ["row 2: ", "row 3: known_at: 'soon' is no"]),
        ("o.csv", "a,1,{day}\n\nb,1,{day},5\n\nc,0,{day}\n\n", "ac", ["row 3: expected 3 fields, saw 4"]),
        ("o.csv", "a,1,{day},\nb,0,{day}\n", "ab", []),
        ("o.csv", "a,1,{day}\nb,\udcff,{day}\n", "a", ["row 2: late: '\ufffd' is no target"]),
        ("o.jsonl", '["a", 1, "{day}"]\nnoise\n["b", null, "{day}"]\n\n5\n', "ab", ["row 2: not JSON", "row 5: this"]),
        ("o.jsonl", '["a", 1, "{day}"]\n["b", "1", "{day}"]\n', "a", ["row 2: late: '1' is no target of a binary"]),
    ],
    ids=["target", "short", "several", "blank lines", "a comma too many", "no text", "no JSON", "a text"],
)  # fmt: skip
def test_a_row_that_cannot_be_used_is_left_out_and_named(tmp_path, name, text, used, unusable):
    columns, path = ["request_id", "late", "known_at"], tmp_path / name
    text = text.replace("{day}", "2013-04-02")
    if name.endswith("csv"):
        text = f"{','.join(columns)}\n{text}"
    for line in text.splitlines() if name.endswith("jsonl") else ():
        if line.startswith("["):
            text = text.replace(line, json.dumps(dict(zip(columns, json.loads(line), strict=True))))
    path.write_bytes(text.encode(errors="surrogateescape"))
    found = outcomes.read(tmp_path, columns[:2], columns[2], columns[:1], [Output("late", "binary", ("late",))])
    assert "".join(found.table["request_id"]) == used
    assert found.table["late"].dtype.kind in "if"
    assert len(found.unusable) == len(unusable)
    for said, words in zip(found.unusable, unusable, strict=True):
        assert said.startswith(f"{path}: {words}")


HUGE = 10**400
LINES = [
    ({"request_id": HUGE, "late": 1, "known_at": "2024-03-01"}, None),
    ({"request_id": "r2", "late": HUGE, "known_at": "2024-03-01"}, "late: '1000"),
    ({"request_id": "r3", "late": 1, "known_at": HUGE}, "known_at: 1000"),
    ({"request_id": "r4", "late": 1, "known_at": [1, 2]}, "known_at: [1, 2] is no time"),
    ({"request_id": "r5", "late": 1, "known_at": "now"}, "known_at: 'now' is no time"),
    ({"request_id": "r6", "late": 1, "known_at": "today"}, "known_at: 'today' is no time"),
    ({"request_id": "r7", "late": 1, "known_at": "2024-03-01T12:06:00Z"}, "known_at: '2024-03-01T12:06:00Z' is still"),
    ({"request_id": "r8", "late": 1, "known_at": "2024-03-01T12:04:00Z"}, None),
    ({"request_id": "r9", "late": 1, "known_at": "9999-12-31T23:59:59-05:00"}, "known_at: '9999-12-31"),
]


def test_numbers_without_bound_words_for_now_and_times_to_come_cost_their_own_row_only(tmp_path):
    (tmp_path / "o.jsonl").write_text("".join(json.dumps(row) + "\n" for row, _ in LINES))
    (tmp_path / "quiet.jsonl").write_text("\n")
    outputs, now = [Output("late", "binary", ("late",))], datetime.fromisoformat("2024-03-01T12:00:00+00:00")
    found = outcomes.read(tmp_path, ["request_id", "late"], "known_at", ["request_id"], outputs, now)
    assert found.table["request_id"].tolist() == [HUGE, "r8"]
    told = [(number, message) for number, (_, message) in enumerate(LINES, 1) if message]
    for (number, message), said in zip(told, found.unusable, strict=True):
        assert said.startswith(f"{tmp_path}/o.jsonl: row {number}: {message}")
    times = pd.Series(pd.to_datetime(["2024-02-20T12:00:00Z"] * 2, utc=True))
    asked = pd.DataFrame({records.ID: [str(HUGE), "r8"], records.TIME: times})
    joined = labels.join(
        asked, found.table.rename(columns={"request_id": records.ID}), [records.ID], ["late"], "known_at"
    )
    assert joined.counts["joined"] == 2


@pytest.mark.parametrize("name", ["o.csv", "o.jsonl", "o.parquet"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="this is no plain file"):
        outcomes.read(tmp_path, ["request_id", "late"], "known_at")


@pytest.mark.parametrize(
    ("classes", "texts", "kept"),
    [
        (("01", "02"), ("01", "02"), ["01", "02"]),
        (("true", "false"), ("true", "false"), ["true", "false"]),
        (("0", "1", "2"), ("2.0", "1"), ["2", "1"]),
        (("cat", "dog"), ("dog", "NaN"), ["dog", None]),
        (("0", "1"), ("True", "false"), [1, 0]),
    ],
)
def test_a_class_in_a_csv_is_read_by_its_name_whatever_it_looks_like(tmp_path, classes, texts, kept):
    rows = [f"{name},{text},2024-03-01" for name, text in zip("ab", texts, strict=True)]
    (tmp_path / "o.csv").write_text("\n".join(["request_id,kind,known_at", *rows]) + "\n")
    output = Output("kind", "multiclass", ("kind",), classes)
    found = outcomes.read(tmp_path, ["request_id", "kind"], "known_at", ["request_id"], [output])
    assert found.unusable == []
    assert [*labelled(tmp_path, ["a", "b"], found.table)] == kept


def labelled(folder, ids, table):
    """What is kept of the joined requests, in their order."""
    times = pd.Series(pd.to_datetime(["2024-02-20T12:00:00Z"] * len(ids), utc=True))
    asked = pd.DataFrame({records.ID: ids, records.TIME: times})
    found = labels.join(asked, table.rename(columns={"request_id": records.ID}), [records.ID], ["kind"], "known_at")
    cohorts.keep(folder / "kept", found.table)
    kept = cohorts.read(folder / "kept")["kind"]
    return kept.astype(object).where(kept.notna(), None).tolist()


def test_names_of_classes_that_are_numbers_in_one_file_and_texts_in_another_are_kept(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"request_id": "a", "kind": 0, "known_at": "2024-03-01"}\n')
    (tmp_path / "b.jsonl").write_text('{"request_id": "b", "kind": "2", "known_at": "2024-03-01"}\n')
    output = Output("kind", "multiclass", ("kind",), ("0", "1", "2"))
    found = outcomes.read(tmp_path, ["request_id", "kind"], "known_at", ["request_id"], [output])
    assert labelled(tmp_path, ["a", "b", "c"], found.table) == ["0", "2", None]


VALUES = ("abc", ("1", "0", "", "no"), ("2013-04-02", "", "x"))
"""Of the columns."""


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*map(st.sampled_from, VALUES), st.booleans()), min_size=1, max_size=6))
def test_each_row_is_either_used_or_named_once_by_its_number(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "o.csv"
    more = [much and number > 0 for number, (*_, much) in enumerate(rows)]  # a value too many; not in the first row
    lines = [",".join(row[:3]) + ",5" * much for row, much in zip(rows, more, strict=True)]
    path.write_text("request_id,late,known_at\n" + "\n".join(lines) + "\n")
    good = [row[1] != "no" and row[2] == "2013-04-02" and not much for row, much in zip(rows, more, strict=True)]
    wanted = ["request_id", "late"]
    if not any(good):
        with pytest.raises(InputError, match=r"row 1: .*; no other row can be used"):
            outcomes.read(path, wanted, "known_at", wanted[:1], [Output("late", "binary", ("late",))])
        return
    found = outcomes.read(path, wanted, "known_at", wanted[:1], [Output("late", "binary", ("late",))])
    assert found.table["request_id"].tolist() == [row[0] for row, right in zip(rows, good, strict=True) if right]
    named = [said.removeprefix(f"{path}: row ").partition(":")[0] for said in found.unusable]
    assert named == [str(number) for number, right in enumerate(good, 1) if not right]
