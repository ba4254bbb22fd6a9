"""What a window is judged by beside its reference: labels of mature days, and counters."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ci.capture import records
from ci.monitoring import checks, cohorts, memory, performance, windows
from ci.results.data import Window
from ci.results.evaluation import Expected
from ci.results.monitoring import Check
from ci.settings import Settings
from ci.task import Task

ENOUGH = 100
"""Requests from which it is said how long the slowest of 100 take."""


def service(settings: Settings, told: Mapping[str, Mapping[str, Any]], now: datetime) -> list[Check]:
    """Return the checks of what answers, from what gateways tell by pod; the look at their counters is recorded."""
    if not told:
        return []
    counted = {pod: (said["requests"], said["errors"]) for pod, said in told.items()}
    seconds = [entry["seconds"] for said in told.values() for entry in said.get("recent", ())]
    p99 = float(np.quantile(seconds, 0.99)) if len(seconds) >= ENOUGH else None
    looks = memory.look(now, counted, settings.history, p99)
    captured = [entry.get("time") for said in told.values() for entry in said["captured"]]
    times = pd.Series(pd.to_datetime(pd.Series(captured, dtype=object), utc=True, errors="coerce")).dropna()
    gaps = windows.gaps(times, looks, now, hours=settings.monitoring.silent_hours)
    return [*checks.service(looks, gaps), *_lost(told)]


def _lost(told: Mapping[str, Mapping[str, Any]]) -> list[Check]:
    """Return the check of what gateways could not write, as when their volume is full; none if nothing was lost."""
    failed = sum(said.get("failed") or 0 for said in told.values())
    if not failed:
        return []
    every = sum(said["requests"] for said in told.values())
    said = f"{failed} of {every} requests could not be recorded since the gateways started: is their volume full?"
    return [Check(name="capture", kind="service", number=failed / max(every, 1), threshold=0.0, method="counters",
                  verdict="watch", sentence=said)]  # fmt: skip


def outcomes(settings: Settings) -> list[Check]:
    """Return the check of outcomes that could not be used when labels were joined last; none before that."""
    told = memory.labels(settings.history).read_if_there() if settings.labels.outcomes else None
    return checks.outcomes(told.counts.get("unusable", 0), told.outcomes, told.unusable) if told else []


def judged(settings: Settings, wanted: Task, reference: Mapping[str, Any], version: str) -> list[Check]:
    """Return how good the serving version's answers were on the last period of mature days; none before there is one.

    They are compared with what the test stage measured on the holdout, which the release's reference has.
    """
    labels = memory.labels(settings.history).read_if_there()
    if labels is None or labels.watermark is None or not reference.get("expected"):
        return []
    first = labels.watermark - timedelta(days=settings.monitoring.period_days)
    table = cohorts.read(Path(settings.history.folder) / "requests", first)
    if table.empty:
        return []
    day = table[records.TIME].dt.tz_localize(None)
    inside = (day >= pd.Timestamp(first)) & (day < pd.Timestamp(labels.watermark))
    rows = table[inside & (table[records.VERSION] == version)]
    expected = [Expected.model_validate(each) for each in reference["expected"]]
    gates = settings.gates
    found = performance.checks(
        rows, wanted, expected, reference["days"], gates.primary, settings.monitoring.min_rows, gates.slice_min_rows
    )
    days = Window(first=first, end=labels.watermark)
    return [check.model_copy(update={"days": days}) for check in found]
