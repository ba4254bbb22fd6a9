"""Outcomes that arrive late: joined with the requests that they belong to, and when a day's are complete enough.

    joined = join(requests, outcomes, key, targets)
    days = maturity(joined, now, quantile)
    first = watermark(joined, now, days)          # the first day that cannot be judged yet, or be learned from

An outcome is a row with the key, the targets and the time when it became known. Missing targets are an outcome too:
that there will never be a label, as of a cancelled flight. Of several outcomes of one request the one that became known
last counts, so that it does not matter in which order, in how many parts or how often they arrive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci.capture import records

KNOWN = "known at"
"""When an outcome became known; of a request without one it is missing."""
_CLASSES = 30
"""Different labels up to which the delay is estimated for each: positives may come later than negatives."""


@dataclass(frozen=True)
class Joined:
    """Requests with their outcomes.

    Attributes:
        table: each request once, with the targets and `KNOWN`.
        counts: `joined` requests have an outcome, of `never` ones it is that there is no label, `waiting` ones have
            none yet; `duplicates` repeat another outcome, `contradictions` differ from one that became known later,
            and `unknown` ones belong to no request.
    """

    table: pd.DataFrame
    counts: dict[str, int]


def join(
    requests: pd.DataFrame, outcomes: pd.DataFrame, key: Sequence[str], targets: Sequence[str], known: str = KNOWN
) -> Joined:
    """Return the requests with their outcomes.

    Args:
        requests: what was captured, with the key and, if they were joined before, with targets and `KNOWN`.
        outcomes: with the key, the targets, and when they became known.
        key: columns that name a request.
        targets: what was predicted.
        known: the column of `outcomes` with the time when each became known.
    """
    keys, found = list(key), [*targets, KNOWN]
    table = requests.drop_duplicates(records.ID).sort_values([records.TIME, records.ID], kind="stable")
    new = outcomes[[*keys, *targets, known]].rename(columns={known: KNOWN})
    new = new.assign(**{KNOWN: pd.to_datetime(new[KNOWN], utc=True)})
    unknown = ~_keys(new, keys).isin(set(_keys(table, keys)))
    new, old = new[~unknown], pd.DataFrame(columns=[*keys, *found])
    if KNOWN in table:
        old = table.loc[table[KNOWN].notna(), [*keys, *found]]
        table = table.drop(columns=[name for name in found if name in table])
    every = new if old.empty else pd.concat([old, new], ignore_index=True)
    every = every.assign(_said=_said(every, targets), _new=np.arange(len(every)) >= len(every) - len(new))
    every = every.sort_values([KNOWN, "_said"], kind="stable")
    every = every.assign(_key=_keys(every, keys))
    repeated = every[every["_new"]].duplicated(["_key", "_said"])
    distinct = every.drop_duplicates(["_key", "_said"])
    winners = every.drop_duplicates("_key", keep="last")[["_key", *found]]
    table = table.assign(_key=_keys(table, keys))
    joined = table.merge(winners.infer_objects(), on="_key", how="left", sort=False).drop(columns="_key")
    joined = joined.assign(**{name: _alike(joined[name]) for name in targets})
    labelled = joined[KNOWN].notna()
    never = labelled & joined[list(targets)].isna().any(axis=1)
    counts = {"joined": int(labelled.sum()), "never": int(never.sum()), "waiting": int((~labelled).sum())}
    counts |= {"duplicates": int(repeated.sum()), "contradictions": len(distinct) - len(winners)}
    return Joined(joined, {**counts, "unknown": int(unknown.sum())})


def _alike(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return a column that holds texts and numbers as texts: names of classes, which files write in either way."""
    texts = column.dropna().map(lambda value: isinstance(value, str))
    return column.map(_text, na_action="ignore") if texts.any() and not texts.all() else column


def _said(table: pd.DataFrame, targets: Sequence[str]) -> list[str]:
    """Return the targets of each row as text, equal for equal values: 1 and 1.0 are one."""
    rows = table[list(targets)].astype(object).itertuples(index=False)
    return ["\x1f".join("" if pd.isna(value) else _text(value) for value in row) for row in rows]


def maturity(joined: Joined, targets: Sequence[str], now: datetime, quantile: float) -> int | None:
    """Return after how many days so large a share of the labels that will come has come; None if too few came.

    Requests of the last days show short delays only. So each delay counts among the requests that are old enough to
    show it: the estimate for delays that are truncated on the right, by hazards in reversed time (Kalbfleisch and
    Lawless 1989, "Inference based on retrospective ascertainment", JASA 84, 360). Requests that never get a label do
    not count. It is estimated for each label of a few, and the longest is taken.
    """
    table = joined.table[joined.table[KNOWN].notna()]
    past = np.maximum(_days(table[KNOWN] - table[records.TIME]), 0.0)
    age = np.maximum(_days(pd.Timestamp(now) - table[records.TIME]), past)
    enough = ceil(1 / (1 - quantile))
    first = table[targets[0]].to_numpy()
    groups = [np.ones(len(table), dtype=bool)]
    if table[targets[0]].nunique() <= _CLASSES:
        groups += [first == value for value in table[targets[0]].dropna().unique()]
    found = [_quantile(past[group], age[group], quantile) for group in groups if group.sum() >= enough]
    return ceil(max(found)) if found else None


def _days(spans: "pd.Series[Any]") -> npt.NDArray[np.float64]:
    return np.asarray(spans.dt.total_seconds(), dtype="float64") / 86_400


def _quantile(delays: npt.NDArray[np.float64], ages: npt.NDArray[np.float64], share: float) -> float:
    """Return a quantile of delays, each of which could be seen only as it is no longer than its request is old."""
    distinct, at = np.unique(delays, return_counts=True)
    # Of those that could show a delay v (their age is v or more) and have one of v at most, the share that has v.
    # Who is younger than v has a shorter delay, as nothing is known before it happens.
    up_to = np.searchsorted(np.sort(delays), distinct, "right") - np.searchsorted(np.sort(ages), distinct, "left")
    below = np.where(at < up_to, 1 - at / up_to, 0.0)  # P(delay < v | delay <= v)
    cumulative = np.append(np.cumprod(below[::-1])[::-1][1:], 1.0)  # P(delay <= v)
    return float(distinct[np.searchsorted(cumulative, share)])


def watermark(joined: Joined, now: datetime, days: int | None) -> date | None:
    """Return the first day that is not mature; all before it are. None if none is, or the maturity is not known."""
    if days is None or joined.table.empty:
        return None
    first = joined.table[records.TIME].min().date()
    reached = (now - timedelta(days=days)).date()  # a day has ended `days` ago if it lies before this one
    return reached if reached > first else None


def mature(joined: Joined, until: date) -> pd.DataFrame:
    """Return the requests of mature days."""
    times = joined.table[records.TIME].dt.tz_localize(None)
    found: pd.DataFrame = joined.table.loc[times < pd.Timestamp(until)]
    return found


def in_words(counts: Mapping[str, int]) -> str:
    """Return the counts in a line."""
    return ", ".join(f"{number:,} {what}" for what, number in counts.items())


def _keys(table: pd.DataFrame, key: Sequence[str]) -> "pd.Series[str]":
    """Return what names each row, as one text; whole numbers are the same text in a column of any type."""
    parts = [table[name].map(_text) for name in key]
    found = parts[0]
    for part in parts[1:]:
        found = found + "\x1f" + part
    return found


def _text(value: Any) -> str:
    whole = isinstance(value, int | np.integer) or (isinstance(value, float) and value.is_integer())
    return str(int(value)) if whole else str(value)
