import csv
import json

import keras_tuner
import pytest

from ci.tuning import report
from ci.tuning.oracle import BayesianOracle


def searched(objective, direction="min"):
    """A search of a few trials over a number, a choice and a hyperparameter that a condition opens."""
    space = keras_tuner.HyperParameters()
    space.Float("rate", 0.0, 1.0)
    space.Choice("kind", ["a", "b"])
    space.Boolean("deep")
    space.Int("depth", 1, 4, parent_name="deep", parent_values=[True])
    oracle = BayesianOracle(keras_tuner.Objective("score", direction), 14, space)
    oracle.verbose = 0
    while (trial := oracle.create_trial("tuner0")).status == "RUNNING":
        oracle.update_trial(trial.trial_id, {"score": objective(trial.hyperparameters.values)})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    return oracle


@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_fit_says_what_matters_and_lies_within_its_band(tmp_path, direction):
    sign = 1 if direction == "min" else -1
    report.write(tmp_path, searched(lambda values: sign * (values["rate"] - 0.3) ** 2, direction))
    lines = {line["name"]: line for line in json.loads((tmp_path / "fit.json").read_text())}
    assert list(lines) == ["rate", "kind", "deep", "depth"]
    assert lines["rate"]["importance"] > 0.8
    assert max(lines[name]["importance"] for name in ("kind", "deep", "depth")) < 0.2
    for line in lines.values():
        for low, mean, high in zip(line["low"], line["mean"], line["high"], strict=True):
            assert low <= mean <= high
    assert len(lines["depth"]["trials"]) < len(lines["rate"]["trials"]) == 14
    assert lines["kind"]["labels"] == ["a", "b"]
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["hyperparameters"]["rate"] == pytest.approx(0.3, abs=0.05)


def test_a_constant_objective_has_no_important_hyperparameter(tmp_path):
    report.write(tmp_path, searched(lambda _: 1.0))
    lines = json.loads((tmp_path / "fit.json").read_text())
    assert [line["importance"] for line in lines] == [0.0] * 4


def test_the_table_has_a_column_for_each_hyperparameter_and_a_gap_where_it_is_inactive(tmp_path):
    oracle = searched(lambda values: values["rate"])
    report.write(tmp_path, oracle)
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"trial", "objective", "epoch", "outcome", "rate", "kind", "deep", "depth", "why"}
    assert all((row["depth"] == "") == (row["deep"] == "False") for row in rows)
    assert {row["why"].split()[0] for row in rows} == {"initial", "expected"}
    assert [row["trial"] for row in rows] == list(oracle.trials)
