"""Metrics of the task's own, as functions of day counts: by what each block of days changes them (the jackknife).

Such a metric is a function of rows that nothing is known of, so it cannot be reduced to sums. Leaving out one block of
days at a time gives its derivative by the block's weight; with these it is linear in the day counts (Efron 1982, "The
jackknife, the bootstrap and other resampling plans", chapter 6).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ci.task import Metric, in_words

Array = npt.NDArray[np.float64]
BLOCKS = 50
"""Blocks at most: the metric is computed once for each."""


def by_day(
    metric: Metric, targets: Array, predictions: Array, days: npt.NDArray[np.int64], weights: Array | None
) -> Callable[[Array], Array]:
    """Return a metric as a function of day counts; arguments as of `ci.quality.metrics.by_day`."""
    count = int(days.max()) + 1
    block_of = np.arange(count) % min(BLOCKS, count)
    blocks, sizes = block_of[days], np.bincount(block_of)
    value = _value(metric, targets, predictions, weights)

    def without(block: int) -> float:
        rows = blocks != block
        return _value(metric, targets[rows], predictions[rows], None if weights is None else weights[rows])

    number = len(sizes)
    left = np.array([without(block) for block in range(number)]) if number > 1 else np.array([np.nan])
    # What cannot be computed without a block tells nothing of it.
    derivative = np.nan_to_num((number - 1) / number * (value - left), nan=0.0)

    def linear(counts: Array) -> Array:
        # The days of a block vary together as one day would.
        sums = np.stack([(counts[:, block_of == block] - 1).sum(axis=1) for block in range(number)], axis=1)
        result: Array = value + (sums / np.sqrt(sizes)) @ derivative
        return result

    return linear


def problem(metric: Metric, targets: Array, predictions: Array, weights: Array | None) -> str | None:
    """Return why a metric cannot be computed, in words; None if it can be."""
    try:
        value = _computed(metric, targets, predictions, weights)
    except (Exception, SystemExit) as error:  # whatever the task's code raises
        return f"it raised {in_words(error)[:200]}"
    return None if np.isfinite(value) else f"it is {value}"


def _value(metric: Metric, targets: Array, predictions: Array, weights: Array | None) -> float:
    return (
        float("nan")
        if problem(metric, targets, predictions, weights)
        else _computed(metric, targets, predictions, weights)
    )


def _computed(metric: Metric, targets: Array, predictions: Array, weights: Array | None) -> float:
    truth = targets
    said = predictions
    if metric.response == "label":
        classes = predictions.ndim == 2 and targets.ndim == 1
        said = predictions.argmax(axis=1).astype(float) if classes else (predictions >= 0.5).astype(float)
    return float(metric.function(truth, said, sample_weight=weights))
