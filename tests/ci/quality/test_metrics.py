"""Metrics reduced to sums by day equal the metrics of the rows that a resample stands for."""

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


def test_a_metric_that_is_not_defined_is_nan_and_left_out_of_intervals():
    targets, day = np.array([1.0, 0.0]), np.array([0, 1])
    auc = metrics.by_day("auc", targets, np.array([0.9, 0.1]), day)(np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert auc[0] == 1
    assert np.isnan(auc[1])
    assert metrics.interval(auc) == (1, 1)


def test_resamples_draw_as_many_days_and_depend_on_the_seed_alone():
    day = np.arange(14)
    counts = metrics.resamples(day, 50, seed=3)
    assert (counts.sum(axis=1) == 14).all()
    assert (counts == metrics.resamples(day, 50, seed=3)).all()
    assert (counts != metrics.resamples(day, 50, seed=4)).any()


@pytest.mark.parametrize(("metric", "better", "worse"), [("auc", 0.8, 0.7), ("log_loss", 0.4, 0.5), ("rmse", 1.0, 2.0)])
def test_a_gain_is_positive_for_the_better_one(metric, better, worse):
    assert metrics.gain(metric, np.array([better]), np.array([worse]))[0] > 0
