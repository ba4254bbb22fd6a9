"""Thresholds from what was measured where nothing was wrong: whole periods that were left out of the reference.

Each of n periods is compared with all others, as a window is compared with the reference. A window raises an alarm if
any of its statistics is larger than what one more such period would show. All checks share one budget: the largest of
their statistics, each in units of its own spread, is what is bounded. With n periods no level below 1/(n + 1) can be
known, and none is claimed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci.data import watched
from ci.data.psi import psi
from ci.data.reference import counts, describe_column, shares
from ci.task import Field

Array = npt.NDArray[np.float64]
BUDGET = 1 / 20
"""Windows that may raise an alarm though nothing is wrong: a share, over all checks together."""
_LEAST = 1e-6
"""Statistics below it are taken as equal to it, as their logarithm is used."""


@dataclass(frozen=True)
class Bounds:
    """Upper prediction bounds.

    Attributes:
        by_check: the bound of each statistic.
        level: share of windows in which some statistic is beyond its bound though nothing is wrong.
        periods: how many were measured.
    """

    by_check: Mapping[str, float]
    level: float
    periods: int

    @property
    def method(self) -> str:
        """Say where the bounds come from."""
        return f"prediction bound from n = {self.periods} left-out periods, level {self.level:.3f} over all features"


def bounds(measured: Mapping[str, Array], budget: float = BUDGET) -> Bounds:
    """Return the bounds for one more period.

    The logarithm of each statistic is studentised: of a measured period by all others, of the next one by all. The
    largest of a period's values is compared; its bound is the k-th smallest of n, so that the next one is beyond it in
    1 - k / (n + 1) of all cases.

    Args:
        measured: by check, the statistic of each period, shape (periods,), at least 3.
        budget: the share of windows that may raise an alarm; 1 / (n + 1) if that is more.
    """
    logs = np.log(np.maximum(np.stack([*measured.values()]), _LEAST))
    number = logs.shape[1]
    if number < 3:
        raise ValueError(f"{number} periods are too few: at least 3 are needed")
    scores = np.stack([_score(logs[:, place], np.delete(logs, place, axis=1)) for place in range(number)])
    rank = min(number, ceil((1 - budget) * (number + 1)))
    bound = np.sort(scores.max(axis=1))[rank - 1]
    centre, spread = _moments(logs)
    found = np.exp(centre + bound * spread * np.sqrt(1 + 1 / number))
    return Bounds(dict(zip(measured, found.tolist(), strict=True)), 1 - rank / (number + 1), number)


def _score(one: Array, others: Array) -> Array:
    """Return how far one period is from others, by check."""
    centre, spread = _moments(others)
    score: Array = (one - centre) / (spread * np.sqrt(1 + 1 / others.shape[1]))
    return score


def _moments(logs: Array) -> tuple[Array, Array]:
    return logs.mean(axis=1), np.maximum(logs.std(axis=1, ddof=1), 1e-3)


def measure(
    table: pd.DataFrame, features: Mapping[str, Field], days: "pd.Series[Any]", period: int
) -> dict[str, Array]:
    """Return for each watched column its index in each whole period, compared with all other rows.

    Args:
        table: rows that the reference may describe.
        features: the fields.
        days: of the rows.
        period: days; what is left at the beginning belongs to no period.
    """
    number = (days.max() - days).dt.days.to_numpy() // period
    whole = (days.max() - days.min()).days + 1
    periods = [place for place in range(whole // period) if (number == place).any()]
    found: dict[str, list[float]] = {}
    for name, (column, dtype) in watched.fields(table, features).items():
        values = pd.Series(column).reset_index(drop=True)
        for place in periods:
            inside = number == place
            description = describe_column(values[~inside], dtype)
            counted = counts(values[inside], description)
            window = shares(counted, description)
            index = psi(np.array(description["shares"]), window, (int((~inside).sum()), int(inside.sum())))
            found.setdefault(name, []).append(index)
    return {name: np.array(each) for name, each in found.items()}
