"""Drift: the index, its verdicts, and its words."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.monitoring import drift
from ci.monitoring.reference import describe_column, shares
from ci.psi import psi
from ci.settings import Monitoring

SETTINGS = Monitoring()
RANDOM = np.random.default_rng(0)
REFERENCE = pd.Series(RANDOM.normal(size=20_000))


def examined(window, reference=REFERENCE, dtype="float32"):
    return drift.examine("x", pd.Series(window), describe_column(reference, dtype), SETTINGS)


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
        assert drift.examine("x", column, description, SETTINGS)["verdict"] == "stable"


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
    assert shares(column, describe_column(REFERENCE, "float32")).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("prediction", "verdict"), [("stable", "stable"), ("drifted", "drifted"), ("too few rows", "too few rows")]
)
def test_the_prediction_decides_over_the_whole(prediction, verdict):
    columns = [{"name": "temp", "verdict": "drifted"}]
    word, reason = drift.overall(columns, {"verdict": prediction, "psi": 0.5})
    assert word == verdict
    assert "temp" in reason or prediction == "too few rows"
