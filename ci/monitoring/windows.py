"""Which captured requests are judged together: whole periods, enough rows, and what is early or missing.

    found = latest(times, now, period=7, least=500)       # the last whole week that has ended, or several of them
    holes = gaps(times, looks, now, hours=6)              # silence of clients, or of the capture?

A period is a number of whole days, as weekdays differ; days are those of UTC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci.results.data import Window
from ci.results.monitoring import Look, Watched

SKEW = timedelta(minutes=5)
"""How far the clock of a gateway may be ahead."""
_MOST = 8
"""Periods that a window has at most, to reach the least number of rows."""


@dataclass(frozen=True)
class Found:
    """A window.

    Attributes:
        window: its days.
        rows: which requests are in it, shape (requests,).
        enough: whether they are as many as were asked for.
        early: requests from the future: a clock is wrong. They are in no window.
    """

    window: Window
    rows: npt.NDArray[np.bool_]
    enough: bool
    early: int


@dataclass(frozen=True)
class Gap:
    """A time without captured requests, and whose silence it is."""

    start: datetime
    end: datetime
    of: Literal["traffic", "capture", "unknown"]

    def __str__(self) -> str:
        """Say it in words."""
        why = {
            "traffic": "no requests came",
            "capture": "requests came and none was captured",
            "unknown": "whether requests came is not known",
        }
        return f"from {self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} {why[self.of]}"


def reach(now: datetime, period: int) -> date:
    """Return the first day that a window of some periods can have, each of so many days."""
    return (now - timedelta(days=period * (_MOST + 1))).date()


def latest(times: "pd.Series[Any]", now: datetime, *, period: int, least: int) -> Found:
    """Return the last period that has ended, or as many of the last ones as have enough rows.

    Args:
        times: of the requests, UTC.
        now: the time.
        period: days.
        least: rows that a window should have.
    """
    day = times.dt.tz_localize(None).to_numpy().astype("datetime64[D]")
    early = (times > pd.Timestamp(now + SKEW)).to_numpy(dtype=bool)
    today = now.astimezone(UTC).date()
    origin = date(1970, 1, 5).toordinal()  # a Monday: periods lie side by side from it on
    end = date.fromordinal(origin + (today.toordinal() - origin) // period * period)
    for count in range(1, _MOST + 1):
        first = end - timedelta(days=period * count)
        rows = (day >= np.datetime64(first)) & (day < np.datetime64(end)) & ~early
        if rows.sum() >= least:
            return Found(Window(first=first, end=end), rows, True, int(early.sum()))
    first = end - timedelta(days=period)
    rows = (day >= np.datetime64(first)) & (day < np.datetime64(end)) & ~early
    return Found(Window(first=first, end=end), rows, False, int(early.sum()))


def late(times: "pd.Series[Any]", judged: Sequence[Watched]) -> int:
    """Return how many requests of the last window came after it was judged, as of a gateway that did not answer then.

    Args:
        times: of the requests, UTC.
        judged: the windows that were judged before this one.
    """
    if not judged:
        return 0
    last = max(judged, key=lambda each: each.window.end)
    day = times.dt.tz_localize(None).to_numpy().astype("datetime64[D]")
    inside = (day >= np.datetime64(last.window.first)) & (day < np.datetime64(last.window.end))
    return max(int(inside.sum()) - last.rows, 0) if last.rows else 0


def gaps(times: "pd.Series[Any]", looks: Sequence[Look], now: datetime, *, hours: float) -> list[Gap]:
    """Return the times longer than so many hours without a captured request, the last one up to now.

    Whose silence it is tell the counters that were read inside it: gateways count each request.

    Args:
        times: of captured requests, UTC.
        looks: at the gateways' counters, in order.
        now: the time.
        hours: that are silent.
    """
    moments = [*sorted(time.to_pydatetime() for time in times if time <= pd.Timestamp(now)), now]
    found = []
    for start, end in pairwise(moments):
        if end - start > timedelta(hours=hours):
            inside = [look for look in looks if start <= look.time <= end]
            found.append(Gap(start, end, _silent(inside)))
    return found


def _silent(looks: Sequence[Look]) -> Literal["traffic", "capture", "unknown"]:
    if len(looks) < 2:
        return "unknown"
    return "capture" if looks[-1].requests > looks[0].requests else "traffic"
