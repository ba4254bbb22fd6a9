"""Metrics as functions of day counts: how often each day occurs in a resample.

Rows of one day are correlated, so uncertainty comes from resampling days, never rows. Each metric is reduced once to
sums by day; a resample is then a vector of day counts and costs a few multiplications instead of a pass over the rows.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ci.errors import InputError
from ci.quality import jackknife
from ci.settings.building import Gates
from ci.task import Metric, Task

Array = npt.NDArray[np.float64]
Days = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
ByDay = Callable[[Array], Array]
"""From day counts, shape (resamples, days), to the metric's value in each resample, shape (resamples,)."""

METRICS: dict[str, tuple[str, ...]] = {
    "binary": ("auc", "log_loss", "calibration_error", "accuracy", "balanced_accuracy", "f1"),
    "multiclass": ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "auc", "calibration_error"),
    "multilabel": ("auc", "macro_f1", "log_loss", "calibration_error", "exact_match"),
    "regression": ("rmse", "mae", "bias"),
}
"""By the kind of an output. AUC of several classes or labels is the mean of each against the rest."""
MORE_IS_BETTER = ("auc", "accuracy", "balanced_accuracy", "f1", "macro_f1", "exact_match")
_SHARES = (*MORE_IS_BETTER, "calibration_error")
"""Metrics that lie between 0 and 1."""
_KNOWN = {name for names in METRICS.values() for name in names}
CALIBRATION_BINS = 10
"""Bins of equal mass in which predictions are compared with outcomes."""
LEVEL = 0.95
"""Of every interval."""
MATRIX_DAYS = 1000
"""Days beyond which AUC is computed from rows: a matrix of so many days squared takes 8 MB."""
_CELLS = 4_000_000
"""Numbers that AUC from rows holds at a time for each step of its computation."""


def named(wanted: Task) -> dict[str, tuple[str, str]]:
    """Return every metric of a task by the name that people use, with its output and its name there.

    Of a task with several outputs, the built-in ones are called `OUTPUT.METRIC`.
    """
    alone = len(wanted.outputs) == 1
    found = {
        name if alone else f"{output.name}.{name}": (output.name, name)
        for output in wanted.outputs
        for name in METRICS[output.kind]
    }
    return found | {name: (metric.output, name) for name, metric in wanted.metrics.items()}


def require(gates: Gates, wanted: Task) -> None:
    """Check that the settings name metrics of the task.

    Raises:
        InputError: one is none, or the task's own has the name of a built-in one.
    """
    if taken := next((name for name in wanted.metrics if name in _KNOWN), None):
        raise InputError(f"model/__init__.py: METRICS[{taken!r}]: a built-in metric has this name: choose another")
    known = named(wanted)
    for key, name in [("primary", gates.primary), *(("limits", name) for name in gates.limits)]:
        if name not in known:
            kinds = " and ".join(dict.fromkeys(output.kind for output in wanted.outputs))
            raise InputError(f"gates.{key}: a {kinds} task has no metric {name}, only {', '.join(known)}")


def by_day(
    metric: str,
    targets: Array,
    predictions: Array,
    days: Days,
    weights: Array | None = None,
    own: Mapping[str, Metric] | None = None,
) -> ByDay:
    """Reduce a metric to its sums by day.

    Args:
        metric: one of `METRICS`, or of `own`.
        targets: what happened, shape (rows,): 0 or 1, the class's number, or a number; several labels or numbers have
            shape (rows, values).
        predictions: what was predicted, shape (rows,), or (rows, classes), or (rows, values).
        days: each row's day as a number from 0, shape (rows,); or what else its rows are resampled with.
        weights: how much each row counts, shape (rows,); None: all alike.
        own: the task's metrics.

    Returns:
        the metric as a function of day counts; NaN where it cannot be computed, as AUC is without both classes.
    """
    if not (len(targets) and np.isfinite(targets).all() and np.isfinite(predictions).all()):
        return lambda counts: np.full(len(counts), np.nan)
    if own and metric in own:
        return jackknife.by_day(own[metric], targets, predictions, days, weights)
    count = int(days.max()) + 1
    each = np.ones(len(targets)) if weights is None else weights

    def sums(values: Array) -> Array:
        return np.bincount(days, weights=values * each, minlength=count).astype(np.float64)

    if predictions.ndim == 2 and metric in ("auc", "calibration_error"):
        return _mean_of(
            [by_day(metric, *part, days, weights) for part in _against_the_rest(metric, targets, predictions)]
        )
    if metric == "auc":
        if weights is None and count <= MATRIX_DAYS:
            return _auc(targets, predictions, days, count)
        return _auc_by_rows(targets, predictions, days, each)
    if metric == "calibration_error":
        return _calibration_error(targets, predictions, days, count, each)
    if metric in ("balanced_accuracy", "macro_f1", "f1"):
        return _by_class(metric, *_one_hot(targets, predictions), sums)
    with np.errstate(over="ignore"):  # then it is infinite
        losses = _losses(metric, targets, predictions)
    total, rows = sums(losses), sums(np.ones_like(losses))

    def mean(counts: Array) -> Array:
        value: Array = _divide(counts @ total, counts @ rows)
        return np.sqrt(value) if metric == "rmse" else np.abs(value) if metric == "bias" else value

    return mean


def labels(predictions: Array) -> Array:
    """Return what is answered: yes or no as 1 or 0, or the number of the likeliest class (shape (rows, classes))."""
    if predictions.ndim == 2:
        likeliest: Array = predictions.argmax(axis=1).astype(np.float64)
        return likeliest
    return (predictions >= 0.5).astype(np.float64)


def _losses(metric: str, targets: Array, predictions: Array) -> Array:
    """Return what each row contributes to a mean, shape (rows,)."""
    if metric == "log_loss":
        clipped = np.clip(predictions, 1e-7, 1 - 1e-7)
        if predictions.ndim > targets.ndim:
            found: Array = -np.log(clipped[np.arange(len(targets)), targets.astype(int)])
            return found
        losses: Array = -(targets * np.log(clipped) + (1 - targets) * np.log1p(-clipped))
        return losses if losses.ndim == 1 else losses.mean(axis=1)
    if metric == "accuracy":
        same: Array = (labels(predictions) == targets).astype(np.float64)
        return same
    if metric == "exact_match":
        right: Array = ((predictions >= 0.5) == (targets > 0.5)).all(axis=1).astype(float)
        return right
    error = predictions - targets
    each: Array = {"rmse": error**2, "mae": np.abs(error), "bias": error}[metric]
    return each if each.ndim == 1 else each.mean(axis=1)


def _against_the_rest(metric: str, targets: Array, predictions: Array) -> list[tuple[Array, Array]]:
    """Return outcomes and predictions of yes or no, each of shape (rows,), whose mean metric is that of all classes.

    A class that no row or every row has says nothing of AUC. Calibration of classes is that of the likeliest one.
    """
    if targets.ndim == 1 and metric == "calibration_error":
        return [((predictions.argmax(axis=1) == targets).astype(float), predictions.max(axis=1))]
    truth = targets if targets.ndim == 2 else targets[:, None] == np.arange(predictions.shape[1])
    kept = [k for k in range(truth.shape[1]) if metric != "auc" or 0 < truth[:, k].sum() < len(truth)]
    return [(truth[:, k].astype(float), predictions[:, k]) for k in kept]


def _mean_of(functions: Sequence[ByDay]) -> ByDay:
    """Return the mean of several functions, where one cannot be computed that of the others."""

    def mean(counts: Array) -> Array:
        if not functions:
            return np.full(len(counts), np.nan)
        values = np.stack([function(counts) for function in functions])
        defined = np.isfinite(values)
        return _divide(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0).astype(float))

    return mean


def _one_hot(targets: Array, predictions: Array) -> tuple[Mask, Mask]:
    """Return which class or label each row has, and which one is answered; shapes (rows, classes) of true and false."""
    if targets.ndim == 2:
        return targets > 0.5, predictions >= 0.5
    classes = np.arange(predictions.shape[1] if predictions.ndim == 2 else 2)
    return targets[:, None] == classes, labels(predictions)[:, None] == classes


def _by_class(metric: str, truth: Mask, said: Mask, sums: Callable[[Array], Array]) -> ByDay:
    """Return the mean recall, or F1, of the classes that occur; `f1` is that of the second one, which is yes."""
    occurs = [k for k in range(truth.shape[1]) if truth[:, k].any()]
    wanted = [1] if metric == "f1" else occurs
    if not wanted:
        return lambda counts: np.full(len(counts), np.nan)
    right = np.array([sums((truth[:, k] & said[:, k]).astype(float)) for k in wanted])
    true = np.array([sums(truth[:, k].astype(float)) for k in wanted])
    answered = np.array([sums(said[:, k].astype(float)) for k in wanted])

    def score(counts: Array) -> Array:
        hits, there = counts @ right.T, counts @ true.T
        below = there if metric == "balanced_accuracy" else (there + counts @ answered.T) / 2
        each = np.divide(hits, below, out=np.full_like(hits, np.nan), where=below > 0)
        defined = np.isfinite(each)
        return _divide(np.where(defined, each, 0.0).sum(axis=1), defined.sum(axis=1).astype(float))

    return score


def _auc(targets: Array, predictions: Array, days: Days, count: int) -> ByDay:
    """Return AUC as a ratio of quadratic forms in the day counts.

    AUC is the share of pairs (positive, negative) in the right order, ties counting half (Mann-Whitney). With
    W[d, e] the pairs in the right order between the positives of day d and the negatives of day e, it is
    (c W c) / ((c P) (c N)) for day counts c.
    """
    positive = targets > 0.5
    wins = np.zeros((count, count))
    for day in range(count):
        negatives = np.sort(predictions[~positive & (days == day)])
        below = np.searchsorted(negatives, predictions[positive], "left")
        upto = np.searchsorted(negatives, predictions[positive], "right")
        wins[:, day] = np.bincount(days[positive], weights=(below + upto) / 2, minlength=count)
    positives = np.bincount(days[positive], minlength=count).astype(float)
    negatives_by_day = np.bincount(days[~positive], minlength=count).astype(float)

    def auc(counts: Array) -> Array:
        right = np.einsum("rd,de,re->r", counts, wins, counts, optimize=True)
        return _divide(right, (counts @ positives) * (counts @ negatives_by_day))

    return auc


def _auc_by_rows(targets: Array, predictions: Array, days: Days, each: Array) -> ByDay:
    """Return AUC from the rows in the order of their predictions, some resamples at a time.

    A row weighs as its day counts, times its own weight. Below a positive lie all negatives before it, and half of
    those that tie with it.
    """
    order = np.argsort(predictions, kind="stable")
    positive, day, own = targets[order] > 0.5, days[order], each[order]
    ties = np.flatnonzero(np.diff(predictions[order], prepend=-np.inf))
    step = max(1, _CELLS // len(order))

    def some(counts: Array) -> Array:
        weights = counts[:, day] * own
        above = np.add.reduceat(weights * positive, ties, axis=1)
        weights[:, positive] = 0.0
        negatives = np.add.reduceat(weights, ties, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives / 2
        return _divide((above * below).sum(axis=1), above.sum(axis=1) * negatives.sum(axis=1))

    def auc(counts: Array) -> Array:
        return np.concatenate([some(counts[start : start + step]) for start in range(0, len(counts), step)])

    return auc


def problem(
    metric: str,
    targets: Array,
    predictions: Array,
    weights: Array | None = None,
    own: Mapping[str, Metric] | None = None,
) -> str | None:
    """Return why a metric cannot be computed on these rows, in words; None if it can be; arguments as of `by_day`."""
    if not len(targets):
        return "there are no rows"
    for name, values in (("outcomes", targets), ("predictions", predictions)):
        if wrong := int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum()):
            return f"{wrong} of {len(values)} {name} are no finite numbers"
    if weights is not None and not (weights > 0).any():
        return "every row weighs 0"
    if own and metric in own:
        return jackknife.problem(own[metric], targets, predictions, weights)
    if metric == "auc" and predictions.ndim == 1 and len(classes := np.unique(targets > 0.5)) < 2:
        return f"every outcome is {int(classes[0])}"
    if metric == "auc" and predictions.ndim == 2 and not _against_the_rest(metric, targets, predictions):
        return "every outcome is the same"
    if metric == "f1" and not (targets > 0.5).any() and not (predictions >= 0.5).any():
        return "no outcome and no answer is 1"
    if metric == "macro_f1" and targets.ndim == 2 and not (targets > 0.5).any():
        return "every outcome is 0"
    return None


def _calibration_error(targets: Array, predictions: Array, days: Days, count: int, each: Array) -> ByDay:
    """Return the expected calibration error over ten bins of equal mass: Σ |mean target − mean prediction| · share."""
    edges = np.quantile(predictions, np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS)
    cells = np.searchsorted(edges, predictions, side="right") * count + days
    shape = (CALIBRATION_BINS, count)
    gaps = np.bincount(cells, weights=(targets - predictions) * each, minlength=CALIBRATION_BINS * count).reshape(shape)
    rows = np.bincount(days, weights=each, minlength=count)

    def error(counts: Array) -> Array:
        return _divide(np.abs(counts @ gaps.T).sum(axis=1), counts @ rows)

    return error


def _divide(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def once(days: Days) -> Array:
    """Return the day counts of the data as they are: every day once, shape (1, days)."""
    return np.ones((1, int(days.max()) + 1))


def resamples(days: Days, number: int, seed: int) -> Array:
    """Return day counts of bootstrap resamples: as many days, drawn with replacement; shape (number, days)."""
    count = int(days.max()) + 1
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=number).astype(float)


def spread(value: float, resampled: Array, days: int, tail: float) -> Array:
    """Return resampled values moved by their bias and spread for the small number of days.

    A statistic of absolute values, as the calibration error is, grows when days are repeated: the bootstrap's estimate
    of that bias is the resamples' mean minus the value (Efron and Tibshirani, An Introduction to the Bootstrap, 10.2).
    And with few days resamples vary too little: by the root of (n - 1) / n, and as a normal where Student's t with
    n - 1 degrees of freedom would be right (Hesterberg 2015, What Teachers Should Know about the Bootstrap, 5.3).

    Args:
        value: the statistic on the data as they are.
        resampled: the statistic in each resample, shape (resamples,).
        days: how many there are.
        tail: the quantile at which the result is right, such as 0.975 for both ends of a 95 % interval.
    """
    from scipy import stats

    wider = widening(days, float(stats.norm.ppf(tail)))
    defined = resampled[np.isfinite(resampled)]
    result: Array = value + (defined - defined.mean()) * wider if len(defined) else defined
    return result


def widening(days: int, deviations: float) -> float:
    """Return the factor by which resampled deviations are too small with so few days, at a given quantile."""
    from scipy import stats

    if days < 2 or deviations <= 0:
        return 1.0
    return float(np.sqrt(days / (days - 1)) * stats.t.ppf(stats.norm.cdf(deviations), days - 1) / deviations)


def interval(value: float, resampled: Array, days: int, metric: str | None = None) -> tuple[float, float]:
    """Return the interval of `LEVEL` of a statistic (see `spread`), within the range of its metric if one is named."""
    values = spread(value, resampled, days, (1 + LEVEL) / 2)
    if not len(values) or not np.isfinite(value):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if metric in _KNOWN:
        low, high = np.clip((low, high), 0, 1 if metric in _SHARES else np.inf)
    return float(low), float(high)


def more_is_better(metric: str, own: Mapping[str, Metric] | None = None) -> bool:
    """Return a metric's direction; `own` are the task's metrics."""
    return own[metric].greater_is_better if own and metric in own else metric in MORE_IS_BETTER


def gain(metric: str, challenger: Array, champion: Array, own: Mapping[str, Metric] | None = None) -> Array:
    """Return the challenger's gain: positive if it is better, whatever the metric's direction."""
    return challenger - champion if more_is_better(metric, own) else champion - challenger
