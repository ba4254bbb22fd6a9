"""Thresholds from what was measured where nothing was wrong: whole periods that are left out of the reference.

Each of n periods of the training days is compared with all others, as a window is compared with the reference. All
features share one budget: the largest of their indices, each in units of its own spread, is what is bounded. So do all
predictions. The bound is an upper prediction bound, for one more such period. With n periods no level below
1/(n + 1) can be known, and none is claimed.

The alarms that a window may raise though nothing is wrong are divided once, here, over all checks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from ci.data.psi import psi
from ci.data.reference import shares
from ci.quality import periods

Array = npt.NDArray[np.float64]
BUDGET = 1 / 20
"""Windows that may raise an alarm though nothing is wrong: a share, over all checks together."""
SHARES = {"features": 0.3 * BUDGET, "predictions": 0.3 * BUDGET}
PERFORMANCE, SERVICE = 0.2 * BUDGET, 0.2 * BUDGET
"""The budget of the checks of all features, of all predictions, of metrics and slices, and of latency."""
_SMALL = 0.05
"""Added to an index before its logarithm is taken: how indices differ that are far below it means nothing."""
_EVEN = 0.15
"""Least spread of a check, in logarithms: one that was alike in all periods by chance would else claim every alarm."""
LEAST = 5
"""Periods from which bounds are measured: with fewer, they would be so wide that nothing is found."""
_DRAWS = 8
"""How often a period is drawn anew where a window has fewer rows."""


@dataclass(frozen=True)
class Bounds:
    """Upper prediction bounds.

    Attributes:
        by_check: the bound of each statistic.
        level: share of windows in which some statistic is beyond its bound though nothing is wrong; none below
            1 / (n + 1) is claimed.
        periods: how many were measured.
        kind: of what: `features` or `predictions`.
    """

    by_check: Mapping[str, float]
    level: float
    periods: int
    kind: str = "features"

    @property
    def method(self) -> str:
        """Say where the bounds come from."""
        said = f"prediction bound from n = {self.periods} left-out periods"
        return f"{said}, level {self.level:.3f} over all {self.kind}"


def of(reference: Mapping[str, Any], rows: int) -> dict[str, Bounds]:
    """Return the bounds of a window for features and for predictions, from the periods that a reference has.

    A window of few rows differs by chance: where it has fewer than a period, each period is drawn anew with as many.

    Args:
        reference: of the model that serves, as the test stage wrote it.
        rows: of the window.

    Returns:
        by kind, `features` and `predictions`; none where there are too few periods.
    """
    found = reference.get("periods")
    return {kind: _of(found, kind, reference[kind], rows) for kind in SHARES if found and _number(found[kind]) >= LEAST}


def _of(found: Mapping[str, Any], kind: str, known: Mapping[str, Any], rows: int) -> Bounds:
    random, every = np.random.default_rng(rows), []
    columns = {name: periods.read(counted) for name, counted in found[kind].items()}
    largest = max(counted.sum(axis=1).max() for counted in columns.values())
    scale = _scale(found["length"], found["days"][kind], _number(found[kind]))
    for _ in range(_DRAWS if rows < largest else 1):
        indices = {name: _indices(counted, known[name], rows, random) * scale for name, counted in columns.items()}
        every.append(bounds(indices, SHARES[kind], kind))
    means = {name: np.exp(np.mean([np.log(each.by_check[name]) for each in every])) for name in columns}
    return Bounds({name: float(mean) for name, mean in means.items()}, every[0].level, every[0].periods, kind)


def _number(columns: Mapping[str, Any]) -> int:
    """Return how many periods were counted."""
    return len(next(iter(columns.values()), []))


def _scale(length: int, days: int, periods: int) -> float:
    """Return by how much an index is larger against a reference of so many days than against the other periods."""
    return (1 / length + 1 / max(days, 1)) / (1 / length + 1 / (length * (periods - 1)))


def _indices(counted: Array, description: Mapping[str, Any], rows: int, random: np.random.Generator) -> Array:
    """Return the index of each period against all others; `counted` has shape (periods, bins)."""
    total, found = counted.sum(axis=0), []
    for period in counted:
        size = int(period.sum())
        others, window = total - period, period
        if 0 < rows < size:
            window = random.multinomial(rows, period / size).astype("float64")
        parts = (shares(others, description), shares(window, description))
        found.append(psi(*parts, (int(others.sum()), int(window.sum()))))
    return np.array(found)


def bounds(measured: Mapping[str, Array], budget: float, kind: str = "features") -> Bounds:
    """Return the bounds for one more period.

    The logarithm of each statistic is studentised: of a measured period by all others, of the next one by all. The
    largest of a period's values is what is bounded. With enough periods its bound is the k-th smallest of n, so that
    the next one is beyond it in 1 - k / (n + 1) of all cases. With fewer it is the largest of n, or the prediction
    bound of a normal variable if that is more.

    Args:
        measured: by check, the statistic of each period, shape (periods,), at least 3.
        budget: the share of windows that may raise an alarm.
        kind: of what, in words.
    """
    logs = np.log(np.maximum(np.stack([*measured.values()]), 0.0) + _SMALL)
    number = logs.shape[1]
    if number < 3:
        raise ValueError(f"{number} periods are too few: at least 3 are needed")
    scores = np.stack([_score(logs[:, place], np.delete(logs, place, axis=1)) for place in range(number)])
    bound, level = upper(scores.max(axis=1), budget)
    centre, spread = _moments(logs)
    found = np.exp(np.minimum(centre + bound * spread * np.sqrt(1 + 1 / number), 200.0)) - _SMALL
    return Bounds(dict(zip(measured, found.tolist(), strict=True)), level, number, kind)


def upper(values: Array, level: float) -> tuple[float, float]:
    """Return the upper prediction bound for one more value, and the level that is claimed for it.

    Args:
        values: what was measured, shape (n,), at least 2.
        level: the share of cases in which the next one may be beyond the bound.
    """
    from scipy.special import stdtrit

    number = len(values)
    rank = ceil((1 - level) * (number + 1) - 1e-9)
    if rank <= number:
        return float(np.sort(values)[rank - 1]), 1 - rank / (number + 1)
    beyond = stdtrit(number - 1, 1 - level) * values.std(ddof=1) * np.sqrt(1 + 1 / number)
    return float(max(values.max(), values.mean() + beyond)), 1 / (number + 1)


def _score(one: Array, others: Array) -> Array:
    """Return how far one period is from others, by check."""
    centre, spread = _moments(others)
    score: Array = (one - centre) / (spread * np.sqrt(1 + 1 / others.shape[1]))
    return score


def _moments(logs: Array) -> tuple[Array, Array]:
    return logs.mean(axis=1), np.maximum(logs.std(axis=1, ddof=1), _EVEN)
