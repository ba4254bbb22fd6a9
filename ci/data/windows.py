"""Which day belongs to which part: a pure function of the days in the data, `as_of` and the settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal

from ci.errors import InputError
from ci.results.data import Part
from ci.settings.building import Data

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

PARTS: tuple[Part, ...] = ("train", "validation", "holdout", "traffic")


@dataclass(frozen=True)
class Windows:
    """Three windows in a row, each from its first day up to but not including the next one's.

    training | gap | holdout | traffic: the holdout ends at `as_of`, the traffic begins there. Days of the gap belong to
    the training window, and to no part.
    """

    training: date
    holdout: date
    as_of: date
    end: date
    validation_every: int
    gap_days: int = 0

    def part(self, day: date) -> Part | None:
        """Return the part that a day belongs to; None if it lies outside the windows."""
        if not self.training <= day < self.end:
            return None
        if day >= self.as_of:
            return "traffic"
        if day >= self.holdout:
            return "holdout"
        before = (self.holdout - day).days - self.gap_days
        if before <= 0:
            return None
        # Counted back from the gap, so that the newest training day is never a validation day
        # and the pattern does not depend on where the data begin.
        return "validation" if before % self.validation_every == 0 else "train"


def windows(days: Sequence[date], as_of: date | Literal["latest"], settings: Data) -> Windows:
    """Place the windows around `as_of`.

    Args:
        days: the days in the data, in order.
        as_of: the first unknown day, or `latest`: the day after the data.
        settings: window lengths.

    Raises:
        InputError: `as_of` lies outside the data, or no training days are left.
    """
    first, last = days[0], days[-1]
    today = last + timedelta(days=1) if as_of == "latest" else as_of
    if not first < today <= last + timedelta(days=1):
        raise InputError(f"as_of: {today} lies outside the data, which reach from {first} to {last}")
    holdout = today - timedelta(days=settings.holdout_days)
    gap = settings.gap_days
    training = max(first, holdout - timedelta(days=settings.training_days + gap))
    if (holdout - training).days - gap < settings.validation_every:
        apart = f" and the gap of {gap} days (data.gap_days)" if gap else ""
        raise InputError(
            f"as_of: {today} leaves {max((holdout - training).days - gap, 0)} training days before the holdout of "
            f"{settings.holdout_days} days{apart}; at least {settings.validation_every} (data.validation_every) are "
            "needed: choose a later as_of, or smaller data.holdout_days"
        )
    end = min(last + timedelta(days=1), today + timedelta(days=settings.traffic_days))
    return Windows(training, holdout, today, end, settings.validation_every, gap)


def calendar_days(times: "pd.Series[Any]") -> "npt.NDArray[np.datetime64]":
    """Return each row's calendar day, shape (rows,); hours do not count, and a day of a time zone is its local day."""
    days: npt.NDArray[np.datetime64] = times.dt.tz_localize(None).to_numpy().astype("datetime64[D]")
    return days


def number_days(times: "pd.Series[Any]") -> "npt.NDArray[np.int64]":
    """Return each row's day as a number from 0 in the calendar's order, shape (rows,); a day without rows has none."""
    import numpy as np

    return np.unique(calendar_days(times), return_inverse=True)[1]
