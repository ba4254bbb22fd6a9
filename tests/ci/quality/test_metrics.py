"""Metrics reduced to sums by day equal the metrics of the rows that a resample stands for."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from ci.quality import metrics


@st.composite
def holdouts(draw):
    rows, days = draw(st.integers(20, 60)), draw(st.integers(2, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    day = np.concatenate([np.arange(days), random.integers(0, days, rows - days)])
    targets = random.integers(0, 2, rows).astype(float)
    targets[:days], targets[days : 2 * days] = 0.0, 1.0
    day[days : 2 * days] = np.arange(days)
    predictions = np.clip(np.round(random.uniform(size=rows), draw(st.sampled_from([1, 6]))), 0.01, 0.99)
    counts = random.multinomial(days, np.full(days, 1 / days)).astype(float)
    return targets, predictions, day, counts


REFERENCES = {
    "auc": reference.roc_auc_score,
    "log_loss": reference.log_loss,
    "rmse": reference.root_mean_squared_error,
    "mae": reference.mean_absolute_error,
    "bias": lambda targets, predictions: abs(np.mean(predictions - targets)),
}


@pytest.mark.parametrize("metric", REFERENCES)
@given(holdouts())
@settings(max_examples=60, deadline=None)
def test_a_resample_of_days_equals_the_metric_of_its_rows(metric, holdout):
    targets, predictions, day, counts = holdout
    rows = np.repeat(np.arange(len(day)), counts[day].astype(int))
    expected = REFERENCES[metric](targets[rows], predictions[rows])
    assert metrics.by_day(metric, targets, predictions, day)(counts[None])[0] == pytest.approx(expected, abs=1e-9)


def test_calibration_error_of_a_calibrated_and_of_a_shifted_model():
    random = np.random.default_rng(1)
    predictions = random.uniform(0, 0.8, 200_000)
    targets = (random.uniform(size=200_000) < predictions).astype(float)
    day = np.arange(200_000) % 10
    error = [
        metrics.by_day("calibration_error", targets, p, day)(metrics.once(day))[0]
        for p in (predictions, predictions + 0.2)
    ]
    assert error[0] < 0.01
    assert error[1] == pytest.approx(0.2, abs=0.005)


@given(holdouts())
@settings(max_examples=60, deadline=None)
def test_auc_from_the_rows_equals_auc_from_the_days(holdout):
    targets, predictions, day, _ = holdout
    counts = metrics.resamples(day, 7, seed=1)
    by_rows = metrics._auc_by_rows(targets, predictions, day, np.ones(len(day)))(counts)
    by_days = metrics._auc(targets, predictions, day, int(day.max()) + 1)(counts)
    assert by_rows == pytest.approx(by_days, abs=1e-12, nan_ok=True)


def test_auc_of_very_many_days_takes_memory_by_rows_not_by_days_squared():
    """A matrix of 30,000 days squared takes 7 GB."""
    random = np.random.default_rng(0)
    targets, predictions = random.integers(0, 2, 30_000).astype(float), random.uniform(size=30_000)
    days = np.arange(30_000)
    tracemalloc.start()
    try:
        auc = metrics.by_day("auc", targets, predictions, days)(metrics.resamples(days, 20, seed=0))
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    assert auc == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("metric", "targets", "predictions", "problem"),
    [
        ("auc", [1.0, 1.0], [0.2, 0.3], "every outcome is 1"),
        ("auc", [0.0, 0.0], [0.2, 0.3], "every outcome is 0"),
        ("auc", [0.0, 1.0], [0.5, 0.5], None),
        ("log_loss", [1.0, 1.0], [0.2, 0.3], None),
        ("log_loss", [0.0, 1.0], [np.nan, 0.3], "1 of 2 predictions are no finite numbers"),
        ("auc", [0.0, 1.0], [np.nan, 0.3], "1 of 2 predictions are no finite numbers"),
        ("rmse", [0.0, np.inf], [0.5, 0.3], "1 of 2 outcomes are no finite numbers"),
        ("calibration_error", [0.0, 1.0], [np.inf, 0.3], "1 of 2 predictions are no finite numbers"),
        ("mae", [], [], "there are no rows"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_metric_that_cannot_be_computed_says_why_and_is_nan(metric, targets, predictions, problem):
    targets, predictions, day = np.array(targets), np.array(predictions), np.arange(len(targets))
    assert metrics.problem(metric, targets, predictions) == problem
    value = metrics.by_day(metric, targets, predictions, day)(np.ones((1, len(day))))[0]
    assert np.isnan(value) == (problem is not None)


def test_a_wrong_prediction_of_certainty_costs_a_finite_loss():
    """The reference clips at the last digit of a float; we clip at 1e-7, so that one row cannot outweigh all others."""
    loss = metrics.by_day("log_loss", np.array([1.0]), np.array([0.0]), np.array([0]))(np.ones((1, 1)))[0]
    assert loss == pytest.approx(-np.log(1e-7))


def test_a_metric_that_is_not_defined_is_nan_and_left_out_of_intervals():
    targets, day = np.array([1.0, 0.0]), np.array([0, 1])
    auc = metrics.by_day("auc", targets, np.array([0.9, 0.1]), day)(np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert auc[0] == 1
    assert np.isnan(auc[1])
    assert metrics.interval(1.0, auc, 2, "auc") == (1, 1)
    assert np.isnan(metrics.interval(float("nan"), np.array([np.nan, np.nan]), 2, "auc")).all()


@pytest.mark.parametrize("metric", REFERENCES)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_an_interval_holds_the_value_that_was_measured_and_keeps_to_the_metrics_range(metric, seed):
    random = np.random.default_rng(seed)
    predictions = random.uniform(0, 1, 2_000)
    targets = (random.uniform(size=2_000) < predictions).astype(float)
    days = np.arange(2_000) % 14
    function = metrics.by_day(metric, targets, predictions, days)
    value = function(metrics.once(days))[0]
    low, high = metrics.interval(value, function(metrics.resamples(days, 500, seed)), 14, metric)
    assert 0 <= low <= value <= high
    assert high <= 1 or metric not in ("auc", "calibration_error")


def test_intervals_of_few_days_hold_the_mean_as_often_as_they_say():
    random = np.random.default_rng(11)
    held = []
    for seed in range(400):
        errors = random.standard_normal(8)
        mean = metrics.by_day("mae", np.zeros(8), np.abs(errors), np.arange(8))
        low, high = metrics.interval(
            mean(metrics.once(np.arange(8)))[0], mean(metrics.resamples(np.arange(8), 400, seed)), 8, "mae"
        )
        held.append(low <= np.sqrt(2 / np.pi) <= high)
    assert 0.92 <= np.mean(held) <= 0.98


def test_resamples_draw_as_many_days_and_depend_on_the_seed_alone():
    day = np.arange(14)
    counts = metrics.resamples(day, 50, seed=3)
    assert (counts.sum(axis=1) == 14).all()
    assert (counts == metrics.resamples(day, 50, seed=3)).all()
    assert (counts != metrics.resamples(day, 50, seed=4)).any()


@pytest.mark.parametrize(("metric", "better", "worse"), [("auc", 0.8, 0.7), ("log_loss", 0.4, 0.5), ("rmse", 1.0, 2.0)])
def test_a_gain_is_positive_for_the_better_one(metric, better, worse):
    assert metrics.gain(metric, np.array([better]), np.array([worse]))[0] > 0


@pytest.mark.parametrize(
    ("days", "deviations", "times"),
    [
        # The root of n / (n - 1), times Student's t over the normal, both as tables have them.
        (8, 1.959964, (8 / 7) ** 0.5 * 2.364624 / 1.959964),
        (2, 1.959964, 2**0.5 * 12.706205 / 1.959964),
        (31, 1.644854, (31 / 30) ** 0.5 * 1.697261 / 1.644854),
        (1, 1.959964, 1.0),
        (8, 0.0, 1.0),
        (8, -1.0, 1.0),
    ],
)
def test_resamples_of_few_days_are_widened_by_what_the_tables_say(days, deviations, times):
    assert metrics.widening(days, deviations) == pytest.approx(times, rel=1e-5)


def test_a_spread_lies_around_the_value_and_not_around_resamples_that_are_biased():
    resampled = np.random.default_rng(0).normal(0.3, 0.01, 1000)
    found = metrics.spread(0.2, np.append(resampled, np.nan), 8, 0.975)
    assert len(found) == 1000
    assert found.mean() == pytest.approx(0.2)
    assert found.std() == pytest.approx(resampled.std() * metrics.widening(8, 1.959964), rel=1e-4)


@pytest.mark.parametrize(
    ("metric", "value", "bounds"),
    [
        ("auc", 0.99, (False, True)),
        ("calibration_error", 0.01, (True, False)),
        ("log_loss", 0.01, (True, False)),
        ("rmse", 0.99, (False, False)),
        ("mae", 0.01, (True, False)),
        (None, 0.01, (False, False)),
    ],
)
def test_an_interval_keeps_to_the_range_of_its_metric_and_to_no_other(metric, value, bounds):
    resampled = value + np.random.default_rng(1).normal(0, 0.1, 2000)
    low, high = metrics.interval(value, resampled, 14, metric)
    free = metrics.interval(value, resampled, 14)
    assert (low, high) == (0.0 if bounds[0] else free[0], 1.0 if bounds[1] else free[1])
    assert free[0] < value < free[1]
    assert free[1] - free[0] == pytest.approx(2 * 1.96 * 0.1 * metrics.widening(14, 1.959964), rel=0.05)


def test_each_resample_weighs_days_as_often_as_they_were_drawn():
    """Eight days of as many rows as they differ in: the mean of the counts is one, and their spread a multinomial's."""
    counts = metrics.resamples(np.arange(8), 20_000, seed=0)
    assert counts.shape == (20_000, 8)
    assert counts.mean(axis=0) == pytest.approx(np.ones(8), abs=0.03)
    assert counts.var(axis=0) == pytest.approx(np.full(8, 7 / 8), abs=0.03)
    assert metrics.once(np.array([0, 0, 3])).tolist() == [[1.0, 1.0, 1.0, 1.0]]


def test_the_calibration_error_is_of_ten_bins_of_equal_mass():
    """In each tenth of the predictions the outcomes are wrong by another amount, and all count alike."""
    predictions = np.repeat(np.arange(10) / 10 + 0.05, 20)
    off = np.repeat(np.array([0.1, -0.1] * 5), 20)
    day = np.arange(200) % 4
    function = metrics.by_day("calibration_error", predictions + off, predictions, day)
    assert function(metrics.once(day))[0] == pytest.approx(0.1)
    assert function(np.array([[4.0, 0.0, 0.0, 0.0]]))[0] == pytest.approx(0.1)
