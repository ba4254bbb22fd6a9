"""What a rollout leaves: a test case for all that was done and measured, whether it went well, badly, or not at all."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ci import junit, workspace
from ci.errors import InputError, StageError
from ci.results.rollout import STEPS, SUMMARY
from ci.rollout import outcome
from tests.ci.rollout import journals

BESIDE = ["start", "wait (loading)", "smoke", "join", "analyse"]
LATENCY = ["latency p50", "latency p99"]
TAKING_OVER = ["promote", "wait (rolling)", "verify", "record", "retire"]


def ended(case: junit.Case) -> str:
    return "failed" if case.problem is not None else "skipped" if case.skipped else "passed"


@pytest.mark.parametrize(
    ("rollout", "names", "failed", "skipped"),
    [
        (
            journals.first_on_this_machine(),
            ["start", "wait (loading)", "smoke", "promote", "verify", "record"],
            set(),
            set(),
        ),
        (
            journals.good_on_a_cluster(),
            [*BESIDE, "error rate", "refused", "not finite", *LATENCY, "predictions", *TAKING_OVER],
            set(),
            set(),
        ),
        (journals.smoke_failed(), ["start", "wait (loading)", "smoke", "abort"], {"smoke", "abort"}, set()),
        (
            journals.analysis_failed(),
            [*BESIDE, "error rate", "latency p99", "predictions", "abort"],
            {"analyse", "latency p99", "abort"},
            {"error rate", "predictions"},
        ),
        (([], {"action": "refuse", "reason": "blocked", "failed": "not deployed: x"}), ["refuse"], {"refuse"}, set()),
        (([], {"action": "nothing", "reason": "this image is already serving"}), ["nothing"], set(), set()),
        (([], {"failed": "SHA256SUMS: a file was changed"}), ["deployment"], {"deployment"}, set()),
    ],
)
def test_every_step_and_measure_is_a_case_and_a_decision_without_steps_too(
    rollout: tuple[list[Any], dict[str, Any]], names: list[str], failed: set[str], skipped: set[str]
) -> None:
    steps, summary = rollout
    cases = outcome.cases(steps, summary, summary.get("failed"))
    assert [case.name for case in cases] == names
    assert {case.name for case in cases if ended(case) == "failed"} == failed
    assert {case.name for case in cases if ended(case) == "skipped"} == skipped


def test_a_measure_that_waited_for_more_is_a_failure_where_that_ended_the_rollout() -> None:
    few = "310 predictions are too few to compare (at least 500)"
    measures = [
        journals.measure("error rate", "pass", 0.0, 0.01),
        journals.measure("predictions", "wait", None, 0.25, few),
    ]
    both = {journals.OLD: "serving", journals.NEW: "sharing"}
    reason = f"the canary had too little traffic to be judged in 600 s: {few}"
    [entry] = journals.journal(("analyse", 600.0, both, {"requests": 310, "measures": measures, "failed": reason}))
    _, passed, waited = outcome.cases([entry], journals.summary(), reason)
    assert (ended(passed), ended(waited), waited.problem) == ("passed", "failed", few)


def test_a_case_says_how_long_it_took_and_what_was_measured() -> None:
    steps, summary = journals.good_on_a_cluster()
    cases = {case.name: case for case in outcome.cases(steps, summary, None)}
    assert cases["analyse"].seconds == 10.0
    assert "golden: 8" in cases["smoke"].measured
    assert "for: pod a: it is loading" in cases["wait (loading)"].measured
    assert "limit: 0.052" in cases["latency p99"].measured


def test_a_step_that_is_taken_again_has_a_name_of_its_own() -> None:
    seen = {journals.OLD: "serving", journals.NEW: "loading"}
    steps = journals.journal(("wait", 1.0, seen), ("smoke", 0.1, seen), ("wait", 1.0, seen), ("start", 0.1, {}))
    steps[-1]["digest"] = journals.OLD
    names = [case.name for case in outcome.cases(steps, journals.summary(), None)]
    assert names == ["wait (loading)", "smoke", "wait (loading) 2", "start, release 1"]


@pytest.mark.parametrize("kind", [StageError, InputError])
def test_results_are_written_when_a_deployment_fails_and_nothing_of_the_last_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (STEPS.path, SUMMARY.path, outcome.JUNIT):
        workspace.write_text(path, "of the last one")

    def fail() -> None:
        with outcome.written() as begin:
            begin()
            assert not any(path.exists() for path in (STEPS.path, SUMMARY.path, outcome.JUNIT))
            raise kind("the port is taken")

    with pytest.raises(kind, match="the port is taken"):
        fail()
    suite = ElementTree.parse(outcome.JUNIT).find("testsuite")  # noqa: S314 - written by us
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")


@pytest.mark.parametrize("under_way", [False, True])
def test_what_fails_before_it_begins_leaves_no_results_of_the_last_time_but_those_that_another_is_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, under_way: bool
) -> None:
    monkeypatch.chdir(tmp_path)

    def fail(kind: type[BaseException]) -> None:
        with pytest.raises(kind), outcome.written():
            raise kind("the package was changed")

    with outcome.written() if under_way else nullcontext():
        for kind in (StageError, InputError, OSError, KeyboardInterrupt):
            for path in (STEPS.path, SUMMARY.path, outcome.JUNIT):
                workspace.write_text(path, "of the last one")
            fail(kind)
            left = {path for path in (STEPS.path, SUMMARY.path, outcome.JUNIT) if path.exists()}
            assert len(left) == (3 if under_way else 0)


def test_an_interrupt_is_a_failure_in_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def interrupted() -> None:
        with outcome.written() as begin:
            begin()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "it was interrupted" in outcome.JUNIT.read_text()


def test_nobody_waits_for_ever_for_another_deployment_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outcome, "_PATIENCE", 0.2)
    with outcome.written() as begin:
        begin()
        with pytest.raises(StageError, match="another deployment of this checkout"), outcome.written() as second:
            second()
    assert outcome.JUNIT.exists()
