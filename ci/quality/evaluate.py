"""The test stage: score the holdout, compare with the champion, check behaviour, decide."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci import junit, stages, task, workspace
from ci.data import watched
from ci.data.reference import describe_predictions
from ci.quality import behaviour, challenger, metrics, periods, verdict
from ci.quality.compare import Scored
from ci.quality.judge import judge
from ci.results import data
from ci.results.evaluation import EVALUATION, GOLDEN, REFERENCE
from ci.rows import Rows
from ci.settings import Settings
from ci.task import values
from ci.training.export import predictor
from ci.training.inputs import make_deterministic, prepared

GOLDEN_ROWS = 32
"""Golden requests at most."""
MEASURED, WITH_FILES = 20_000, 4096
"""Training rows on which it is measured how far periods differ; and those where they name files, which cost more."""
GOLDEN_SIZE = 2**18
"""Bytes of golden requests at most, so that they can be kept with the release: large files are few."""


def evaluate(settings: Settings) -> dict[str, Any]:
    """Write `build/evaluation/` and return the evaluation.

    Raises:
        InputError: a gate names a metric that the task does not have.
    """
    wanted = task.load()
    metrics.require(settings.gates, wanted)
    rows = prepared("holdout")
    make_deterministic(settings.seed, settings.training.threads)
    model = challenger.Model(predictor(stages.require(workspace.MODEL / "saved_model")), wanted.features)
    summary = data.SUMMARY.read()
    champion, predicted = challenger.before(rows, wanted, settings, summary.split)
    with task.told("the model cannot answer the holdout"):
        answers = model.answers(rows)
    scored = challenger.scored(rows, wanted, answers, predicted)
    holdout = challenger.judged(rows, wanted)
    numbers = behaviour.Numbers.of(wanted)
    checks = behaviour.run(
        task.part("model.behaviour", "CHECKS"),
        lambda table: numbers.table(model.answer(table)),
        rows.take(_spaced(rows.count, behaviour.SAMPLE)),
        numbers,
    )
    result = judge(holdout, wanted, scored, checks, champion, settings, summary)
    with workspace.replacing(workspace.EVALUATION) as folder:
        EVALUATION.write(result, folder)
        workspace.write_text(folder / "junit.xml", junit.render("evaluation", _cases(result)))
        GOLDEN.write(_golden(rows, wanted, model), folder)
        reference = _reference(wanted, scored)
        reference["expected"] = _expected(result, wanted)
        reference["days"] = result["days"]
        if wanted.time is not None:
            length, days = settings.monitoring.period_days, (summary.days.get("train", 0), result["days"])
            reference["periods"] = _periods(wanted, model, reference, length, days)
        REFERENCE.write(reference, folder)
        _predictions(holdout, wanted, scored).to_parquet(folder / "predictions.parquet", index=False)
    return result


def _spaced(rows: int, most: int) -> npt.NDArray[np.int64]:
    """Return evenly spaced places among rows, counted from 0."""
    return np.linspace(0, rows - 1, min(most, rows)).astype(int)


def _golden(holdout: Rows, wanted: task.Task, model: challenger.Model) -> dict[str, Any]:
    """Return some requests and the answers that every copy of this model must give.

    JSON has no infinity: rows with one are left out. A missing number becomes null.
    """
    numbers = {name: field for name, field in wanted.features.items() if field.dtype == "float32"}
    fits = np.concatenate([_finite(table, numbers) for table in holdout])
    places = np.flatnonzero(fits)
    rows = holdout.take(places[_spaced(len(places), GOLDEN_ROWS)])
    instances: list[dict[str, Any]] = []
    size = 0
    for instance in values.instances(rows, wanted.features):
        size += len(json.dumps(instance))
        if instances and size > GOLDEN_SIZE:
            break
        instances.append(instance)
    answers = model.answer(rows.iloc[: len(instances)]) if instances else {}
    answered = [
        dict(zip(answers, row, strict=True)) for row in zip(*map(np.ndarray.tolist, answers.values()), strict=True)
    ]
    alone = len(wanted.outputs) == 1
    return {"instances": instances, "predictions": [next(iter(row.values())) if alone else row for row in answered]}


def _finite(table: pd.DataFrame, numbers: Mapping[str, task.Field]) -> npt.NDArray[np.bool_]:
    """Return which rows hold no infinity in fields of numbers."""
    fits = np.full(len(table), True)
    for array in values.arrays(table, numbers).values():
        fits &= ~np.isinf(array).reshape(len(table), -1).any(axis=1)
    return fits


def _reference(wanted: task.Task, scored: dict[str, Scored]) -> dict[str, Any]:
    """Return the training data's reference statistics together with those of the model's own predictions."""
    made = watched.predictions({name: each.challenger for name, each in scored.items()}, wanted.outputs)
    predictions = {name: describe_predictions(column) for name, column in made.items()}
    return {"features": data.REFERENCE.plain(), "predictions": predictions}


def _periods(
    wanted: task.Task, model: challenger.Model, reference: dict[str, Any], length: int, days: tuple[int, int]
) -> dict[str, Any]:
    """Return how whole periods of the training days differ, of some rows; see `ci.quality.periods`.

    Args:
        wanted: the task, which has days.
        model: the challenger.
        reference: its reference statistics.
        length: days of a period.
        days: behind the reference of features, and of predictions.
    """
    rows = prepared("train")
    files = any(field.dtype == "bytes" for field in wanted.features.values())
    table = rows.take(_spaced(rows.count, WITH_FILES if files else MEASURED))
    period = periods.number(table[wanted.time], length)
    columns = watched.fields(table, wanted.features, reference["features"], wanted.summaries)
    with task.told("the model cannot answer the training rows"):
        made = watched.predictions(model.answers(Rows.of(table)), wanted.outputs)
    features = {name: column for name, (column, _) in columns.items()}
    return {
        "length": length,
        "days": {"features": days[0], "predictions": days[1]},
        "features": periods.count(features, reference["features"], period),
        "predictions": periods.count(made, reference["predictions"], period),
    }


def _expected(result: Mapping[str, Any], wanted: task.Task) -> list[dict[str, Any]]:
    """Return each metric that has an interval: of the whole holdout and, the primary one, of each slice."""
    found = [{"metric": name, **measured} for name, measured in result["metrics"].items()]
    found += [
        {"metric": result["primary"], "column": part["column"], "slice": part["slice"], **part}
        for part in result["slices"]
        if part["column"] in wanted.features
    ]
    kept = ("metric", "column", "slice", "value", "low", "high")
    return [
        {key: each[key] for key in kept if each.get(key) is not None}
        for each in found
        if None not in (each["value"], each["low"], each["high"])
    ]


def _predictions(holdout: pd.DataFrame, wanted: task.Task, scored: dict[str, Scored]) -> pd.DataFrame:
    """Return outcomes and predictions as a table: a number has columns of its own, others `OUTPUT CLASS: …`."""
    found: dict[str, Any] = {} if wanted.time is None else {"time": holdout[wanted.time]}
    for output in wanted.outputs:
        each = scored[output.name]
        alone = len(wanted.outputs) == 1 and output.width is None
        makers = {"outcome": each.targets, "challenger": each.challenger, "champion": each.champion}
        for who, array in makers.items():
            if array is None:
                continue
            if array.ndim == 1:
                found[who if alone else f"{output.name}: {who}"] = array
            else:
                found |= {f"{output.name} {name}: {who}": array[:, k] for k, name in enumerate(output.classes)}
    return pd.DataFrame(found, index=holdout.index)


def _cases(result: dict[str, Any]) -> list[junit.Case]:
    gates = []
    for gate in result["gates"]:
        threshold = f"threshold {gate['threshold']:g}"
        text = f"{verdict.unmeasured(gate['name'], gate['problem'])}, {threshold}"
        if gate["value"] is not None:
            text = f"{gate['name']} {gate['value']:.4f}, {threshold}, margin {gate['margin']:+.4f}"
        name = f"{gate['name']} {gate['side']} {gate['threshold']:g}"
        gates.append(junit.Case("gates", name, text, None if gate["passed"] else text))
    checks = [
        junit.Case(
            "behaviour",
            check["name"],
            f"{check['measured']} ({check['severity']})",
            check["measured"] if check["severity"] == "block" and not check["holds"] else None,
        )
        for check in result["behaviour"]
    ]
    comparison = []
    if versus := result["comparison"]:
        level, share = result["level"], versus["share_better"]
        text = (
            f"better than the champion in {share:.4f} of resampled {result['resampled']}, threshold {level:g}, "
            f"margin {share - level:+.4f}; {result['primary']} {versus['gain']:+.4f}"
        )
        # A challenger that is not better is no fault, so it is skipped here and green; the champion is kept.
        comparison.append(junit.Case("comparison", "champion", text, skipped=share < level))
        for part in (part for part in result["slices"] if part["gain"] is not None):
            text = (
                f"{result['primary']} {part['gain']:+.4f}, threshold {-result['slice_margin']:g}, "
                f"margin {part['gain'] + result['slice_margin']:+.4f}, beyond chance: {part['worse']}"
            )
            name = f"{part['column']} {part['slice']}"
            comparison.append(junit.Case("slices", name, text, skipped=part["worse"]))
    if trivial := result["trivial"]:
        text = f"{trivial['metric']} {trivial['gain']:+.4f} against a model that {trivial['answer']}"
        gates.append(junit.Case("gates", "better than a trivial model", text, None if trivial["passed"] else text))
    word = result["verdict"]
    decision = junit.Case("verdict", word, result["reason"], result["reason"] if word == "block" else None)
    return [*gates, *checks, *comparison, decision]
