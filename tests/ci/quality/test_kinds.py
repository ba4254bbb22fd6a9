"""Metrics of several classes, labels and numbers, with weights, and of the task's own: held against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from ci.quality import metrics
from ci.task import Metric

KINDS = ("binary", "multiclass", "multilabel", "vector")


def holdout(kind: str, seed: int, rows: int = 300, classes: int = 4):
    """Return outcomes, predictions, days and weights of a model that knows something."""
    random = np.random.default_rng(seed)
    days, weights = random.integers(0, 7, rows), random.integers(1, 4, rows).astype(float)
    days[:7] = np.arange(7)
    if kind == "binary":
        targets = random.integers(0, 2, rows).astype(float)
        return targets, np.clip(0.3 * targets + 0.7 * random.random(rows), 0.01, 0.99), days, weights
    if kind == "multiclass":
        targets = random.integers(0, classes, rows).astype(float)
        scores = random.random((rows, classes)) + np.eye(classes)[targets.astype(int)]
        return targets, scores / scores.sum(axis=1, keepdims=True), days, weights
    targets = random.integers(0, 2, (rows, 3)).astype(float) if kind == "multilabel" else random.normal(size=(rows, 3))
    noise = random.random((rows, 3)) if kind == "multilabel" else random.normal(size=(rows, 3))
    return targets, np.clip(0.4 * targets + 0.5 * noise, -5, 0.99), days, weights


def labels(scores):
    return scores.argmax(axis=1) if scores.ndim == 2 else (scores >= 0.5).astype(float)


def calibration(truth, scores, weights):
    edges = np.quantile(scores, np.arange(1, 10) / 10)
    cells = np.searchsorted(edges, scores, side="right")
    return sum(abs((weights * (truth - scores))[cells == k].sum()) for k in range(10)) / weights.sum()


EXPECTED = {
    ("binary", "auc"): lambda t, p, w: reference.roc_auc_score(t, p, sample_weight=w),
    ("binary", "accuracy"): lambda t, p, w: reference.accuracy_score(t, labels(p), sample_weight=w),
    ("binary", "f1"): lambda t, p, w: reference.f1_score(t, labels(p), sample_weight=w),
    ("binary", "balanced_accuracy"): lambda t, p, w: reference.balanced_accuracy_score(t, labels(p), sample_weight=w),
    ("binary", "log_loss"): lambda t, p, w: reference.log_loss(t, p, sample_weight=w),
    ("binary", "calibration_error"): calibration,
    ("multiclass", "accuracy"): lambda t, p, w: reference.accuracy_score(t, labels(p), sample_weight=w),
    ("multiclass", "balanced_accuracy"): lambda t, p, w: reference.balanced_accuracy_score(
        t, labels(p), sample_weight=w
    ),
    ("multiclass", "macro_f1"): lambda t, p, w: reference.f1_score(t, labels(p), average="macro", sample_weight=w),
    ("multiclass", "log_loss"): lambda t, p, w: reference.log_loss(t, p, sample_weight=w),
    ("multiclass", "auc"): lambda t, p, w: np.mean(
        [reference.roc_auc_score(t == k, p[:, k], sample_weight=w) for k in range(p.shape[1])]
    ),
    ("multiclass", "calibration_error"): lambda t, p, w: calibration(labels(p) == t, p.max(axis=1), w),
    ("multilabel", "auc"): lambda t, p, w: reference.roc_auc_score(t, p, sample_weight=w),
    ("multilabel", "macro_f1"): lambda t, p, w: reference.f1_score(t, p >= 0.5, average="macro", sample_weight=w),
    ("multilabel", "exact_match"): lambda t, p, w: reference.accuracy_score(t, p >= 0.5, sample_weight=w),
    ("vector", "rmse"): lambda t, p, w: np.sqrt(reference.mean_squared_error(t, p, sample_weight=w)),
    ("vector", "mae"): lambda t, p, w: reference.mean_absolute_error(t, p, sample_weight=w),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("kind", "metric"), EXPECTED)
def test_each_metric_is_scikit_learns(kind, metric, weighted):
    targets, predictions, days, weights = holdout(kind, 1)
    used = weights if weighted else None
    found = metrics.by_day(metric, targets, predictions, days, used)(metrics.once(days))
    assert found == pytest.approx(EXPECTED[kind, metric](targets, predictions, weights if weighted else np.ones(300)))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([*EXPECTED]), st.integers(0, 10_000), st.booleans())
def test_a_resample_is_the_metric_of_its_days(which, seed, weighted):
    """Days that are drawn twice count twice: the same as the metric of rows that are there twice."""
    kind, metric = which
    targets, predictions, days, weights = holdout(kind, seed, rows=120)
    if metric == "calibration_error":
        return  # its bins are those of all rows
    counts = np.random.default_rng(seed).integers(0, 3, 7).astype(float)
    rows = np.repeat(np.arange(len(days)), counts[days].astype(int))
    if not len(rows) or len(np.unique(targets[rows].reshape(len(rows), -1)[:, 0])) < 2:
        return
    known = weights if weighted else None
    found = metrics.by_day(metric, targets, predictions, days, known)(counts[None])[0]
    drawn = metrics.by_day(
        metric, targets[rows], predictions[rows], np.zeros(len(rows), int), None if known is None else known[rows]
    )
    again = drawn(np.ones((1, 1)))[0]
    assert found == pytest.approx(again, nan_ok=True) or metric in ("auc", "macro_f1", "balanced_accuracy")


def test_a_metric_of_the_tasks_own_has_the_interval_that_it_would_have_as_a_built_in_one():
    targets, predictions, days, _ = holdout("vector", 3, rows=3000)
    targets, predictions = targets[:, 0], predictions[:, 0]
    own = {"error": Metric(reference.mean_absolute_error, False, "score", "y")}
    counts = metrics.resamples(days, 2000, 0)
    built_in = metrics.by_day("mae", targets, predictions, days)(counts)
    ours = metrics.by_day("error", targets, predictions, days, None, own)(counts)
    assert metrics.by_day("error", targets, predictions, days, None, own)(metrics.once(days)) == pytest.approx(
        reference.mean_absolute_error(targets, predictions)
    )
    assert ours.std() == pytest.approx(built_in.std(), rel=0.15)
    assert not metrics.more_is_better("error", own)


@pytest.mark.parametrize(
    ("metric", "kind", "words"),
    [("macro_f1", "multilabel", "every outcome is 0"), ("f1", "binary", "no outcome and no")],
)
def test_rows_in_which_nothing_is_yes_have_no_f1(metric, kind, words):
    targets, predictions, days, weights = holdout(kind, 0)
    nothing_is, no_answer = np.zeros_like(targets), np.minimum(predictions, 0.4)
    assert metrics.problem(metric, nothing_is, no_answer, weights).startswith(words)
    assert np.isnan(metrics.by_day(metric, nothing_is, no_answer, days, weights)(metrics.once(days))).all()


def divides(y_true, y_pred, *, sample_weight):
    return 1 / 0


def nothing(y_true, y_pred, *, sample_weight):
    return float("nan")


def without_weights(y_true, y_pred):
    return 1.0


def text(y_true, y_pred, *, sample_weight):
    return "much"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (divides, "it raised ZeroDivisionError"),
        (nothing, "it is nan"),
        (without_weights, "it raised TypeError"),
        (text, "it raised ValueError"),
    ],
)
def test_a_metric_of_the_tasks_own_that_fails_says_why(function, words):
    targets, predictions, days, _ = holdout("binary", 0)
    own = {"mine": Metric(function, True, "score", "y")}
    assert metrics.problem("mine", targets, predictions, None, own).startswith(words)
    assert np.isnan(metrics.by_day("mine", targets, predictions, days, None, own)(metrics.once(days))).all()


def test_a_label_is_the_likeliest_class_or_yes_from_one_half_on():
    seen = []

    def note(y_true, y_pred, *, sample_weight):
        seen.append(sorted(set(y_pred.tolist())))
        return 1.0

    for kind in ("binary", "multiclass"):
        targets, predictions, days, _ = holdout(kind, 0)
        metrics.by_day("mine", targets, predictions, days, None, {"mine": Metric(note, True, "label", "y")})
    assert [0.0, 1.0] in seen
    assert [0.0, 1.0, 2.0, 3.0] in seen
