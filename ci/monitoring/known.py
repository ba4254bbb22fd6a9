"""What a window is judged by beside its reference: measured thresholds, labels of mature days, and counters."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ci import workspace
from ci.capture import records
from ci.monitoring import checks, cohorts, memory, null, windows
from ci.results.file import Lines
from ci.results.monitoring import Check
from ci.results.report import Record
from ci.settings import Settings
from ci.task import Task
from ci.training.inputs import prepared


def thresholds(settings: Settings, wanted: Task, *, only_captured: bool = False) -> null.Bounds | None:
    """Return thresholds that are measured on whole periods of the training days; None if the settings' are to hold."""
    if not settings.monitoring.measured or wanted.time is None:
        return None
    if only_captured and not (workspace.DATA / "train.parquet").exists():
        print("monitor: thresholds cannot be measured without the training rows: those of the settings hold")
        return None
    table = prepared("train").whole()
    found = null.measure(table, wanted.features, table[wanted.time], settings.monitoring.period_days)
    return null.bounds(found) if found and len(next(iter(found.values()))) >= 3 else None


def service(settings: Settings, told: Mapping[str, Mapping[str, Any]], now: datetime) -> list[Check]:
    """Return the checks of what answers, from what gateways tell by pod; the look at their counters is recorded."""
    if not told:
        return []
    counted = {pod: (said["requests"], said["errors"]) for pod, said in told.items()}
    looks = memory.look(now, counted, settings.history)
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


def judged(settings: Settings, wanted: Task, model: str, version: str) -> list[Check]:
    """Return how good the serving version's answers were on the last period of mature days; none before there is one.

    Only a task with one number to predict is judged, by the metrics that its build recorded.
    """
    labels = memory.labels(settings.history).read_if_there()
    if labels is None or labels.watermark is None or len(wanted.outputs) > 1 or wanted.outputs[0].width is not None:
        return []
    (target,) = wanted.outputs[0].target
    first = labels.watermark - timedelta(days=settings.monitoring.period_days)
    table = cohorts.read(Path(settings.history.folder) / "requests", first)
    if not {target, "prediction"} <= {*table}:
        return []
    day = table[records.TIME].dt.tz_localize(None)
    inside = (day >= pd.Timestamp(first)) & (day < pd.Timestamp(labels.watermark))
    rows = table[inside & (table[records.VERSION] == version)].dropna(subset=[target, "prediction"])
    file: Lines[Record] = Lines(Path(settings.history.folder) / "builds.jsonl", Record, most=64 * 2**20)
    builds = file.read_all()
    build = next((each for each in reversed(builds) if (each.model, each.version) == (model, version)), None)
    if build is None or len(rows) < settings.monitoring.min_rows:
        return []
    numbers = np.unique(rows[records.TIME].dt.date, return_inverse=True)[1]
    truth, said = rows[target].to_numpy(dtype="float64"), rows["prediction"].to_numpy(dtype="float64")
    return [checks.performance(name, truth, said, numbers, holdout) for name, holdout in build.metrics.items()]
