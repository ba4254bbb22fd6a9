"""The monitor stage: traffic against the reference of the model that serves it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci import workspace
from ci.capture import records, replay
from ci.data import watched
from ci.data.reference import counts
from ci.errors import StageError
from ci.monitoring import checks, drift, null, windows
from ci.results.data import SUMMARY, Window
from ci.results.monitoring import MONITORING, Check, Verdict, Watched, Word
from ci.rows import Writer
from ci.settings import Settings
from ci.settings.watching import Monitoring
from ci.task import Output, Task
from ci.training.inputs import prepared


@dataclass(frozen=True)
class Traffic:
    """Requests with their answers.

    Attributes:
        source: whether users sent them.
        window: their days.
        rows: how many requests.
        tables: requests, and predictions by output as `ci.capture.replay.send` returns them; those that are simulated
            are asked for while they are read.
    """

    source: Literal["captured", "simulated"]
    window: Window
    rows: int
    tables: Iterable[tuple[pd.DataFrame, dict[str, npt.NDArray[np.float64]]]]


def simulated(url: str, wanted: Task) -> Traffic:
    """Return the days after `as_of`, sent through the served model: where no real users are."""
    rows = prepared("traffic")
    summary = SUMMARY.read()
    window = summary.windows.traffic if summary.windows else Window(first=summary.as_of, end=summary.as_of)
    tables = ((table, replay.send(url, table, wanted.features, wanted.outputs)) for table in rows)
    return Traffic("simulated", window, rows.count, tables)


def captured(
    found: Mapping[str, Sequence[records.Entry]],
    wanted: Task,
    settings: Monitoring,
    now: datetime,
    before: Callable[[pd.DataFrame], pd.DataFrame] = lambda new: new,
    judged: Sequence[Watched] = (),
) -> tuple[Traffic | None, dict[str, int]]:
    """Return what gateways captured of users' requests, None if there is no row, and what became of the requests.

    The window is the last whole periods that have `min_rows` rows; until there are so many, all that was captured.

    Args:
        found: entries by pod.
        wanted: the task.
        settings: the length of a period, and how many rows are enough.
        now: the time.
        before: gets what was read, with its predictions, and returns it with what was captured before.
        judged: windows that were judged already: what came into the last of them since is counted as late.
    """
    read = records.read(found, wanted.features, wanted.outputs)
    dropped = [name for name in settings.drop if name in wanted.features]  # also where a log or the past has them
    new = read.table.drop(columns=dropped, errors="ignore").assign(**_columns(read.predictions))
    every = before(new).drop(columns=dropped, errors="ignore")
    if every.empty:
        return None, read.counts
    times = every[records.TIME]
    chosen = windows.latest(times, now, period=settings.period_days, least=settings.min_rows)
    odd = {"from the future": chosen.early, "late": windows.late(times, judged)}
    counted = {**read.counts, **{what: number for what, number in odd.items() if number}}
    rows, window = chosen.rows, chosen.window
    if not chosen.enough:
        rows = (times <= pd.Timestamp(now + windows.SKEW)).to_numpy(dtype=bool)
        if not rows.any():
            return None, counted
        window = Window(first=times[rows].min().date(), end=times[rows].max().date() + timedelta(days=1))
    table = every[rows].reset_index(drop=True)
    answers = _answers(table, wanted.outputs)
    fields = [name for name in table if name in read.table]
    return Traffic("captured", window, len(table), [(table[fields], answers)]), counted


def nothing(wanted: Task, now: datetime) -> Traffic:
    """Return what there is where no request was captured."""
    none = records.read({}, wanted.features, wanted.outputs)
    return Traffic("captured", Window(first=now.date(), end=now.date()), 0, [(none.table, none.predictions)])


def monitor(
    settings: Settings,
    traffic: Traffic,
    reference: dict[str, Any],
    wanted: Task,
    *,
    others: Sequence[Check] = (),
    before: Mapping[str, Word] = MappingProxyType({}),
) -> dict[str, Any]:
    """Write `build/monitoring/` and return the verdict per feature, for the prediction, and overall.

    Args:
        settings: the thresholds.
        traffic: the requests with their answers.
        reference: the served model's reference statistics, as the test stage wrote them.
        wanted: the task.
        others: checks of what is no feature, such as performance.
        before: what each check showed in the window before.
    """
    unasked = 0
    columns: dict[str, Any] = {}
    predicted: dict[str, Any] = {}
    with workspace.replacing(workspace.MONITORING) as folder:
        writer = Writer(folder / "requests.parquet")
        for table, answers in traffic.tables:
            fields = watched.fields(table, wanted.features, reference["features"], wanted.summaries)
            _add(columns, {name: column for name, (column, _) in fields.items()}, reference["features"])
            _add(predicted, watched.predictions(answers, wanted.outputs), reference["predictions"])
            lacking = [np.isnan(made).any(axis=tuple(range(1, made.ndim))) for made in answers.values()]
            unasked += int(np.any(lacking, axis=0).sum())
            writer.write(table.assign(**_columns(answers)))
        writer.close()
        if not predicted:
            raise StageError(
                f"what serves predicts {', '.join(reference['predictions'])}; the task in model/ predicts something "
                "else: deploy its model first"
            )
        limits = settings.monitoring
        measured = null.of(reference, traffic.rows) if limits.measured else {}
        shown = [*others]
        for name, found in columns.items():
            shown += checks.of_column(
                name, found, reference["features"][name], limits, measured.get("features"), limits.season
            )
        for name, found in predicted.items():
            shown += checks.of_column(
                name, found, reference["predictions"][name], limits, measured.get("predictions"), kind="prediction"
            )
        shown = checks.corrected(shown)
        settled = checks.settled(shown, before)
        features = _examined(columns, reference["features"], limits, shown, "feature")
        predictions = _examined(predicted, reference["predictions"], limits, shown, "prediction")
        moved = max(predictions, key=lambda found: (found["verdict"] == "drifted", found["psi"]))
        verdict: Verdict
        verdict, reason = drift.overall(features, moved)
        overall, why = checks.worst(settled)
        if overall == "broken":  # what cannot be trusted says nothing of drift
            verdict, reason = "broken", why
        if unasked:
            reason += f"; {unasked} of {traffic.rows} requests have no prediction"
        result = {
            "window": traffic.window.model_dump(mode="json"),
            "source": traffic.source,
            "rows": traffic.rows,
            "verdict": verdict,
            "reason": reason,
            "prediction": moved,
            "predictions": predictions,
            "features": features,
            "checks": [check.model_dump(mode="json") for check in settled],
            "shown": {check.name: check.verdict for check in shown},
            "overall": overall,
            "why": why,
        }
        MONITORING.write(result, folder)
    return result


def _add(counted: dict[str, Any], columns: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Add the rows of some columns to those that are counted in each bin; what has no reference is left out."""
    for name, column in columns.items():
        if name in known:
            counted[name] = counted.get(name, 0) + counts(column, known[name])


def _examined(
    counted: Mapping[str, Any],
    known: Mapping[str, Any],
    limits: Monitoring,
    shown: Sequence[Check],
    kind: Literal["feature", "prediction"],
) -> list[dict[str, Any]]:
    """Return each column's index and the bin that moved most, with the verdict of its check in this window."""
    verdicts = {check.name: drift.WORDS[check.verdict] for check in shown if check.kind == kind}
    found = [drift.examine(name, each, known[name], limits) for name, each in counted.items()]
    return [{**each, "verdict": verdicts.get(f"{each['name']} distribution", each["verdict"])} for each in found]


def _columns(answers: dict[str, Any]) -> dict[str, Any]:
    """Return predictions as columns. If there is only one and it is a number, it is called `prediction`."""
    if len(answers) == 1 and next(iter(answers.values())).ndim == 1:
        return {"prediction": next(iter(answers.values()))}
    return {f"prediction {name}": list(made) if made.ndim > 1 else made for name, made in answers.items()}


def _answers(table: pd.DataFrame, outputs: Sequence[Output]) -> dict[str, npt.NDArray[np.float64]]:
    """Return predictions out of the columns that `_columns` makes of them."""
    if "prediction" in table:
        return {outputs[0].name: table["prediction"].to_numpy("float64")}
    columns = {each.name: table[f"prediction {each.name}"] for each in outputs}
    shapes = {each.name: (len(table), *(() if each.width is None else (each.width,))) for each in outputs}
    return {name: np.array([*found], dtype="float64").reshape(shapes[name]) for name, found in columns.items()}
