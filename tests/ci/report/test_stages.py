"""Which stages belong to this build, and the one line that says what was decided."""

from dataclasses import replace

import pytest

from ci.report import build as builder
from ci.report import stages
from tests import builds


@pytest.fixture(autouse=True)
def _start(build):
    """Begin with a complete build."""


def look():
    existing = frozenset(stage.result for stage in stages.SHOWN if stage.result.exists())
    build = builder.read()
    found = stages.standings(build, existing)
    return found, stages.headline(build, found)


def test_a_complete_build_is_current_and_its_headline_has_verdict_reason_and_release():
    found, headline = look()
    assert all(standing.current for standing in found.values())
    assert headline == "promote: auc 0.0200 better than the champion's; release 2 is serving"
    assert [name for name, standing in found.items() if standing.state == "attention"] == [
        "prepare",
        "monitor",
        "retrain",
    ]


@pytest.mark.parametrize("stage", stages.SHOWN, ids=lambda stage: stage.name)
def test_what_was_made_from_a_missing_result_is_of_an_earlier_build(stage):
    stage.result.unlink()
    found, headline = look()
    behind = {stage.name}
    for other in stages.SHOWN:  # they are in order
        if behind & set(other.reads):
            behind.add(other.name)
    assert {name for name, standing in found.items() if not standing.current} == behind
    assert found[stage.name].state == "missing"
    assert {found[name].state for name in behind - {stage.name}} <= {"stale"}
    assert headline.startswith("no verdict yet" if "test" in behind else "promote")


@pytest.mark.parametrize(
    ("path", "values", "stage"),
    [
        ("data/summary.json", {"as_of": "2013-05-01"}, "prepare"),
        ("model/training.json", {"hyperparameters": {"depth": 9}}, "train"),
        ("evaluation/evaluation.json", {"as_of": "2013-05-01"}, "test"),
        ("package/manifest.json", {"as_of": "2013-05-01"}, "package"),
        ("rollout/rollout.json", {"digest": builds.BEFORE}, "deploy"),
        ("monitoring/monitoring.json", {"window": {"first": "2013-05-01", "end": "2013-05-15"}}, "monitor"),
        ("retraining/decision.json", {"as_of": "2013-05-01"}, "retrain"),
    ],
)
def test_a_result_that_contradicts_what_it_was_made_from_is_stale(path, values, stage):
    builds.change(path, **values)
    found, _ = look()
    assert found[stage].state == "stale"


@pytest.mark.parametrize(
    ("values", "clause"),
    [
        ({"action": "deploy", "release": 2}, "release 2 is serving"),
        ({"action": "nothing", "release": 1}, "release 1 keeps serving"),
        ({"action": "nothing", "release": None}, "nothing is serving"),
        (
            {"action": "deploy", "failed": "golden prediction 3 is off"},
            "the rollout failed: golden prediction 3 is off",
        ),
        ({"action": "refuse", "failed": "blocked"}, "release 1 keeps serving"),
        ({"action": "refuse", "failed": "blocked", "before": None}, "nothing is serving"),
    ],
)
def test_the_headline_says_what_serves_now(values, clause):
    builds.change("rollout/rollout.json", **values)
    assert look()[1].endswith(f"; {clause}")


@pytest.mark.parametrize(
    ("served", "rollout", "clause"),
    [
        ((1, True), {"action": "deploy", "release": 1}, "release 1 is serving"),
        ((1, True), {"action": "nothing", "release": 1}, "release 1 keeps serving"),
        ((3, True), {"action": "roll back", "release": 3}, "release 3 is serving"),
        ((2, True), {"action": "nothing", "release": 1}, "release 2 is serving"),
        ((1, False), {"action": "nothing", "release": 1}, "release 1 is to serve and does not: `make serve` starts it"),
        (
            (1, False),
            {"action": "deploy", "failed": "it hangs"},
            "the rollout failed: it hangs; release 1 is to serve and does not: `make serve` starts it",
        ),
    ],
)
def test_what_was_found_to_serve_comes_before_what_the_rollout_wrote(served, rollout, clause):
    builds.change("rollout/rollout.json", **rollout)
    build = replace(builder.read(), served=builder.Served(release=served[0], serves=served[1]))
    assert stages.serving(build) == clause


def test_a_blocked_model_and_a_task_without_a_node_count_as_failed():
    builds.change("evaluation/evaluation.json", verdict="block")
    builds.change("placement/plan.json", unplaced=["serving-0"])
    found, _ = look()
    assert found["test"].state == found["place"].state == "failed"
