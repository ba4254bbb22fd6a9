"""When to stop: a moment on a clock that the caller chooses."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from time import monotonic

Clock = Callable[[], float]
"""Tells the time in seconds, such as `time.monotonic` (wall time) or `time.process_time` (processor time)."""


@dataclass(frozen=True)
class Until:
    """A moment to stop at.

    Attributes:
        at: the time; seconds on the clock.
        clock: tells the time.
    """

    at: float
    clock: Clock = monotonic

    @property
    def left(self) -> float:
        """Seconds until then, or less than 0."""
        return self.at - self.clock()

    @property
    def over(self) -> bool:
        """Whether it is as late as that."""
        return self.left <= 0

    @property
    def wall(self) -> float:
        """Seconds of wall time until then, for those who know no other; endless on other clocks."""
        return max(0.0, self.left) if self.clock is monotonic else inf

    def part(self, share: float) -> "Until":
        """Return the moment when a share of the time that is left now has passed."""
        return self.within(share * self.left)

    def within(self, seconds: float) -> "Until":
        """Return the moment so many seconds from now."""
        return replace(self, at=self.clock() + seconds)

    def soon(self, seconds: float) -> "Until":
        """Return the moment so many seconds from now, or this one if it is earlier."""
        return replace(self, at=min(self.at, self.clock() + seconds))
