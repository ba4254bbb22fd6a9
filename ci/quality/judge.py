"""The evaluation of a scored holdout: metrics, gates, slices, the trivial model, the champion, and the verdict."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd

from ci import task
from ci.quality import metrics, verdict
from ci.quality.compare import Scored, compare, measure, paired_gain, paired_gains, rounded, slices
from ci.results import data
from ci.settings import Settings
from ci.settings.building import Gates

_SLOW = 1.0
"""Seconds from which it is said how long a metric took."""
_SAME = 4 * float(np.finfo(np.float32).eps)
"""By how much answers differ, as a share of the largest one, that are the same but for rounding."""
_CONFUSED = 200
"""Classes of an output at most for which it is counted which is taken for which."""


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
    resampled = _resampled(wanted)
    trivial, no_better = _told(trivial, first.challenger, gates, resampled)
    decision = verdict.decide(
        absolute,
        broken,
        summary.as_of,
        champion,
        comparison,
        gates,
        missing,
        no_better,
        resampled,
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
        "resampled": resampled,
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
    found = [
        (paired_gain(metric, always), words, always)
        for answer, words in _always(output, metric, summary.target.get("train", {}))
        for always in [replace(scored, champion=np.broadcast_to(answer, scored.challenger.shape).astype("float64"))]
    ]
    gain, words, always = min(found, key=lambda each: each[0])
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


def _always(output: task.Output, metric: str, known: Mapping[str, float]) -> list[tuple[metrics.Array, str]]:
    """Return what trivial models answer, and in words; F1 is best for one that always says yes."""
    if output.kind == "multiclass":
        shares = np.array([known.get(f"{output.target[0]} is {name}", 0.0) for name in output.classes])
        return [(shares, f"always answers {output.classes[int(shares.argmax())]}")]
    means = np.array([known.get(column, 0.0) for column in output.target])
    more = " and more" if len(means) > 3 else ""
    found = [(means, f"always answers the mean of {', '.join(output.target[:3])}{more}")]
    if metric in ("f1", "macro_f1"):
        found.append((np.ones(len(means)), "always answers yes"))
    return found if output.width is not None else [(answer[0], words) for answer, words in found]


def _told(
    trivial: dict[str, Any] | None, predictions: metrics.Array, gates: Gates, resampled: str
) -> tuple[dict[str, Any] | None, str | None]:
    """Return the comparison with a trivial model, and in words why the model is none better; None if it is.

    One that gives the same answer for all rows is trivial itself, whatever its metric: the median has the better `mae`.
    """
    if trivial and not trivial["passed"]:
        return trivial, (
            f"{gates.primary} is no better than that of a model that {trivial['answer']}: better in "
            f"{trivial['share_better']:.1%} of resampled {resampled} (required {gates.confidence:.0%})"
        )
    finite = len(predictions) > 1 and np.isfinite(predictions).all()
    if finite and (np.ptp(predictions, axis=0) <= _SAME * np.abs(predictions).max()).all():
        return trivial and {**trivial, "passed": False}, "the model gives the same answer for every row of the holdout"
    return trivial, None


def _by_class(wanted: task.Task, scored: Mapping[str, Scored]) -> dict[str, Any]:
    """Return for each output of several classes or numbers what each is like, and which class is taken for which."""
    classes, confusion = {}, {}
    for output in wanted.outputs:
        each = scored[output.name]
        if output.width is None or not np.isfinite(each.challenger).all():
            continue
        classes[output.name] = [_one(output, each, place, name) for place, name in enumerate(output.classes)]
        size = len(output.classes)
        if output.kind == "multiclass" and size <= _CONFUSED:
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
        return {"name": name, "rows": len(numbers), **{key: rounded(value) for key, value in found.items()}}
    if output.kind == "multiclass":
        truth, answered = scored.targets == place, metrics.labels(scored.challenger) == place
    else:
        truth, answered = scored.targets[:, place] > 0.5, said >= 0.5
    hits = int((truth & answered).sum())
    auc = metrics.by_day("auc", truth.astype(float), said, scored.days, scored.weights)(once)[0]
    return {
        "name": name,
        "rows": int(truth.sum()),
        "precision": rounded(hits / answered.sum()) if answered.any() else None,
        "recall": rounded(hits / truth.sum()) if truth.any() else None,
        "auc": rounded(auc),
    }
