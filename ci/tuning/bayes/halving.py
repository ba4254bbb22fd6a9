"""Asynchronous successive halving: which trials to stop before their last epoch, and what they tell nevertheless.

Source: Li et al. 2020, "A system for massively parallel hyperparameter tuning" (ASHA), in the form that stops trials
rather than promoting them. Unlike there, a trial that may yet be the best goes on: slow curves cross fast ones.

A curve is a trial's objective epoch by epoch, less is better.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

Curve = Sequence[float]


@dataclass(frozen=True)
class Halving:
    """After 2, 4, 8, … epochs a trial goes on only if it is among the best that got there, or may end as the best.

    >>> others = [[0.5, 0.3], [0.6, 0.4], [0.7, 0.35]]
    >>> Halving().stops([0.9, 0.8], others), Halving().stops([0.9, 0.2], others)
    (True, False)
    """

    first: int = 2
    """Epochs before the first comparison."""
    keep: float = 0.5
    """Share of the trials that goes on."""
    crowd: int = 4
    """Trials that must have got as far before one is stopped there."""

    last: float = math.inf
    """Epochs of a complete trial: there is nothing left to stop there."""
    hope: float | None = 2.0
    """A trial goes on if its expected end, less so many deviations, is below the best complete one; None: it stops."""

    def stops(self, curve: Curve, others: Iterable[Curve]) -> bool:
        """Whether a trial that has come so far stops here, given the curves of the others."""
        rung = len(curve) / self.first
        if rung < 1 or len(curve) >= self.last or not math.log2(rung).is_integer():
            return False
        there = [other for other in others if len(other) >= len(curve)]
        reached = [best(other, len(curve)) for other in there]
        better = sum(value < best(curve, len(curve)) for value in reached)
        falls_behind = len(reached) + 1 >= self.crowd and better >= self.keep * (len(reached) + 1)
        return falls_behind and not self._may_be_best(curve, [other for other in there if len(other) >= self.last])

    def _may_be_best(self, curve: Curve, complete: Sequence[Curve]) -> bool:
        told = expected(curve, complete)
        if self.hope is None or told is None:
            return False
        return told[0] - self.hope * told[1] < min(best(other, len(other)) for other in complete)


def best(curve: Curve, epochs: int) -> float:
    """Return the least finite value in the first epochs of a curve, infinity if there is none.

    >>> best([0.5, 0.3, 0.1], 2)
    0.3
    """
    return min((value for value in curve[:epochs] if math.isfinite(value)), default=math.inf)


def expected(curve: Curve, complete: Sequence[Curve]) -> tuple[float, float] | None:
    """Return what a stopped trial would have reached, and the deviation of that; None if nothing is known.

    It gains as much as the complete trials gained, in the median, after as many epochs.

    >>> expected([4.0, 3.0], [[3.0, 2.0, 1.0], [5.0, 4.0, 1.0]])
    (1.0, 1.0)
    """
    gains = [best(other, len(other)) - best(other, len(curve)) for other in complete]
    gains = [gain for gain in gains if math.isfinite(gain)]
    reached = best(curve, len(curve))
    return (reached + float(np.median(gains)), float(np.std(gains))) if gains and math.isfinite(reached) else None
