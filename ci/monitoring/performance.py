"""How good the serving version's answers were on mature days, against the holdout, by metric and by slice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci.capture import records
from ci.monitoring.null import PERFORMANCE
from ci.quality import metrics
from ci.results.evaluation import Expected
from ci.results.monitoring import Check, Word
from ci.task import Metric, Task, columns

Array = npt.NDArray[np.float64]
_RESAMPLES = 500
_WATCHED = 5
"""How much larger the share of windows is that are watched by chance than that of alarms."""


@dataclass(frozen=True)
class Labelled:
    """Labelled requests of mature days.

    Attributes:
        targets: what happened, shape (rows,) or (rows, values).
        predictions: what was answered, shape (rows,) or (rows, values).
        days: number of each row's day, from 0: days are resampled, as rows of one day are alike.
    """

    targets: Array
    predictions: Array
    days: npt.NDArray[np.int64]

    def only(self, rows: npt.NDArray[np.bool_]) -> "Labelled":
        """Return some rows, their days numbered from 0."""
        numbers = np.unique(self.days[rows], return_inverse=True)[1]
        return Labelled(self.targets[rows], self.predictions[rows], numbers)


def judge(
    expected: Expected, found: Labelled, days: int, share: float = PERFORMANCE, metric: str | None = None,
    own: Mapping[str, Metric] | None = None, seed: int = 0,
) -> Check:  # fmt: skip
    """Return whether a metric is worse than on the holdout, beyond the holdout's interval and what days explain.

    The fall is compared with its standard error, of both by day, as Welch's t: it is drift at the one-sided level
    `share`, and watched at five times that.

    Args:
        expected: what it was on the holdout, with its 95 % interval.
        found: the labelled requests.
        days: of the holdout.
        share: of windows in which this check may raise an alarm though nothing is wrong.
        metric: its name among those of its output, if that is another.
        own: the task's own metrics.
        seed: of the resampling.
    """
    from scipy.special import stdtrit

    inner, where = metric or expected.metric, f" where {expected.column} is {expected.slice}" if expected.column else ""
    name, number = f"{expected.metric}{where}", int(found.days.max(initial=-1)) + 1
    method = f"Welch's t at level {share:.5f}, by day: {number} days, and {days} of the holdout"
    value = low = high = np.nan
    if number > 1:
        by_day = metrics.by_day(inner, found.targets, found.predictions, found.days, None, own)
        resampled = by_day(metrics.resamples(found.days, _RESAMPLES, seed))
        value = float(by_day(metrics.once(found.days))[0])
        low, high = metrics.interval(value, resampled, number, inner)
    if not np.isfinite([value, low, high]).all():
        return Check(name=name, kind="performance", number=0.0, threshold=None, method=method, verdict="ok",
                     sentence=f"{name} cannot be computed yet")  # fmt: skip
    errors = np.array([np.nanstd(resampled) * np.sqrt(number / (number - 1)), (expected.high - expected.low) / 3.92])
    freedom = float(np.sum(errors**2) ** 2 / max(np.sum(errors**4 / [number - 1, max(days - 1, 1)]), 1e-300))
    sign = 1 if metrics.more_is_better(inner, own) else -1
    worst = sign * (expected.value - (expected.low if sign > 0 else expected.high))
    fall = sign * (expected.value - value)
    limits = [max(worst, stdtrit(freedom, 1 - each) * np.hypot(*errors)) for each in (share, _WATCHED * share)]
    verdict: Word = "drift" if fall > limits[0] else "watch" if fall > limits[1] else "ok"
    threshold = expected.value - sign * limits[0]
    said = f"{name} is {value:.4f} [{low:.4f}, {high:.4f}] on {number} mature days, {expected.value:.4f} on the holdout"
    return Check(name=name, kind="performance", number=round(value, 6), threshold=round(float(threshold), 6),
                 method=method, verdict=verdict, sentence=f"{said}: {threshold:.4f} is the limit")  # fmt: skip


def checks(
    table: pd.DataFrame, wanted: Task, expected: Sequence[Expected], days: int, primary: str, least: int, sliced: int
) -> list[Check]:
    """Return the checks of all metrics and slices. Half of their budget is the primary metric's, the others share half.

    Args:
        table: requests of mature days with outcomes and predictions, as `ci.monitoring.cohorts` keeps them.
        wanted: the task.
        expected: what each metric was on the holdout.
        days: of the holdout.
        primary: the primary metric's name.
        least: rows from which the whole is judged.
        sliced: rows from which a slice is.
    """
    by_output = {}
    for output in wanted.outputs:
        single = len(wanted.outputs) == 1 and output.width is None
        column = "prediction" if single else f"prediction {output.name}"
        if column not in table or any(name not in table for name in output.target):
            continue
        rows = table.dropna(subset=[*output.target, column])
        if len(rows) < least:
            continue
        made = rows[column].to_numpy() if output.width is None else np.stack([np.asarray(row) for row in rows[column]])
        numbers = np.unique(rows[records.TIME].dt.date, return_inverse=True)[1]
        truth = columns.outcomes(rows, output).astype("float64")
        by_output[output.name] = rows, Labelled(truth, made.astype("float64"), numbers)
    known, found = metrics.named(wanted), []
    asked = [each for each in expected if each.metric in known and known[each.metric][0] in by_output]
    others = max(len(asked) - 1, 1)
    for each in asked:
        output_name, inner = known[each.metric]
        rows, labelled = by_output[output_name]
        if each.column is not None:
            if each.column not in rows:  # no part of a request, or dropped before it was kept
                continue
            inside = (rows[each.column].astype(str) == each.slice).to_numpy(dtype=bool)
            if inside.sum() < sliced:
                continue
            labelled = labelled.only(inside)
        own = {name: metric for name, metric in wanted.metrics.items() if metric.output == output_name}
        first = each.metric == primary and each.column is None
        share = PERFORMANCE / 2 if first else PERFORMANCE / 2 / others
        found.append(judge(each, labelled, days, share, inner, own))
    return found
