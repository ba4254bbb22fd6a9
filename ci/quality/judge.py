"""The evaluation of a scored holdout: metrics, gates, slices, the trivial model, the champion, and the verdict."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd

from ci import task
from ci.quality import metrics, verdict
from ci.quality.compare import Scored, compare, measure, paired_gain, paired_gains, slices
from ci.results import data
from ci.settings import Gates, Settings

_SLOW = 1.0
"""Seconds from which it is said how long a metric took."""


def judge(
    holdout: pd.DataFrame,
    wanted: task.Task,
    scored: Mapping[str, Scored],
    checks: Sequence[Mapping[str, Any]],
    champion: verdict.Champion | None,
    settings: Settings,
    summary: data.Summary,
) -> dict[str, Any]:
    """Return the evaluation.

    Args:
        holdout: the rows, for slices.
        wanted: the task.
        scored: by output.
        checks: outcomes of the behaviour checks.
        champion: what serves.
        settings: gates and seed.
        summary: the prepare stage's; what a trivial model answers comes from it.
    """
    gates, known = settings.gates, metrics.named(wanted)
    counts = metrics.resamples(next(iter(scored.values())).days, gates.resamples, settings.seed)
    measured = {name: _measured(name, scored[output], inner, counts) for name, (output, inner) in known.items()}
    output, primary = known[gates.primary]
    first = scored[output]
    parts = slices(holdout, wanted.slices, first, gates, settings.seed, primary)
    problems = {name: value["problem"] for name, value in measured.items() if value["value"] is None}
    missing = verdict.unmeasured(gates.primary, problems[gates.primary]) if gates.primary in problems else None
    worse = [f"{part['column']} {part['slice']}" for part in parts if part.get("worse")]
    if champion and first.champion is not None:
        why = metrics.problem(primary, first.targets, first.champion, first.weights, first.own)
        champion = replace(champion, problem=missing or (why and f"its {verdict.unmeasured(gates.primary, why)}"))
    compared = first.champion is not None and not (champion and champion.problem)
    comparison, numbers = compare(first, worse, gates, counts, primary) if compared else (None, None)
    absolute = verdict.absolute_gates({name: value["value"] for name, value in measured.items()}, gates, problems)
    broken = [f"{c['name']}: {c['measured']}" for c in checks if c["severity"] == "block" and not c["holds"]]
    for name, each in scored.items():
        wrong = int((~np.isfinite(each.challenger)).reshape(len(each.challenger), -1).any(axis=1).sum())
        if wrong:
            of = "" if len(scored) == 1 else f" of {name}"
            broken.insert(0, f"{wrong} of {len(each.challenger)} predictions{of} for the holdout are no finite numbers")
    trivial = _trivial(wanted.output(output), first, primary, counts, summary, gates)
    no_better = f"{gates.primary} is no better than that of a model that {trivial['answer']}" if trivial else ""
    decision = verdict.decide(
        absolute,
        broken,
        summary.as_of,
        champion,
        comparison,
        gates,
        missing,
        f"{no_better}: better in {trivial['share_better']:.1%} of resampled {_resampled(wanted)} "
        f"(required {gates.confidence:.0%})"
        if trivial and not trivial["passed"]
        else None,
    )
    single = len(wanted.outputs) == 1 and wanted.outputs[0].width is None
    return {
        "as_of": str(summary.as_of),
        "verdict": decision.word,
        "reason": decision.reason,
        "primary": gates.primary,
        "target": wanted.outputs[0].target[0] if single else None,
        "outputs": [
            {"name": each.name, "kind": each.kind, "target": list(each.target), "classes": list(each.classes)}
            for each in wanted.outputs
        ],
        "rows": len(first.targets),
        "days": int(first.days.max()) + 1,
        "resampled": _resampled(wanted),
        "trivial": trivial,
        "interval_level": metrics.LEVEL,
        "level": gates.confidence,
        "slice_margin": gates.slice_margin,
        "metrics": measured,
        "gates": [{**asdict(gate), "margin": gate.margin, "passed": gate.passed} for gate in absolute],
        "behaviour": list(checks),
        "slices": parts,
        "champion": None if champion is None else {"as_of": str(champion.as_of), "problem": champion.problem},
        "comparison": numbers,
        **_by_class(wanted, scored),
    }


def _resampled(wanted: task.Task) -> str:
    if wanted.time is None:
        return f"blocks of {wanted.group}" if wanted.group else "blocks of rows"
    return f"days or {wanted.group}, whichever are fewer" if wanted.group else "days"


def _measured(name: str, scored: Scored, metric: str, counts: metrics.Array) -> dict[str, Any]:
    begun = time.monotonic()
    found = measure(metric, scored, counts)
    if (taken := time.monotonic() - begun) >= _SLOW:
        print(f"  {name}: {taken:.1f} s", flush=True)
    return found


def _trivial(
    output: task.Output, scored: Scored, metric: str, counts: metrics.Array, summary: data.Summary, gates: Gates
) -> dict[str, Any] | None:
    """Return how the model compares with one that always gives the training data's shares of classes, or their mean.

    The metric is the primary one; but calibration and bias of such a model are perfect, so another one takes their
    place. None where nothing can be compared.
    """
    metric = {"calibration_error": "log_loss", "bias": "rmse"}.get(metric, metric)
    known = summary.target.get("train", {})
    if output.kind == "multiclass":
        answer = np.array([known.get(f"{output.target[0]} is {name}", 0.0) for name in output.classes])
        words = f"always answers {output.classes[int(answer.argmax())]}"
    else:
        means = [known.get(column, 0.0) for column in output.target]
        answer = np.array(means if output.width is not None else means[0])
        words = f"always answers the mean of {', '.join(output.target[:3])}{' and more' if len(means) > 3 else ''}"
    always = replace(scored, champion=np.broadcast_to(answer, scored.challenger.shape).astype("float64"))
    gain = paired_gain(metric, always)
    if not np.isfinite(gain):
        return None
    likely = metrics.spread(gain, paired_gains(metric, always, counts), counts.shape[1], gates.confidence)
    share = float(np.mean(likely > 0)) if len(likely) else 0.0
    return {
        "answer": words,
        "metric": metric,
        "gain": round(gain, 6),
        "share_better": round(share, 6),
        "passed": share >= gates.confidence,
    }


def _by_class(wanted: task.Task, scored: Mapping[str, Scored]) -> dict[str, Any]:
    """Return for each output of several classes or numbers what each is like, and which class is taken for which."""
    classes, confusion = {}, {}
    for output in wanted.outputs:
        each = scored[output.name]
        if output.width is None or not np.isfinite(each.challenger).all():
            continue
        classes[output.name] = [_one(output, each, place, name) for place, name in enumerate(output.classes)]
        if output.kind == "multiclass":
            size = len(output.classes)
            cells = each.targets.astype(int) * size + metrics.labels(each.challenger).astype(int)
            confusion[output.name] = np.bincount(cells, minlength=size * size).reshape(size, size).tolist()
    return {"classes": classes, "confusion": confusion}


def _one(output: task.Output, scored: Scored, place: int, name: str) -> dict[str, Any]:
    once, said = metrics.once(scored.days), scored.challenger[:, place]
    if output.kind == "regression":
        numbers = scored.targets[:, place]
        found = {
            metric: metrics.by_day(metric, numbers, said, scored.days, scored.weights)(once)[0]
            for metric in ("rmse", "mae")
        }
        return {"name": name, "rows": len(numbers), **{key: _rounded(value) for key, value in found.items()}}
    if output.kind == "multiclass":
        truth, answered = scored.targets == place, metrics.labels(scored.challenger) == place
    else:
        truth, answered = scored.targets[:, place] > 0.5, said >= 0.5
    hits = int((truth & answered).sum())
    auc = metrics.by_day("auc", truth.astype(float), said, scored.days, scored.weights)(once)[0]
    return {
        "name": name,
        "rows": int(truth.sum()),
        "precision": _rounded(hits / answered.sum()) if answered.any() else None,
        "recall": _rounded(hits / truth.sum()) if truth.any() else None,
        "auc": _rounded(auc),
    }


def _rounded(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
