"""Asynchronous successive halving: which trials to stop before their last epoch.

Source: Li et al. 2020, "A system for massively parallel hyperparameter tuning" (ASHA), in the form that stops trials
rather than promoting them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Halving:
    """At each rung a trial goes on only if it is among the best that reached it."""

    first: int = 2
    """Epochs at the first rung."""
    factor: int = 2
    """Each rung has this many times the epochs of the one before."""
    keep: float = 0.5
    """Share of the trials at a rung that goes on."""
    crowd: int = 4
    """Trials that must have reached a rung before one is stopped there."""

    last: float = math.inf
    """Epochs of a complete trial: there is nothing left to stop there."""

    def is_rung(self, epochs: int) -> bool:
        """Whether trials are compared after so many epochs."""
        if epochs >= self.last:
            return False
        while epochs > self.first and epochs % self.factor == 0:
            epochs //= self.factor
        return epochs == self.first

    def stops(self, value: float, others: Sequence[float]) -> bool:
        """Whether a trial stops at a rung.

        Args:
            value: its best objective so far, less is better; NaN is worse than all.
            others: the same of the trials that reached the rung before.
        """
        if len(others) + 1 < self.crowd:
            return False
        better = sum(other <= value for other in others) if value == value else len(others)
        return better >= self.keep * (len(others) + 1)
