"""Drift: the index, its verdicts, and its words."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ci.data.psi import psi
from ci.data.reference import counts as counted
from ci.data.reference import describe_column, describe_predictions, shares
from ci.monitoring import drift
from ci.results.data import Distribution
from ci.settings.watching import Monitoring

pytestmark = pytest.mark.filterwarnings("error")

SETTINGS = Monitoring()
RANDOM = np.random.default_rng(0)
REFERENCE = pd.Series(RANDOM.normal(size=20_000))


def stored(description):
    """Return a description as the monitor stage reads it: as JSON of the declared form."""
    text = json.dumps(description, allow_nan=False)
    TypeAdapter(Distribution).validate_json(text, strict=True)
    return json.loads(text)


def examined(window, reference=REFERENCE, dtype="float32"):
    description = stored(describe_column(pd.Series(reference), dtype))
    return drift.examine("x", counted(pd.Series(window), description), description, SETTINGS)


def mostly(share, value, others, size=3000):
    """Return a column in which a value has a share of its own and the others are drawn."""
    return np.where(np.random.default_rng(4).random(size) < share, value, others(size))


def exponential(size):
    return RANDOM.exponential(2, size).round(3)


USERS = [f"u{n}" for n in np.random.default_rng(6).integers(0, 2000, 3000)]
CHANGES = {
    "fewer zeros": ("float32", mostly(0.95, 0.0, exponential), mostly(0.1, 0.0, exponential)),
    "more zeros": ("float32", mostly(0.1, 0.0, exponential), mostly(0.95, 0.0, exponential)),
    "zeros to a value among the rest": ("float32", mostly(0.91, 0.0, exponential), np.full(3000, 0.3)),
    "the rest changes its sign": ("float32", mostly(0.8, 0.0, exponential), -mostly(0.8, 0.0, exponential)),
    "a value inside a bin disappears": ("float32", mostly(0.2, 0.1, RANDOM.normal), RANDOM.normal(size=3000)),
    "a value inside a bin appears": ("float32", RANDOM.normal(size=3000), mostly(0.4, 0.1, RANDOM.normal)),
    "constant": ("float32", np.full(3000, 1.0), np.full(3000, 5.0)),
    "huge constant": ("float32", np.full(3000, 3.4e38), np.full(3000, 3.3e38)),
    "tiny constant": ("float32", np.full(3000, 1e-44), np.full(3000, 3e-44)),
    "whole constant": ("int64", np.full(3000, 2**53), np.full(3000, 2**53 + 1)),
    "flag": ("float32", mostly(0.02, 1.0, np.zeros), mostly(0.9, 1.0, np.zeros)),
    "truth": ("int64", mostly(0.02, 1, np.zeros) > 0, mostly(0.9, 1, np.zeros) > 0),
    "cap": ("float32", np.minimum(RANDOM.exponential(2, 3000), 2), RANDOM.exponential(2, 3000)),
    "many-valued integers": ("int64", RANDOM.integers(0, 5000, 3000), RANDOM.integers(5000, 10_000, 3000)),
    "few integers": ("int64", RANDOM.integers(0, 5, 3000), np.full(3000, 4)),
    "a code among thirty": ("int64", RANDOM.integers(0, 30, 3000), np.where(mostly(0.3, 1, np.zeros), 7, 12)),
    "never present": ("float32", np.full(3000, np.nan), np.full(3000, 1.0)),
    "never missing": ("float32", RANDOM.normal(size=3000), np.full(3000, np.nan)),
    "whole numbers never missing": ("int64", RANDOM.integers(0, 5, 3000), np.full(3000, np.nan)),
    "text never present": ("string", np.full(3000, None), np.full(3000, "a")),
    "text never missing": ("string", np.full(3000, "a"), np.full(3000, None)),
    "infinite": ("float32", RANDOM.normal(size=3000), np.full(3000, np.inf)),
    "no longer infinite": ("float32", np.full(3000, -np.inf), np.full(3000, np.inf)),
    "other users": (
        "string",
        [f"u{n}" for n in RANDOM.integers(0, 2000, 3000)],
        [f"u{n}" for n in RANDOM.integers(5000, 7000, 3000)],
    ),
    "one of many users": ("string", USERS, np.full(3000, "u7")),
    "one of many users among the others": ("string", USERS, np.where(mostly(0.5, 1, np.zeros), "u7", USERS)),
    "ten of many users": ("string", USERS, [f"u{n % 10}" for n in range(3000)]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_tied_values_could_hide_is_drift_and_none_is_none(name):
    dtype, reference, window = CHANGES[name]
    assert examined(window, reference, dtype)["verdict"] == "drifted"
    assert examined(reference, reference, dtype)["psi"] == 0
    assert examined(window, window, dtype)["psi"] == 0


DRAWN = {
    "normal": ("float32", lambda size: RANDOM.normal(size=size)),
    "zeros": ("float32", lambda size: mostly(0.9, 0.0, exponential, size)),
    "capped": ("float32", lambda size: np.minimum(RANDOM.normal(size=size), 0.5)),
    "rounded": ("float32", lambda size: (2 * RANDOM.normal(size=size)).round()),
    "half missing": ("float32", lambda size: np.where(RANDOM.random(size) < 0.5, np.nan, RANDOM.normal(size=size))),
    "few integers": ("int64", lambda size: RANDOM.integers(0, 5, size)),
    "many integers": ("int64", lambda size: RANDOM.integers(0, 5000, size)),
    "counts": ("int64", lambda size: RANDOM.poisson(3, size)),
    "long tail": ("int64", lambda size: RANDOM.geometric(0.02, size)),
    "texts": ("string", lambda size: RANDOM.choice(["a", "b", "c"], size)),
    "users": ("string", lambda size: np.char.add("u", RANDOM.integers(0, 2000, size).astype(str))),
    "identifiers": ("string", lambda size: np.char.add("u", RANDOM.integers(0, 10**9, size).astype(str))),
}


@pytest.mark.parametrize("name", DRAWN)
def test_windows_of_the_smallest_size_from_the_same_distribution_are_stable(name):
    dtype, drawn = DRAWN[name]
    description = describe_column(pd.Series(drawn(5000)), dtype)
    found = [
        drift.examine("x", counted(pd.Series(drawn(SETTINGS.min_rows)), description), description, SETTINGS)
        for _ in range(40)
    ]
    assert [column["psi"] for column in found if column["verdict"] != "stable"] == []


@pytest.mark.parametrize("levels", [1, 2, 5, 40, 100_000])
def test_a_models_predictions_for_its_holdout_do_not_differ_from_themselves_as_a_server_prints_them(levels):
    """A server prints nine digits of a float32, and its last digit may differ between machines."""
    scores = 1 / (1 + np.exp(-RANDOM.normal(size=levels)))
    predictions = RANDOM.choice(scores, 5000).astype("float32")
    description = stored(describe_predictions(predictions.astype("float64")))
    for served in (predictions, np.nextafter(predictions, np.float32(1))) if levels < 100 else (predictions,):
        window = pd.Series([float(f"{value:.9g}") for value in served])
        assert drift.examine("prediction", counted(window, description), description, SETTINGS)["psi"] == 0


@pytest.mark.parametrize("dtype", ["int64", "float32"])
def test_the_declaration_makes_numbers_not_the_type_of_a_column(dtype):
    reference = pd.Series(RANDOM.integers(0, 5, 3000))
    window = pd.Series(RANDOM.integers(0, 5, 3000))
    expected = examined(window, reference, dtype)["psi"]
    for same in (window.astype("float64"), window.astype("object"), window.astype("Int64"), window.astype("category")):
        assert examined(same, reference, dtype)["psi"] == expected
        assert examined(window, reference.astype(same.dtype), dtype)["psi"] == expected
    gap = window.astype("float64").where(window.index != 7)
    assert examined(gap, reference, dtype)["verdict"] == "stable"
    assert examined(-0.0 * window, 0 * reference, dtype)["psi"] == 0


def test_texts_that_a_file_reads_as_numbers_are_the_same_texts():
    reference = pd.Series(["1", "2", "30"] * 500)
    assert examined(reference.astype("int64"), reference, "string")["psi"] == 0
    assert examined(reference.astype("float64"), reference, "string")["psi"] == 0


@pytest.mark.parametrize("rows", [0, 1, 499])
def test_a_window_of_few_rows_gets_no_verdict_whatever_is_in_it(rows):
    for dtype, _, window in CHANGES.values():
        found = examined(pd.Series(window)[:rows], window, dtype)
        assert found["verdict"] == "too few rows"
        assert np.isfinite(found["psi"])


def test_bins_are_named_by_what_they_hold():
    names = [
        (mostly(0.95, 0.0, exponential), "0: 9"),
        (np.full(3000, 5.0), "other values: 5.0% before, 100.0% now"),
        (np.full(3000, np.nan), "missing: 0.0% before, 100.0% now"),
    ]
    for window, words in names:
        assert words in examined(window, np.where(np.arange(3000) % 20, 0.0, -0.5))["change"]
    users, others = CHANGES["other users"][1:]
    assert examined(users + others, users, "string")["change"].startswith(("rare values: ", "values not seen before: "))
    day = examined([20130401] * 300 + [20130402] * 600, [20130401] * 900, "int64")
    assert day["change"].startswith(("20130401: 100.0% before, 33.3% now", "other values"))


def test_what_is_beside_a_value_with_mass_is_told_apart():
    reference = np.repeat([0.0, 0.1, 0.2], [2730, 150, 120])
    assert examined(np.repeat([0.0, 0.2], [2730, 270]), reference)["verdict"] != "stable"
    assert examined(np.repeat([0.0, 0.1], [2730, 270]), reference)["verdict"] != "stable"
    zeros = mostly(0.91, 0.0, exponential)
    assert examined(-zeros, zeros)["verdict"] != "stable"


def test_a_negative_zero_is_a_zero():
    zeros = pd.Series([0.0] * 600)
    assert json.dumps(describe_column(-zeros, "float32")) == json.dumps(describe_column(zeros, "float32"))


def test_a_reference_of_few_rows_takes_no_chance_for_mass():
    assert describe_column(pd.Series(RANDOM.normal(size=9)), "float32")["values"] == []
    assert describe_column(pd.Series(np.arange(9)), "int64")["values"] == []
    assert describe_column(pd.Series([3.0] * 9), "float32")["values"] == [3.0]


def test_a_reference_of_a_release_from_before_is_read():
    edges = {"edges": [1.0, 2.0], "rows": 1000, "shares": [0.3, 0.3, 0.3, 0.1]}
    window = pd.Series([0.5, 1.0, 2.5] * 300 + [np.nan] * 100)
    assert drift.examine("x", counted(window, edges), stored(edges), SETTINGS)["psi"] == 0
    codes = {"categories": ["1", "2"], "rows": 1000, "shares": [0.5, 0.5, 0.0]}
    window = pd.Series([1.0, 2.0] * 500)
    assert drift.examine("x", counted(window, codes), stored(codes), SETTINGS)["psi"] == 0
    found = drift.examine("x", counted(window.where(window < 2), codes), stored(codes), SETTINGS)
    assert found["verdict"] == "drifted"


@given(
    st.lists(
        st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.0, 5.0]), st.floats(width=32, allow_nan=True)),
        min_size=0,
        max_size=60,
    ),
    st.sampled_from(["float32", "int64", "string"]),
    st.integers(1, 5),
)
@settings(max_examples=150, deadline=None)
def test_any_column_can_be_described_and_does_not_differ_from_itself(values, dtype, times):
    column = pd.Series(values * times, dtype="float64")
    description = stored(describe_column(column, dtype))
    assert len(column) == 0 or sum(description["shares"]) == pytest.approx(1)
    assert drift.examine("x", counted(column, description), description, SETTINGS)["psi"] == 0


def test_the_same_distribution_is_stable():
    assert examined(RANDOM.normal(size=5_000))["verdict"] == "stable"


def test_a_shift_is_noticed_and_described():
    found = examined(RANDOM.normal(1.0, size=5_000))
    assert found["verdict"] == "drifted"
    assert "or more: 10.0% before" in found["change"]


def test_values_that_go_missing_are_drift():
    found = examined(np.where(np.arange(5_000) % 2, np.nan, RANDOM.normal(size=5_000)))
    assert found["verdict"] == "drifted"
    assert found["change"] == "missing: 0.0% before, 50.0% now"


def test_a_new_category_counts_as_other():
    reference = pd.Series(["UA", "DL"] * 1000)
    found = examined(["UA"] * 500 + ["ZZ"] * 500, reference, "string")
    assert found["verdict"] == "drifted"
    assert "before, 0.0% now" in found["change"] or "other values: 0.0% before, 50.0% now" in found["change"]


def test_a_column_that_is_always_missing_or_constant_can_be_described():
    for column in (pd.Series([np.nan] * 600), pd.Series([3.0] * 600)):
        description = describe_column(column, "float32")
        assert sum(description["shares"]) == pytest.approx(1)
        assert drift.examine("x", counted(column, description), description, SETTINGS)["verdict"] == "stable"


@pytest.mark.parametrize(
    ("index", "rows", "word"),
    [
        (9.0, 499, "too few rows"),
        (0.0999, 500, "stable"),
        (0.1, 500, "shifted"),
        (0.2499, 500, "shifted"),
        (0.25, 500, "drifted"),
    ],
)
def test_verdicts_by_threshold(index, rows, word):
    assert drift.word(index, rows, SETTINGS) == word


@given(st.lists(st.integers(0, 200), min_size=2, max_size=12), st.integers(0, 2**31))
def test_the_index_is_never_negative_and_zero_for_equal_shares(counts, seed):
    counts = np.array(counts) + 1
    other = np.random.default_rng(seed).permutation(counts)
    same = psi(counts / counts.sum(), counts / counts.sum(), (counts.sum(), counts.sum()))
    assert same == pytest.approx(0)
    assert psi(counts / counts.sum(), other / other.sum(), (counts.sum(), other.sum())) >= 0


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=200))
def test_shares_add_up_to_one(values):
    column = pd.Series(values, dtype="float64")
    description = describe_column(REFERENCE, "float32")
    assert shares(counted(column, description), description).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("prediction", "verdict"), [("stable", "stable"), ("drifted", "drifted"), ("too few rows", "too few rows")]
)
def test_the_prediction_decides_over_the_whole(prediction, verdict):
    columns = [{"name": "temp", "verdict": "drifted"}]
    word, reason = drift.overall(columns, {"verdict": prediction, "psi": 0.5})
    assert word == verdict
    assert "temp" in reason or prediction == "too few rows"


@pytest.mark.parametrize(
    ("description", "names"),
    [
        ({"edges": [1.0, 2.5], "values": [0.0, 7.0]}, ["below 1", "from 1 to 2.5", "2.5 or more", "0", "7", "missing"]),
        ({"edges": [0.25]}, ["below 0.25", "0.25 or more", "missing"]),
        ({"edges": [], "values": [3.0]}, ["other values", "3", "missing"]),
        ({"edges": []}, ["present", "missing"]),
        ({"edges": [1e15, 1e16], "values": []}, ["below 1e+15", "from 1e+15 to 1e+16", "1e+16 or more", "missing"]),
        ({"edges": [1e14]}, ["below 100000000000000", "100000000000000 or more", "missing"]),
        ({"categories": ["a", "b"], "rest": ["rare values", "missing"]}, ["a", "b", "rare values", "missing"]),
        ({"categories": ["a"]}, ["a", "other values"]),
    ],
)
def test_each_bin_has_its_name(description, names):
    assert [drift.bin_in_words(description, place) for place in range(len(names))] == names


def test_the_bin_that_moved_most_is_named_whichever_way_it_moved():
    reference = np.repeat(["a", "b", "c"], [600, 300, 100])
    gone = examined(np.repeat(["a", "b", "c"], [100, 500, 400]), reference, "string")
    assert gone["change"] == "a: 60.0% before, 10.0% now"
    index = psi(np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.5, 0.4]), (1000, 1000))
    assert gone["psi"] == pytest.approx(index, abs=6e-7)
    come = examined(np.repeat(["a", "b", "c"], [400, 200, 400]), reference, "string")
    assert come["change"] == "c: 10.0% before, 40.0% now"


def test_the_reason_counts_and_names_the_features_that_drifted():
    columns = [{"name": name, "verdict": word} for name, word in (("a", "drifted"), ("b", "stable"), ("c", "drifted"))]
    said = "the predictions are shifted (PSI 0.123); 2 of 3 features drifted (a, c)"
    assert drift.overall(columns, {"verdict": "shifted", "psi": 0.1234}) == ("shifted", said)
    said = "the predictions are stable (PSI 0.000); 0 of 1 features drifted"
    assert drift.overall(columns[1:2], {"verdict": "stable", "psi": 0.0}) == ("stable", said)
