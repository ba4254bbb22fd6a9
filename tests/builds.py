"""A small build as the stages leave it, for tests of the report."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scripts import configure

REPOSITORY = Path(__file__).parents[1]
IMAGE, BEFORE = f"sha256:{'ab' * 32}", f"sha256:{'cd' * 32}"
METRIC = {"value": 0.7, "low": 0.65, "high": 0.75}


def write(path: str, value: Any) -> None:
    """Write a stage's result below `build/`."""
    file = Path("build") / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value))


def change(path: str, **values: Any) -> None:
    """Change some keys of a result."""
    write(path, {**json.loads((Path("build") / path).read_text()), **values})


def summary(**values: Any) -> dict[str, Any]:
    """Return the summary of prepared data, some of its keys changed."""
    numbers = {"train": 670, "validation": 90, "holdout": 140, "traffic": 140}
    found = {
        "as_of": "2013-04-01",
        "fingerprint": f"sha256:{'01' * 32}",
        "windows": {
            "training": {"first": "2013-01-01", "end": "2013-03-18"},
            "holdout": {"first": "2013-03-18", "end": "2013-04-01"},
            "traffic": {"first": "2013-04-01", "end": "2013-04-15"},
        },
        "rows": numbers,
        "days": {"train": 67, "validation": 9, "holdout": 14, "traffic": 14},
        "unlabelled": dict.fromkeys(numbers, 3),
        "target": {part: {"late": 0.25} for part in numbers},
        "source": {"rows": 336776, "unlabelled": 9430},
        "notes": [],
    }
    return {**found, **values}


def plan(**values: Any) -> dict[str, Any]:
    """Return a plan without a certificate, some of its keys changed."""
    task = {"name": "serving-0", "group": "serving", "requests": {"cpu": 1000}}
    found = {"inventory": "recorded", "nodes": 20, "objective": 1, "bound": 1, "gap": 0.0, "proven": True}
    found |= {"least_unplaced": 0, "sets": {"serving": ["general-6"]}, "unplaced": [], "pods": [task]}
    return {**found, "plan": {"serving-0": "general-6"}, **values}


def monitoring(prediction: str = "shifted", features: Sequence[str] = ("drifted",), **values: Any) -> dict[str, Any]:
    """Return a monitoring result with these verdicts, some of its keys changed."""
    words = {"psi": 0.3, "change": "48 or more: 10.3% before, 57.8% now"}
    found = {
        "window": {"first": "2013-04-01", "end": "2013-04-15"},
        "rows": 140,
        "verdict": prediction,
        "reason": f"the predictions are {prediction}",
        "prediction": {**words, "name": "prediction", "verdict": prediction},
        "features": [{**words, "name": f"x{n}", "verdict": word} for n, word in enumerate(features)],
    }
    return {**found, **values}


def release(**values: Any) -> dict[str, Any]:
    """Return what a deployment records of the first release, some of its keys changed."""
    told = {"time": "2026-01-01T00:00:00+00:00", "inputs": "i", "commit": None, "champion": None}
    return {**told, "digest": BEFORE, "version": "1", "as_of": "2013-04-01", "model": "demo", **values}


def trial(name: str, hyperparameters: dict[str, Any], objective: float | None) -> dict[str, Any]:
    """Return a trial as the tune stage writes it."""
    told = {"epoch": 1, "outcome": "reached its end", "stopped": False, "why": "initial design"}
    return {"trial": name, "hyperparameters": hyperparameters, "objective": objective, **told}


def manifest(**values: Any) -> dict[str, Any]:
    """Return a package's manifest, some of its keys changed."""
    image = {"reference": "localhost/models/demo:2013040112345", "digest": IMAGE, "base": None}
    signature = {"inputs": {"carrier": "DT_STRING", "temp": "DT_FLOAT"}, "outputs": {"late": {}}}
    found = {"model": "demo", "version": "2013040112345", "as_of": "2013-04-01", "image": image}
    return {**found, "signature": signature, "digests": {}, **values}


def evaluation(**values: Any) -> dict[str, Any]:
    """Return an evaluation, some of its keys changed."""
    gate = {"name": "auc", "value": 0.7, "threshold": 0.6, "side": "min", "margin": 0.1, "passed": True}
    check = {"name": "rain is no less risk", "severity": "warn", "holds": False, "measured": "moved by -0.0079"}
    found = {
        "as_of": "2013-04-01",
        "verdict": "promote",
        "reason": "auc 0.0200 better than the champion's",
        "primary": "auc",
        "target": "late",
        "outputs": [{"name": "late", "kind": "binary", "target": ["late"], "classes": []}],
        "resampled": "days",
        "trivial": None,
        "classes": {},
        "confusion": {},
        "rows": 140,
        "days": 14,
        "interval_level": 0.95,
        "level": 0.9,
        "slice_margin": 0.03,
        "metrics": {"auc": METRIC, "log_loss": {"value": 0.48, "low": 0.4, "high": 0.56}},
        "gates": [gate],
        "behaviour": [check],
        "slices": [],
        "champion": {"as_of": "2013-03-01", "problem": None},
        "comparison": {"gain": 0.02, "low": -0.001, "high": 0.04, "share_better": 0.93},
    }
    return {**found, **values}


def leave(slice_name: str = "UA") -> None:
    """Leave a complete build with a champion in the current folder: every stage has run, the challenger is promoted."""
    assert configure.main(["--file", str(REPOSITORY / "tests/pipeline.yaml")]) == 0
    champion = {"digest": BEFORE, "version": "2013030100001", "as_of": "2013-03-01", "release": 1}
    write("champion.json", champion)
    window = {"first": "2013-04-01", "end": "2013-04-15"}
    write("data/summary.json", summary())
    column = {"type": "float64", "missing": 0.12, "checks": ["in_range"]}
    violation = {"column": "temp", "check": "in_range", "rows": 2, "share": 0.01, "fatal": False, "examples": ["999"]}
    write("data/schema.json", {"rows": 900, "columns": {"temp": column}, "violations": [violation]})
    trials = [trial(f"{n:02}", {"depth": n, "rate": 0.01}, 0.5 - n / 100) for n in range(3)]
    failed = {**trial("03", {"depth": 3, "rate": 0.1}, None), "outcome": "failed: NaN"}
    write("tuning/trials.json", [*trials, failed])
    line = {"name": "depth", "importance": 0.9, "units": [0.2, 0.5, 0.8], "labels": ["0", "1", "2"]}
    band = {"mean": [0.5, 0.49, 0.48], "low": [0.45, 0.44, 0.43], "high": [0.55, 0.54, 0.53]}
    write("tuning/fit.json", [{**line, **band, "trials": [[0.2, 0.5], [0.5, 0.49], [0.8, 0.48]]}])
    write("tuning/best.json", trials[-1])
    history = {"loss": [0.6, 0.5], "val_loss": [0.55, 0.52], "auc": [0.6, 0.7], "val_auc": [0.6, 0.65]}
    write(
        "model/training.json",
        {"best_epoch": 2, "history": history, "hyperparameters": trials[-1]["hyperparameters"], "parameters": 5457},
    )
    _evaluation(slice_name)
    digests = {"data": f"sha256:{'01' * 32}", "model": f"sha256:{'02' * 32}", "image": IMAGE}
    write("package/manifest.json", manifest(digests=digests))
    write("placement/plan.json", plan())
    Path("build/placement/plan.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 60 30"></svg>')
    Path("build/placement/explanation.txt").write_text("general-6: serving-0\n")
    rollout = {"action": "deploy", "reason": "better", "digest": IMAGE, "version": "2013040112345", "release": 2}
    write("rollout/rollout.json", {**rollout, "before": {k: champion[k] for k in ("digest", "version", "release")}})
    step = {"time": "2026-01-01T00:00:00.000+00:00", "step": "smoke", "digest": IMAGE, "seconds": 0.9, "golden": 32}
    step["observed"] = {IMAGE: "ready"}
    Path("build/rollout/steps.jsonl").write_text(json.dumps(step) + "\n")
    moved = {"name": "temp", "psi": 2.9, "verdict": "drifted", "change": "48 or more: 10.3% before, 57.8% now"}
    prediction = {"name": "prediction", "psi": 0.17, "verdict": "shifted", "change": "below 0.1: 10.0% before, 22% now"}
    found = {"window": window, "rows": 140, "verdict": "shifted", "reason": "the predictions are shifted (PSI 0.170)"}
    write("monitoring/monitoring.json", {**found, "prediction": prediction, "features": [moved]})
    decision = {
        "retrain": True,
        "reason": "temp drifted",
        "as_of": "2013-04-15",
        "command": "python -m scripts.pipeline",
    }
    write("retraining/decision.json", decision)


def _evaluation(slice_name: str) -> None:
    part = {**METRIC, "column": "carrier", "slice": slice_name, "rows": 70, "gain": -0.01, "worse": False}
    write("evaluation/evaluation.json", evaluation(slices=[part]))
    random = np.random.default_rng(0)
    late = (random.random(140) < 0.3).astype("float32")
    frame = {"time": pd.date_range("2013-03-18", periods=14).repeat(10), "outcome": late}
    scores = {name: np.clip(0.3 * late + 0.6 * random.random(140), 0, 1) for name in ("challenger", "champion")}
    pd.DataFrame({**frame, **scores}).to_parquet("build/evaluation/predictions.parquet")
