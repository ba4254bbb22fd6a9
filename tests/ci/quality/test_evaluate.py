"""The evaluation as a whole: what its parts say decides, and JUnit shows each with number, threshold and margin."""

import json
from dataclasses import replace
from datetime import date
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from ci import junit, task, workspace
from ci.quality import challenger, evaluate
from ci.quality.compare import Scored
from ci.quality.judge import judge
from ci.quality.verdict import Champion
from ci.results.data import SUMMARY
from ci.results.evaluation import Evaluation
from ci.rows import Rows
from ci.settings import Settings
from ci.settings.building import Data, Gates, Model, Tuning
from tests import builds

WANTED = task.Task((task.Output("late", "binary", ("late",)),), "day", {"x": task.Field("float32")}, ("origin",))
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
    found = {"late": Scored(targets, days, *scores)}
    return judge(table, WANTED, found, list(checks), before, settings(**gates), SUMMARY.read())


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
        ({"champion_noise": 1.5, "champion": Champion(date(2013, 4, 1))}, "promote", "better than the champion's"),
        ({"champion_noise": 1.5, "champion": Champion(date(2013, 4, 2))}, "keep", "which is later"),
        ({"champion": Champion(date(2013, 3, 1), "its input x is not in these data")}, "keep", "its input x"),
    ],
)
def test_every_part_of_the_evaluation_can_decide(options, word, reason):
    result = judged(**options)
    assert (result["verdict"], reason in result["reason"]) == (word, True), result["reason"]


def scored(**changes):
    random = np.random.default_rng(3)
    days = np.repeat(np.arange(14), 100)
    targets = (random.random(1400) < 0.4).astype(float)
    scores = {name: np.clip(0.3 * targets + 0.5 * random.random(1400), 0, 1) for name in ("challenger", "champion")}
    return replace(Scored(targets, days, **scores), **changes)


SAME = pd.DataFrame({"origin": ["EWR"] * 1400})
NO_NUMBER = np.where(np.arange(1400) == 700, np.nan, 0.4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("holdout", "limits", "word", "reason"),
    [
        (scored(targets=np.ones(1400)), {}, "keep", "auc cannot be computed (every outcome is 1), so nothing shows"),
        (scored(targets=np.ones(1400)), {"auc": {"min": 0.0}}, "block", "auc cannot be computed (every outcome is 1)"),
        (scored(champion=NO_NUMBER), {}, "keep", "its auc cannot be computed (1 of 1400 predictions are no finite"),
        (scored(challenger=NO_NUMBER), {}, "block", "1 of 1400 predictions for the holdout are no finite numbers"),
        (scored(challenger=NO_NUMBER, champion=None), {}, "block", "1 of 1400 predictions for the holdout are no"),
        (scored(challenger=np.full(1400, 0.5)), {"auc": {"min": 0.6}}, "block", "auc 0.5000, required at least 0.6"),
        (
            scored(challenger=np.zeros(1400), champion=np.ones(1400)),
            {},
            "block",
            "no better than that of a model that alwa",
        ),
    ],
)
def test_what_cannot_be_computed_is_said_and_never_promotes(holdout, limits, word, reason):
    before = None if holdout.champion is None else BEFORE
    result = judge(SAME, WANTED, {"late": holdout}, [], before, settings(limits=limits), SUMMARY.read())
    assert result["verdict"] == word
    assert reason in result["reason"]
    json.dumps(result, allow_nan=False)
    assert cases(result)
    TypeAdapter(Evaluation).validate_python(result, strict=False)


@pytest.mark.parametrize(
    ("primary", "said", "reason"),
    [
        ("f1", np.full(1400, 0.6), "no better than that of a model that always answers yes"),
        ("f1", np.linspace(0.6, 0.9, 1400), "no better than that of a model that always answers yes"),
        (
            "accuracy",
            np.linspace(0.1, 0.4, 1400),
            "no better than that of a model that always answers the mean of late",
        ),
        ("mae", np.zeros(1400), "the model gives the same answer for every row"),
    ],
)
def test_a_model_that_always_says_the_same_is_blocked_by_whatever_metric(primary, said, reason):
    """Where two of five are late, always saying yes has an F1 of 0.57, and always saying no a better error."""
    kind = "regression" if primary == "mae" else "binary"
    wanted = replace(WANTED, outputs=(task.Output("late", kind, ("late",)),))
    holdout = {"late": scored(challenger=said, champion=None)}
    result = judge(SAME, wanted, holdout, [], None, settings(primary=primary, limits={}), SUMMARY.read())
    assert (result["verdict"], reason in result["reason"]) == ("block", True), result["reason"]
    assert not result["trivial"]["passed"]


@pytest.mark.parametrize(
    ("time", "group", "what"),
    [("day", None, "days"), (None, None, "blocks of rows"), (None, "tail", "blocks of tail")],
)
def test_the_reason_names_what_was_resampled(time, group, what):
    wanted = replace(WANTED, time=time, group=group)
    result = judge(SAME, wanted, {"late": scored()}, [], BEFORE, settings(limits={}), SUMMARY.read())
    assert f"% of resampled {what} (required" in result["reason"]


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
    monkeypatch.setattr("ci.registry.local.unpack", lambda _: workspace.MODEL)  # as where there is no registry
    fields = dict.fromkeys(("x", "gone"), task.Field("float32"))
    monkeypatch.setattr("ci.quality.challenger._fields", lambda *_: fields)
    champion, predictions = challenger.before(Rows.of(pd.DataFrame({"x": [1.0]})), WANTED, settings(), "")
    assert champion.problem == "its input gone is not in these data"
    assert predictions is None


def test_a_champion_that_cannot_answer_these_rows_is_not_scored(monkeypatch):
    import tensorflow as tf

    def refuses(fields):
        tf.debugging.assert_less(fields["x"], 0.0)

    builds.write("champion.json", {"digest": builds.BEFORE, "version": "1", "as_of": "2013-03-01", "release": 1})
    monkeypatch.setattr("ci.registry.local.unpack", lambda _: workspace.MODEL)  # as where there is no registry
    monkeypatch.setattr("ci.quality.challenger._fields", lambda *_: {"x": task.Field("float32")})
    monkeypatch.setattr("ci.quality.challenger.predictor", lambda _: refuses)
    champion, predictions = challenger.before(Rows.of(pd.DataFrame({"x": [1.0]})), WANTED, settings(), "")
    assert champion.problem.startswith("these data do not fit its inputs: InvalidArgumentError: ")
    assert predictions is None
