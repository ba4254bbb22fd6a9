"""The test stage: score the holdout, compare with the champion, check behaviour, decide."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ci import junit, stages, task, workspace
from ci.data.reference import describe_predictions
from ci.data.windows import number_days
from ci.errors import InputError, StageError
from ci.quality import behaviour, metrics, verdict
from ci.quality.compare import Scored, compare, measure, slices
from ci.registry import local as registry
from ci.registry.client import Unreachable
from ci.results import data
from ci.results.build import CHAMPION
from ci.results.evaluation import EVALUATION, GOLDEN, REFERENCE
from ci.settings import Settings
from ci.training.export import predictor
from ci.training.inputs import make_deterministic, raw_inputs, read_part

GOLDEN_ROWS = 32


def evaluate(settings: Settings) -> dict[str, Any]:
    """Write `build/evaluation/` and return the evaluation.

    Raises:
        InputError: a gate names a metric that the task's kind does not have.
    """
    wanted = task.load()
    known = metrics.METRICS[wanted.kind]
    for key, name in [("primary", settings.gates.primary), *(("limits", name) for name in settings.gates.limits)]:
        if name not in known:
            raise InputError(f"gates.{key}: a {wanted.kind} task has no metric {name}, only {', '.join(known)}")
    holdout = read_part("holdout")
    make_deterministic(settings.seed, settings.training.threads)
    predict = predictor(stages.require(workspace.MODEL / "saved_model"))

    def answer(table: pd.DataFrame) -> Any:
        return predict(raw_inputs(table, wanted.features)).astype("float64")

    champion, predicted = _champion(holdout, settings)
    days = number_days(holdout[wanted.time])
    scored = Scored(holdout[wanted.target].to_numpy(dtype="float64"), days, answer(holdout), predicted)
    checks = behaviour.run(task.part("model.behaviour", "CHECKS"), answer, holdout)
    result = judge(holdout, wanted, scored, checks, champion, settings)
    with workspace.replacing(workspace.EVALUATION) as folder:
        EVALUATION.write(result, folder)
        workspace.write_text(folder / "junit.xml", junit.render("evaluation", _cases(result)))
        GOLDEN.write(_golden(holdout, wanted, answer), folder)
        REFERENCE.write(_reference(scored), folder)
        _predictions(holdout[wanted.time], scored).to_parquet(folder / "predictions.parquet", index=False)
    return result


def judge(
    holdout: pd.DataFrame,
    wanted: task.Task,
    scored: Scored,
    checks: list[dict[str, Any]],
    champion: verdict.Champion | None,
    settings: Settings,
) -> dict[str, Any]:
    """Return the evaluation: metrics with intervals, slices, gates, comparison, and the verdict."""
    gates = settings.gates
    counts = metrics.resamples(scored.days, gates.resamples, settings.seed)
    measured = {name: measure(name, scored, counts) for name in metrics.METRICS[wanted.kind]}
    parts = slices(holdout, wanted.slices, scored, gates, settings.seed)
    problems = {name: value["problem"] for name, value in measured.items() if value["value"] is None}
    missing = verdict.unmeasured(gates.primary, problems[gates.primary]) if gates.primary in problems else None
    worse = [f"{part['column']} {part['slice']}" for part in parts if part.get("worse")]
    if champion and scored.champion is not None:
        why = metrics.problem(gates.primary, scored.targets, scored.champion)
        champion = replace(champion, problem=missing or (why and f"its {verdict.unmeasured(gates.primary, why)}"))
    compared = scored.champion is not None and not (champion and champion.problem)
    comparison, numbers = compare(scored, worse, gates, counts) if compared else (None, None)
    absolute = verdict.absolute_gates({name: value["value"] for name, value in measured.items()}, gates, problems)
    broken = [f"{c['name']}: {c['measured']}" for c in checks if c["severity"] == "block" and not c["holds"]]
    if wrong := int((~np.isfinite(scored.challenger)).sum()):
        broken.insert(0, f"{wrong} of {len(scored.challenger)} predictions for the holdout are no finite numbers")
    as_of = data.SUMMARY.read().as_of
    decision = verdict.decide(absolute, broken, as_of, champion, comparison, gates, missing)
    return {
        "as_of": str(as_of),
        "verdict": decision.word,
        "reason": decision.reason,
        "primary": gates.primary,
        "target": wanted.target,
        "rows": len(scored.targets),
        "days": int(scored.days.max()) + 1,
        "interval_level": metrics.LEVEL,
        "level": gates.confidence,
        "slice_margin": gates.slice_margin,
        "metrics": measured,
        "gates": [{**asdict(gate), "margin": gate.margin, "passed": gate.passed} for gate in absolute],
        "behaviour": checks,
        "slices": parts,
        "champion": None if champion is None else {"as_of": str(champion.as_of), "problem": champion.problem},
        "comparison": numbers,
    }


def _champion(holdout: pd.DataFrame, settings: Settings) -> tuple[verdict.Champion | None, Any]:
    """Return the champion and its predictions for the holdout; None for either one that is not available.

    Raises:
        Unreachable: the registry does not answer; the champion may still be there: run again.
    """
    record = CHAMPION.read()
    if record is None:
        return None, None
    try:
        repository = f"{settings.packaging.repository}/{settings.model.name}"
        folder = registry.released(record.digest, repository, settings.packaging.plain_http)
    except Unreachable:
        raise
    except StageError as error:
        return verdict.Champion(record.as_of, str(error)), None
    fields = _fields(folder)
    if missing := [name for name in fields if name not in holdout]:
        return verdict.Champion(record.as_of, f"its input {', '.join(missing)} is not in these data"), None
    try:
        inputs = raw_inputs(holdout, fields)
    except (TypeError, ValueError) as error:
        return verdict.Champion(record.as_of, f"these data do not fit its inputs: {str(error).splitlines()[0]}"), None
    return verdict.Champion(record.as_of), predictor(folder)(inputs).astype("float64")


def _fields(folder: Path) -> dict[str, str]:
    """Return the names and types of the fields that a SavedModel's signature asks for."""
    import tensorflow as tf

    inputs = tf.saved_model.load(str(folder)).signatures["serving_default"].structured_input_signature[1]
    return {name: spec.dtype.name for name, spec in inputs.items()}


def _golden(holdout: pd.DataFrame, wanted: task.Task, answer: Any) -> dict[str, Any]:
    """Return some requests and the answers that every copy of this model must give.

    JSON has no infinity: rows with one are left out. A missing number becomes null.
    """
    columns = [name for name, dtype in wanted.features.items() if dtype == "float32"]
    table = holdout[~np.isinf(holdout[columns].to_numpy(dtype="float32")).any(axis=1)]
    rows = table.iloc[np.linspace(0, len(table) - 1, min(GOLDEN_ROWS, len(table))).astype(int)]
    fields = {
        name: rows[name].to_numpy(dtype=object if dtype == "string" else dtype).tolist()
        for name, dtype in wanted.features.items()
    }
    instances = [dict(zip(fields, values, strict=True)) for values in zip(*fields.values(), strict=True)]
    return {"instances": instances, "predictions": answer(rows).tolist() if len(rows) else []}


def _reference(scored: Scored) -> dict[str, Any]:
    """Return the training data's reference statistics together with those of the model's own predictions."""
    return {"features": data.REFERENCE.plain(), "prediction": describe_predictions(scored.challenger)}


def _predictions(times: pd.Series, scored: Scored) -> pd.DataFrame:
    columns = {"time": times, "outcome": scored.targets, "challenger": scored.challenger}
    return pd.DataFrame(columns if scored.champion is None else {**columns, "champion": scored.champion})


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
            f"better than the champion in {share:.4f} of resampled days, threshold {level:g}, "
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
    word = result["verdict"]
    decision = junit.Case("verdict", word, result["reason"], result["reason"] if word == "block" else None)
    return [*gates, *checks, *comparison, decision]
