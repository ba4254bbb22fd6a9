"""The monitor stage: traffic against the reference of the model that serves it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci import workspace
from ci.capture import records, replay
from ci.data import watched
from ci.errors import StageError
from ci.monitoring import drift
from ci.results.data import SUMMARY, Window
from ci.results.monitoring import MONITORING
from ci.settings import Settings
from ci.task import Task
from ci.training.inputs import prepared


@dataclass(frozen=True)
class Traffic:
    """Requests with their answers.

    Attributes:
        source: whether users sent them.
        window: their days.
        table: the requests.
        answers: predictions by output, as `ci.capture.replay.send` returns them.
    """

    source: Literal["captured", "simulated"]
    window: Window
    table: pd.DataFrame
    answers: dict[str, npt.NDArray[np.float64]]


def simulated(url: str, wanted: Task) -> Traffic:
    """Return the days after `as_of`, sent through the served model: where no real users are."""
    table = prepared("traffic").whole()
    summary = SUMMARY.read()
    window = summary.windows.traffic if summary.windows else Window(first=summary.as_of, end=summary.as_of)
    return Traffic("simulated", window, table, replay.send(url, table, wanted.features, wanted.outputs))


def captured(found: Mapping[str, Sequence[records.Entry]], wanted: Task) -> tuple[Traffic | None, dict[str, int]]:
    """Return what gateways captured of users' requests, None if there is no row, and what became of the requests."""
    read = records.read(found, wanted.features, wanted.outputs)
    if read.table.empty:
        return None, read.counts
    days = read.table[records.TIME].dt.date
    window = Window(first=days.min(), end=days.max() + timedelta(days=1))
    return Traffic("captured", window, read.table, read.predictions), read.counts


def monitor(settings: Settings, traffic: Traffic, reference: dict[str, Any], wanted: Task) -> dict[str, Any]:
    """Write `build/monitoring/` and return the verdict per feature, for the prediction, and overall.

    Args:
        settings: the thresholds.
        traffic: the requests with their answers.
        reference: the served model's reference statistics, as the test stage wrote them.
        wanted: the task.
    """
    table, answers = traffic.table, traffic.answers
    known = reference["features"]
    columns = [
        drift.examine(name, column, known[name], settings.monitoring)
        for name, (column, _) in watched.fields(table, wanted.features, known, wanted.summaries).items()
    ]
    predictions = [
        drift.examine(name, column, reference["predictions"][name], settings.monitoring)
        for name, column in watched.predictions(answers, wanted.outputs).items()
        if name in reference["predictions"]
    ]
    if not predictions:
        raise StageError(
            f"what serves predicts {', '.join(reference['predictions'])}; the task in model/ predicts something else: "
            "deploy its model first"
        )
    moved = max(predictions, key=lambda found: found["psi"])
    verdict, reason = drift.overall(columns, moved)
    unasked = np.any([np.isnan(made).reshape(len(table), -1).any(axis=1) for made in answers.values()], axis=0)
    if unasked.any():
        reason += f"; {int(unasked.sum())} of {len(table)} requests have no prediction"
    result = {
        "window": traffic.window.model_dump(mode="json"),
        "source": traffic.source,
        "rows": len(table),
        "verdict": verdict,
        "reason": reason,
        "prediction": moved,
        "predictions": predictions,
        "features": columns,
    }
    with workspace.replacing(workspace.MONITORING) as folder:
        MONITORING.write(result, folder)
        table.assign(**_columns(answers)).to_parquet(folder / "requests.parquet", index=False)
    return result


def _columns(answers: dict[str, Any]) -> dict[str, Any]:
    """Return predictions as columns. If there is only one and it is a number, it is called `prediction`."""
    if len(answers) == 1 and next(iter(answers.values())).ndim == 1:
        return {"prediction": next(iter(answers.values()))}
    return {f"prediction {name}": list(made) if made.ndim > 1 else made for name, made in answers.items()}
