"""Scoring a holdout: metrics with intervals, slices, and the paired comparison of challenger and champion."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ci.quality import metrics
from ci.quality.metrics import Array, Days
from ci.quality.verdict import Comparison
from ci.settings.building import Gates
from ci.task import Metric


@dataclass(frozen=True)
class Scored:
    """A holdout with the predictions of one output; rows lie along the first axis of all arrays.

    Attributes:
        targets: what happened, see `ci.quality.metrics.by_day`, as for the next three.
        days: what each row is resampled with.
        challenger: its predictions.
        champion: likewise; None if there is none.
        weights: how much each row counts; None: all alike.
        own: the task's own metrics.
    """

    targets: Array
    days: Days
    challenger: Array
    champion: Array | None = None
    weights: Array | None = None
    own: Mapping[str, Metric] = field(default_factory=dict)

    def only(self, rows: Any) -> "Scored":
        """Return the part where `rows` is true, its days numbered as before."""
        champion = None if self.champion is None else self.champion[rows]
        weights = None if self.weights is None else self.weights[rows]
        return replace(
            self,
            targets=self.targets[rows],
            days=self.days[rows],
            challenger=self.challenger[rows],
            champion=champion,
            weights=weights,
        )

    def renumbered(self) -> "Scored":
        """Return the same with its days numbered from 0, none left out."""
        return replace(self, days=np.unique(self.days, return_inverse=True)[1])

    def by_day(self, metric: str, predictions: Array) -> metrics.ByDay:
        """Return a metric of some predictions as a function of day counts."""
        return metrics.by_day(metric, self.targets, predictions, self.days, self.weights, self.own)


def measure(metric: str, scored: Scored, counts: Array) -> dict[str, Any]:
    """Return a metric's value on the holdout with its 95 % interval by resampling.

    Returns:
        `value`, `low` and `high`, None where they cannot be computed, and then `problem`, the reason in words.
    """
    if why := metrics.problem(metric, scored.targets, scored.challenger, scored.weights, scored.own):
        return {"value": None, "low": None, "high": None, "problem": why}
    function = scored.by_day(metric, scored.challenger)
    value = float(function(metrics.once(scored.days))[0])
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None, "problem": "it is too large for a number"}
    low, high = metrics.interval(value, function(counts), counts.shape[1], metric)
    return {"value": rounded(value), "low": rounded(low), "high": rounded(high)}


def slices(
    table: pd.DataFrame, names: Sequence[str], scored: Scored, settings: Gates, seed: int, metric: str | None = None
) -> list[dict[str, Any]]:
    """Return the primary metric of every slice of useful size, and whether it is worse than the champion's there.

    `metric` is the primary one's name among those of its output, if it is another. A slice is worse if its loss exceeds
    the margin and is beyond chance. Many slices must not make a false alarm likely: the bound is the quantile of the
    largest standardised deviation among all slices in the same resamples of the days (Romano and Wolf 2005,
    Econometrica 73, 1237), so slices that move together do not count twice.
    """
    primary = metric or settings.primary
    found = [
        ({"column": name, "slice": label, "rows": int(rows.sum())}, scored.only(rows))
        for name in names
        for label, rows in _parts(table[name])
        if rows.sum() >= settings.slice_min_rows
    ]
    if not found:
        return []
    counts = metrics.resamples(scored.days, settings.resamples, seed)
    rows = []
    for label, part in found:
        days = part.renumbered()
        rows.append({**label, **measure(primary, days, metrics.resamples(days.days, settings.resamples, seed))})
    if scored.champion is None:
        return rows
    for row in rows:
        row.update(gain=None, worse=False)
    compared = [place for place, (_, part) in enumerate(found) if np.isfinite(paired_gain(primary, part))]
    if compared:
        losses, bounds = _losses([found[place][1] for place in compared], settings, counts, primary)
        for place, loss, bound in zip(compared, losses, bounds, strict=True):
            rows[place].update(gain=rounded(-loss), worse=bool(loss > settings.slice_margin and loss > bound))
    return rows


def _parts(column: pd.Series) -> Iterator[tuple[str, Any]]:
    """Yield each value of a column as text, in order, with the rows that have it; missing ones come last."""
    values = list(column.dropna().drop_duplicates())
    try:
        values.sort()
    except TypeError:  # values of several types
        values.sort(key=str)
    for value in values:
        yield str(value), (column == value).fillna(False).to_numpy(dtype=bool)
    if column.isna().any():
        yield "missing", column.isna().to_numpy(dtype=bool)


def _losses(parts: Sequence[Scored], settings: Gates, counts: Array, metric: str) -> tuple[Array, Array]:
    """Return each slice's loss against the champion, and the bound that chance alone seldom exceeds.

    The metric must be computable for each slice. A resample in which it is not is left out for that slice.

    Returns:
        losses, positive for worse, and bounds, each of shape (slices,).
    """
    losses = np.array([-paired_gain(metric, part) for part in parts])
    drawn = np.array([-paired_gains(metric, part, counts[:, : part.days.max() + 1]) for part in parts])
    drawn = drawn[:, np.isfinite(drawn).any(axis=0)]
    deviations = drawn - np.nanmean(drawn, axis=1, keepdims=True)
    errors = np.nanstd(drawn, axis=1)
    largest = np.nanmax(deviations / np.where(errors > 0, errors, np.inf)[:, None], axis=0)
    critical = float(np.quantile(largest, settings.confidence))
    return losses, critical * errors * metrics.widening(counts.shape[1], critical)


def paired_gains(metric: str, scored: Scored, counts: Array) -> Array:
    """Return the challenger's gain over the champion in each resample, both on the same days."""
    assert scored.champion is not None  # noqa: S101 - callers have checked
    challenger, champion = (
        scored.by_day(metric, predictions)(counts) for predictions in (scored.challenger, scored.champion)
    )
    return metrics.gain(metric, challenger, champion, scored.own)


def paired_gain(metric: str, scored: Scored) -> float:
    """Return the challenger's gain over the champion on the days as they are."""
    return float(paired_gains(metric, scored, metrics.once(scored.days))[0])


def compare(
    scored: Scored, worse_slices: Sequence[str], settings: Gates, counts: Array, metric: str | None = None
) -> tuple[Comparison, Any]:
    """Return the comparison that the verdict needs, and the same in numbers for the report.

    Challenger and champion must both have the primary metric on the holdout.
    """
    primary = metric or settings.primary
    gains = paired_gains(primary, scored, counts)
    gain, days = paired_gain(primary, scored), counts.shape[1]
    likely = metrics.spread(gain, gains, days, settings.confidence)
    share = float(np.mean(likely > 0)) if len(likely) else 0.0
    low, high = metrics.interval(gain, gains, days)
    numbers = {"gain": gain, "low": low, "high": high, "share_better": share}
    return Comparison(share, gain, tuple(worse_slices)), {name: rounded(value) for name, value in numbers.items()}


def rounded(value: float) -> float | None:
    """Return a number as results hold it: six decimals, or None if it is not finite."""
    return round(float(value), 6) if np.isfinite(value) else None
