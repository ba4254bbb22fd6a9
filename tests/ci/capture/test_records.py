"""Captured requests as rows."""

import json

import numpy as np
import pytest

from ci.capture import records
from ci.task import Field, Output

FEATURES = {"x": Field("float32"), "carrier": Field("string")}
LATE = Output("late", "binary", ("late",))


def entry(number, asked, answered, **more):
    told = {"number": number, "id": f"r{number}", "time": f"2013-04-01T00:00:{number:02}+00:00", "status": 200}
    told |= {"path": "/v1/models/m:predict", "version": "7", "release": "sha256:ab"}
    return {**told, "request": json.dumps(asked), "response": json.dumps(answered)} | more


def read(*entries, features=FEATURES, outputs=(LATE,)):
    return records.read({"pod": entries}, features, outputs)


def test_both_formats_give_rows_in_the_order_of_their_times():
    columns = entry(2, {"inputs": {"x": [2.0, None], "carrier": ["UA", "AA"]}}, {"outputs": [0.2, 0.3]})
    rows = entry(1, {"instances": [{"x": 1.0, "carrier": "DL"}]}, {"predictions": [0.1]})
    found = read(columns, rows)
    assert list(found.table[records.ID]) == ["r1", "r2/0", "r2/1"]
    assert list(found.table["carrier"]) == ["DL", "UA", "AA"]
    assert found.table["x"].isna().tolist() == [False, False, True]
    assert found.predictions["late"].tolist() == [0.1, 0.2, 0.3]
    assert found.counts == {"read": 2}
    assert set(found.table[records.VERSION]) == {"7"}
    assert str(found.table[records.TIME].iloc[0]) == "2013-04-01 00:00:01+00:00"


def test_what_tells_nothing_is_counted_by_reason():
    good = {"instances": [{"x": 1.0, "carrier": "DL"}]}, {"predictions": [0.1]}
    found = read(
        entry(1, *good),
        entry(2, *good, id="r1"),
        entry(3, *good, status=400),
        entry(4, *good, request="{"),
        entry(5, {"instances": [1.0]}, {"predictions": [0.1]}),
        entry(6, good[0], {"predictions": []}),
        entry(7, *good, time="soon"),
        entry(8, *good, time="2013-04-01T00:00:00"),
    )
    assert found.counts == {"read": 1, "repeated": 1, "refused": 1, "unreadable": 5}
    assert len(found.table) == 1


@pytest.mark.parametrize("response", [{"predictions": [[0.1, 0.9]]}, {"outputs": {"kind": [[0.1, 0.9]]}}])
def test_several_values_and_a_field_without_a_name(response):
    kind = Output("kind", "multiclass", ("kind",), ("a", "b"))
    found = read(entry(1, {"instances": [3.0]}, response), features={"x": Field("float32")}, outputs=(kind,))
    assert found.predictions["kind"].tolist() == [[0.1, 0.9]]
    assert found.table["x"].tolist() == [3.0]


def test_no_requests_are_no_rows():
    found = read()
    assert len(found.table) == 0
    assert found.predictions["late"].shape == (0,)
    assert np.issubdtype(found.predictions["late"].dtype, np.floating)
