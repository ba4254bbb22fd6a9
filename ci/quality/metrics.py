"""Metrics as functions of day counts: how often each day occurs in a resample.

Rows of one day are correlated, so uncertainty comes from resampling days, never rows. Each metric is reduced once to
sums by day; a resample is then a vector of day counts and costs a few multiplications instead of a pass over the rows.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Days = npt.NDArray[np.int64]
ByDay = Callable[[Array], Array]
"""From day counts, shape (resamples, days), to the metric's value in each resample, shape (resamples,)."""

METRICS: dict[str, tuple[str, ...]] = {
    "binary": ("auc", "log_loss", "calibration_error"),
    "regression": ("rmse", "mae", "bias"),
}
MORE_IS_BETTER = ("auc",)
CALIBRATION_BINS = 10
LEVEL = 0.95
"""Of every interval."""
MATRIX_DAYS = 1000
"""Days beyond which AUC is computed from rows: a matrix of so many days squared takes 8 MB."""
_CELLS = 4_000_000
"""Numbers that AUC from rows holds at a time for each step of its computation."""


def by_day(metric: str, targets: Array, predictions: Array, days: Days) -> ByDay:
    """Reduce a metric to its sums by day.

    Args:
        metric: one of `METRICS`.
        targets: what happened, shape (rows,); 0 or 1 for binary metrics.
        predictions: what was predicted, shape (rows,).
        days: each row's day as a number from 0, shape (rows,).

    Returns:
        the metric as a function of day counts; NaN where it cannot be computed, as AUC is without both classes.
    """
    if not (len(targets) and np.isfinite(targets).all() and np.isfinite(predictions).all()):
        return lambda counts: np.full(len(counts), np.nan)
    count = int(days.max()) + 1

    def sums(values: Array) -> Array:
        return np.bincount(days, weights=values, minlength=count).astype(np.float64)

    if metric == "auc":
        return (_auc if count <= MATRIX_DAYS else _auc_by_rows)(targets, predictions, days, count)
    if metric == "calibration_error":
        return _calibration_error(targets, predictions, days, count)
    error = predictions - targets
    if metric == "log_loss":
        clipped = np.clip(predictions, 1e-7, 1 - 1e-7)
        losses = -(targets * np.log(clipped) + (1 - targets) * np.log1p(-clipped))
    else:
        with np.errstate(over="ignore"):  # then it is infinite
            losses = {"rmse": error**2, "mae": np.abs(error), "bias": error}[metric]
    total, rows = sums(losses), sums(np.ones_like(losses))

    def mean(counts: Array) -> Array:
        value: Array = _divide(counts @ total, counts @ rows)
        return np.sqrt(value) if metric == "rmse" else np.abs(value) if metric == "bias" else value

    return mean


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


def _auc_by_rows(targets: Array, predictions: Array, days: Days, _: int) -> ByDay:
    """Return AUC from the rows in the order of their predictions, some resamples at a time.

    A row weighs as its day counts. Below a positive lie all negatives before it, and half of those that tie with it.
    """
    order = np.argsort(predictions, kind="stable")
    positive, day = targets[order] > 0.5, days[order]
    ties = np.flatnonzero(np.diff(predictions[order], prepend=-np.inf))
    step = max(1, _CELLS // len(order))

    def some(counts: Array) -> Array:
        weights = counts[:, day]
        above = np.add.reduceat(weights * positive, ties, axis=1)
        weights[:, positive] = 0.0
        negatives = np.add.reduceat(weights, ties, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives / 2
        return _divide((above * below).sum(axis=1), above.sum(axis=1) * negatives.sum(axis=1))

    def auc(counts: Array) -> Array:
        return np.concatenate([some(counts[start : start + step]) for start in range(0, len(counts), step)])

    return auc


def problem(metric: str, targets: Array, predictions: Array) -> str | None:
    """Return why a metric cannot be computed on these rows, in words; None if it can be; arguments as of `by_day`."""
    if not len(targets):
        return "there are no rows"
    for name, values in (("outcomes", targets), ("predictions", predictions)):
        if wrong := int((~np.isfinite(values)).sum()):
            return f"{wrong} of {len(values)} {name} are no finite numbers"
    if metric == "auc" and len(classes := np.unique(targets > 0.5)) < 2:
        return f"every outcome is {int(classes[0])}"
    return None


def _calibration_error(targets: Array, predictions: Array, days: Days, count: int) -> ByDay:
    """Return the expected calibration error over ten bins of equal mass: Σ |mean target − mean prediction| · share."""
    edges = np.quantile(predictions, np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS)
    cells = np.searchsorted(edges, predictions, side="right") * count + days
    shape = (CALIBRATION_BINS, count)
    gaps = np.bincount(cells, weights=targets - predictions, minlength=CALIBRATION_BINS * count).reshape(shape)
    rows = np.bincount(days, minlength=count).astype(float)

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
    if metric is not None:
        low, high = np.clip((low, high), 0, 1 if metric in ("auc", "calibration_error") else np.inf)
    return float(low), float(high)


def gain(metric: str, challenger: Array, champion: Array) -> Array:
    """Return the challenger's gain: positive if it is better, whatever the metric's direction."""
    return challenger - champion if metric in MORE_IS_BETTER else champion - challenger
