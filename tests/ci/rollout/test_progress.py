"""Whoever watches a rollout reads a line for each step, and for each change of what it waits for."""

from typing import Any

import pytest

from ci.rollout.progress import Progress
from tests.ci.rollout import journals


class Watched:
    """A rollout's progress, with a clock that is put forward by hand."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.now = 100.0
        self.progress = Progress(self.lines.append, lambda: self.now)


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.mark.parametrize(
    ("rollout", "lines"),
    [
        (
            journals.first_on_this_machine(),
            """start, 0.6 s
            wait, 2.7 s
            smoke: passed, 8 golden predictions, 0.4 s
            promote, 0.0 s
            verify: passed, 8 golden predictions, 0.2 s
            record, 0.1 s""",
        ),
        (
            journals.good_on_a_cluster(),
            """start, 0.2 s
            wait, 6.1 s
            smoke: passed, 8 golden predictions, 0.7 s
            join, 0.1 s
            analyse: passed, 1,310 requests, 10.0 s
            promote, 0.1 s
            wait, 8.4 s
            verify: passed, 8 golden predictions from 2 servers, 0.9 s
            record, 0.1 s
            retire, 0.2 s""",
        ),
    ],
)
def test_each_step_that_ends_is_a_line(watched: Watched, rollout: tuple[list[Any], dict[str, Any]], lines: str) -> None:
    for entry in rollout[0]:
        watched.progress.ended(entry)
    assert watched.lines == [line.strip() for line in lines.splitlines()]


def test_captured_requests_that_were_compared_are_counted(watched: Watched) -> None:
    [entry] = journals.journal(("verify", 2.0, {}, {**journals.CHECKED, "skew": {"compared": 120}}))
    watched.progress.ended(entry)
    watched.progress.ended({**entry, "placed": "1 of 2 pods are on the plan's nodes: q is on c"})
    said = "verify: passed, 8 golden predictions, 120 captured requests"
    assert watched.lines == [f"{said}, 2.0 s", f"{said}; 1 of 2 pods are on the plan's nodes: q is on c, 2.0 s"]


def test_a_reason_is_said_when_a_step_fails_and_not_again_by_the_abort(watched: Watched) -> None:
    for entry in journals.smoke_failed()[0][-2:]:
        watched.progress.ended(entry)
    failed, abort = watched.lines
    assert failed.startswith("smoke: failed after 0.4 s: version 20130401: golden prediction 0 is 5.35")
    assert abort == "abort: 0.3 s"
    [reason] = journals.journal(("abort", 0.5, {}, {"reason": "the new version's\nprocess hangs"}))
    watched.progress.ended(reason)
    assert watched.lines[-1] == "abort: 0.5 s: the new version's process hangs"


def test_a_wait_is_a_line_when_its_reason_changes_or_after_long_silence(watched: Watched) -> None:
    for second in range(45):
        watched.now = 100.0 + second
        watched.progress.waits("wait", "pod a: it is loading" if second >= 3 else "it has no pods yet")
    assert watched.lines == [
        "wait: 0 s, it has no pods yet",
        "wait: 3 s, pod a: it is loading",
        "wait: 33 s, pod a: it is loading",
    ]


def test_a_second_wait_begins_anew(watched: Watched) -> None:
    watched.progress.waits("wait", "loading")
    watched.now += 20
    watched.progress.ended(journals.first_on_this_machine()[0][1])
    watched.progress.waits("wait", "loading")
    assert watched.lines == ["wait: 0 s, loading", "wait, 2.7 s", "wait: 0 s, loading"]


def test_an_analysis_is_a_line_when_other_measures_are_undecided_than_before(watched: Watched) -> None:
    few = "{} predictions are too few to compare (at least 500)"
    for requests in (0, 210, 400, 620):
        undecided = "wait" if requests < 500 else "pass"
        measures = [
            journals.measure("error rate", "wait" if requests < 100 else "pass", 0.0, 0.01, f"0 of {requests} failed"),
            journals.measure("predictions", undecided, None, 0.25, few.format(requests)),
        ]
        watched.progress.watches("analyse", {"requests": requests, "measures": measures})
        watched.now += 6
    assert watched.lines == [
        "analyse: 0 requests in 0 s, still waiting: 0 of 0 failed; 0 predictions are too few to compare (at least 500)",
        "analyse: 210 requests in 6 s, still waiting: 210 predictions are too few to compare (at least 500)",
        "analyse: 620 requests in 18 s, no measure is worse so far",
    ]
