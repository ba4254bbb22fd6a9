"""The evaluation as a whole: what its parts say decides, and JUnit shows each with number, threshold and margin."""

from datetime import date
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from ci import junit, task, workspace
from ci.quality import evaluate
from ci.quality.compare import Scored
from ci.quality.verdict import Champion
from ci.settings import Data, Gates, Model, Settings, Tuning
from tests import builds

WANTED = task.Task("binary", "late", "day", {"x": "float32"}, ("origin",))
BEFORE = Champion(date(2013, 3, 1))


def settings(**gates) -> Settings:
    limits = gates.pop("limits", {"auc": {"min": 0.6}})
    wanted = Gates.model_validate({"resamples": 400, "slice_min_rows": 100, "limits": limits, **gates})
    return Settings.model_construct(
        gates=wanted, seed=0, model=Model(name="m"), data=Data(), tuning=Tuning.model_construct()
    )


def judged(champion_noise=None, spoil="", checks=(), champion=BEFORE, **gates):
    """Judge a challenger against a champion with more noise; `spoil` is an origin where the challenger guesses."""
    random = np.random.default_rng(0)
    days, rows = np.repeat(np.arange(14), 300), 14 * 300
    chance = random.normal(size=rows)
    targets = (random.normal(size=rows) + chance > 1).astype(float)
    table = pd.DataFrame({"origin": random.choice(["EWR", "JFK"], rows)})
    challenger = chance + 0.3 * random.normal(size=rows)
    challenger = np.where(table["origin"] == spoil, random.normal(size=rows), challenger)
    other = None if champion_noise is None else chance + champion_noise * random.normal(size=rows)
    scores = [None if values is None else 1 / (1 + np.exp(1 - values)) for values in (challenger, other)]
    before = champion if champion_noise is not None or (champion and champion.problem) else None
    return evaluate.judge(table, WANTED, Scored(targets, days, *scores), list(checks), before, settings(**gates))


@pytest.fixture(autouse=True)
def _prepared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    builds.write("data/summary.json", builds.summary())


def check(severity, holds):
    return {"name": "order", "severity": severity, "holds": holds, "measured": "largest change 0.1", "tolerance": 1e-6}


@pytest.mark.parametrize(
    ("options", "word", "reason"),
    [
        ({}, "promote", "no champion yet"),
        ({"limits": {"auc": {"min": 0.99}}}, "block", "required at least 0.99"),
        ({"limits": {"log_loss": {"max": 0.01}}}, "block", "required at most 0.01"),
        ({"checks": [check("block", False)]}, "block", "order: largest change 0.1"),
        ({"checks": [check("warn", False)]}, "promote", "no champion yet"),
        ({"checks": [check("block", True)]}, "promote", "no champion yet"),
        ({"champion_noise": 1.5}, "promote", "better than the champion's"),
        ({"champion_noise": 0.0}, "keep", "worse than the champion's"),
        ({"champion_noise": 3.0, "spoil": "JFK"}, "keep", "worse on origin JFK"),
        ({"champion_noise": 3.0, "spoil": "JFK", "slice_margin": 0.9}, "promote", "better than the champion's"),
        ({"champion_noise": 1.5, "champion": Champion(date(2013, 4, 1))}, "keep", "not before"),
        ({"champion": Champion(date(2013, 3, 1), "its input x is not in these data")}, "keep", "its input x"),
    ],
)
def test_every_part_of_the_evaluation_can_decide(options, word, reason):
    result = judged(**options)
    assert (result["verdict"], reason in result["reason"]) == (word, True), result["reason"]


def cases(result):
    root = ElementTree.fromstring(junit.render("evaluation", evaluate._cases(result)))  # noqa: S314 - written by us
    return {(case.get("classname").split(".")[1], case.get("name")): case for case in root.iter("testcase")}


def test_every_gate_is_a_test_case_with_number_threshold_and_margin():
    found = cases(judged(champion_noise=3.0, spoil="JFK", limits={"auc": {"min": 0.99}, "log_loss": {"max": 5.0}}))
    failed = found["gates", "auc min 0.99"]
    assert ", threshold 0.99, margin -0." in failed.find("failure").get("message")
    assert found["gates", "log_loss max 5"].find("failure") is None
    assert "threshold 0.9, margin" in found["comparison", "champion"].find("system-out").text
    assert "threshold -0.03, margin -" in found["slices", "origin JFK"].find("skipped").get("message")
    assert found["slices", "origin EWR"].find("skipped") is None
    assert found["verdict", "block"].find("failure") is not None


def test_a_check_that_blocks_fails_its_test_case_and_one_that_warns_does_not():
    assert cases(judged(checks=[check("block", False)]))["behaviour", "order"].find("failure") is not None
    assert cases(judged(checks=[check("warn", False)]))["behaviour", "order"].find("failure") is None


def test_a_champion_whose_input_is_not_in_the_data_is_not_scored(monkeypatch):
    champion = {"digest": builds.BEFORE, "version": "1", "as_of": "2013-03-01", "release": 1}
    builds.write("champion.json", champion)
    monkeypatch.setattr("ci.packaging.registry.unpack", lambda _: workspace.MODEL)
    monkeypatch.setattr("ci.quality.evaluate._fields", lambda _: {"x": "float32", "gone": "float32"})
    champion, predictions = evaluate._champion(pd.DataFrame({"x": [1.0]}))
    assert champion.problem == "its input gone is not in these data"
    assert predictions is None
