"""The test stage as it is run, on a small task: any JSON reader can read what it leaves, and what is wrong is said."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ci import workspace
from ci.data.reference import describe_predictions
from ci.quality import periods
from ci.registry import delivery
from ci.registry import layout as image
from ci.results.evaluation import EVALUATION, GOLDEN, REFERENCE
from tests import builds
from tests.ci.packaging import registries
from tests.commands import run_warm

TASK = {
    "__init__.py": """
KIND, TARGET, TIME, SLICES = "binary", "late", "time", ("origin",)
FEATURES = {"x": "float32", "carrier": "string", "hour": "int64"}
""",
    "behaviour.py": """
CHECKS = [
    {"name": "a day alone", "change": lambda rows: rows, "batch": 7, "expect": "same", "severity": "block"},
    {"name": "a wrong field", "change": lambda rows: rows["y"], "expect": "same", "severity": "warn"},
]
""",
}
SETTINGS = """
schema_version: 1
as_of: 2013-01-11
model: {name: tiny}
monitoring: {period_days: 3}
gates: {resamples: 200, slice_min_rows: 20, limits: {auc: {min: 0.1}}}
"""
ROWS = 480
OF_TRAINING = {"type": "float32", "edges": [9.0], "values": [], "rows": 7, "shares": [0.5, 0.25, 0.25]}
"""What prepare would have written: not the holdout's."""

PERIODS = [("features", "x"), ("predictions", "prediction")]


def strictly(text: str) -> object:
    """Return what a JSON text holds; NaN and infinities are no JSON."""

    def refuse(token: str) -> None:
        raise AssertionError(token)

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def task(tmp_path, monkeypatch, plain_model):
    """A small task whose model predicts x / 10 + 0.5, with ten days of one row every half hour."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIPELINE_SET", raising=False)
    for name, text in TASK.items():
        workspace.write_text(Path("model") / name, text)
    workspace.write_text(Path("pipeline.yaml"), SETTINGS)
    shutil.copytree(plain_model, workspace.MODEL / "saved_model")
    workspace.write_json(workspace.CHAMPION, None)
    builds.write("data/summary.json", builds.summary())
    workspace.write_json(workspace.DATA / "reference.json", {"x": OF_TRAINING})
    random = np.random.default_rng(0)
    x = random.uniform(-4, 4, ROWS).round(1)
    x[::9] = np.nan
    table = pd.DataFrame({"time": pd.date_range("2013-01-01", periods=ROWS, freq="30min"), "x": x})
    table["late"] = (random.random(ROWS) < np.nan_to_num(x) / 10 + 0.5).astype("float32")
    table["carrier"], table["hour"], table["origin"] = "", 0, np.where(np.arange(ROWS) % 2, "EWR", None)

    table.assign(time=table["time"] - pd.Timedelta(days=14)).to_parquet(workspace.DATA / "train.parquet")

    def evaluate(change):
        change(table).to_parquet(workspace.DATA / "holdout.parquet")
        assert run_warm("configure").returncode == 0  # this process would read the task of this repository
        return run_warm("evaluate")

    return evaluate


def left() -> dict[str, object]:
    """Return the JSON that the stage left, of which no reader may need to know NaN."""
    return {file.name: strictly(file.read_text()) for file in workspace.EVALUATION.glob("*.json")}


def test_a_holdout_with_hours_missing_numbers_and_a_broken_check(task):
    done = task(lambda rows: rows.assign(late=rows["late"].where(rows["origin"].notna(), 1.0)))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = left()
    evaluation = EVALUATION.read()
    assert (evaluation.verdict, evaluation.days, evaluation.rows) == ("promote", 10, ROWS)
    checks = {check.name: check for check in evaluation.behaviour}
    assert checks["a day alone"].holds
    assert checks["a wrong field"].measured == "it raised KeyError: 'y'"
    assert "  warn: a wrong field: it raised KeyError: 'y'" in done.stdout
    slices = {part.slice: part for part in evaluation.slices}
    assert slices["EWR"].value > 0.5
    assert (slices["missing"].value, slices["missing"].problem) == (None, "every outcome is 1")
    assert {"time", "outcome", "challenger"} == set(pd.read_parquet(workspace.EVALUATION / "predictions.parquet"))
    golden = GOLDEN.read()
    assert None in [row["x"] for row in golden.instances]
    assert found["golden.json"]["predictions"] == pytest.approx([0.5 + (r["x"] or 0) / 10 for r in golden.instances])
    reference = REFERENCE.plain()
    assert reference["features"] == {"x": OF_TRAINING}
    predictions = pd.read_parquet(workspace.EVALUATION / "predictions.parquet")["challenger"]
    assert reference["predictions"]["prediction"] == describe_predictions(predictions.to_numpy())
    measured = reference["periods"]
    assert (measured["length"], measured["days"]["predictions"], reference["days"]) == (3, 10, 10)
    assert [periods.read(measured[kind][name]).sum(axis=1).tolist() for kind, name in PERIODS] == [[144] * 3] * 2
    assert periods.read(measured["features"]["x"])[0][2] == 16, "what is missing"
    expected = {(each["metric"], each.get("slice")): each["value"] for each in reference["expected"]}
    assert expected["auc", None] == pytest.approx(evaluation.metrics["auc"].value)
    assert {"log_loss", "calibration_error"} <= {metric for metric, _ in expected}


def test_a_champion_that_only_the_registry_has_is_compared_with(task, plain_model, tmp_path):
    """As in a pod that starts empty: what was released is not in its workspace."""
    files = {
        f"models/tiny/7/{path.relative_to(plain_model)}": path for path in plain_model.rglob("*") if path.is_file()
    }
    layout = tmp_path / "elsewhere"
    digest = image.build(layout, files, {})
    image.index(layout, {digest: "models/tiny:7"})
    workspace.write_json(workspace.CHAMPION, {"digest": digest, "version": "7", "as_of": "2013-01-04", "release": 1})
    with registries.serving("models/tiny") as registry:
        delivery.deliver(layout, digest, f"{registry.name}:7", "production")
        Path("pipeline.yaml").write_text(f"{SETTINGS}packaging: {{repository: {registry.host}/models}}\n")
        done = task(lambda rows: rows)
    assert done.returncode == 0, done.stderr
    evaluation = EVALUATION.read()
    assert evaluation.champion
    assert evaluation.champion.problem is None
    assert evaluation.comparison
    assert evaluation.comparison.gain == 0
    assert "than the champion's" in evaluation.reason


def test_a_holdout_with_one_outcome_blocks_with_the_reason(task):
    done = task(lambda rows: rows.assign(late=0.0))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "test: block: auc cannot be computed (every outcome is 0), required at least 0.1 -> " in done.stdout
    assert "  auc cannot be computed (every outcome is 0)\n" in done.stdout
    left()
    assert EVALUATION.read().metrics["auc"].value is None
