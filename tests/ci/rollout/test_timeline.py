"""The timeline says in its title what came of a rollout, and shows who served at each moment."""

from typing import Any

import pytest

from ci.rollout import timeline
from tests.ci.rollout import journals
from tests.ci.rollout.journals import NEW, OLD


def restarted(**left: str) -> tuple[list[Any], dict[str, Any]]:
    """Release 1 does not serve when a deployment has nothing to do: it is started again, which fails if `left`."""
    reason = "port 8501 is in use"
    steps = journals.journal(
        ("start", 0.5, {}), ("abort", 0.5, {}, {"reason": reason, "left": left}) if left else ("verify", 0.5, {})
    )
    summary = {**journals.summary(), "action": "nothing"}
    return [{**step, "digest": OLD} for step in steps], summary


def lost() -> tuple[list[Any], dict[str, Any]]:
    """The cluster cannot be reached any more when the rollout is aborted."""
    steps, summary = journals.smoke_failed()
    del steps[-1]["left"]
    return steps, summary


def brought_back(failed: str = "") -> tuple[list[Any], dict[str, Any]]:
    """Somebody asks for an earlier version in the place of release 1, which may fail."""
    steps = journals.journal(
        ("start", 2.0, {OLD: "serving"}),
        ("abort", 0.5, {OLD: "serving", NEW: "loading"}, {"reason": failed, "left": {OLD: "serving"}})
        if failed
        else ("record", 0.5, {NEW: "serving"}),
    )
    return steps, journals.summary(action="roll back", release=2)


def again_after_an_abort() -> tuple[list[Any], dict[str, Any]]:
    """Release 1 ended while the new version was tried, and is started again."""
    steps, summary = journals.smoke_failed()
    steps[-1]["left"] = {}
    later = journals.journal(("start", 5.0, {}), ("verify", 0.5, {OLD: "serving"}))
    return [*steps, *({**step, "digest": OLD} for step in later)], summary


@pytest.mark.parametrize(
    ("rollout", "title"),
    [
        (journals.first_on_this_machine(), "Version 20130401 serves as release 1 after 4.0 s."),
        (
            journals.good_on_a_cluster(600.0),
            "Version 20130401 serves as release 2 after 10 min 17 s, in the place of release 1.",
        ),
        (
            journals.smoke_failed(),
            "Version 20130401 was rolled back after 4.0 s, before any request met it: golden prediction 0 is 5.35, "
            "evaluated as 5.36: they differ by more than 1e-05; release 1 serves.",
        ),
        (
            journals.analysis_failed(),
            "Version 20130401 was rolled back after 20 s: the canary's traffic is worse than the stable version's: "
            "latency p99 is 310.0 ms against 12.4 ms (limit 28.6 ms); release 1 serves.",
        ),
        (brought_back(), "Version 20130401 serves as release 2 after 2.5 s, in the place of release 1."),
        (
            brought_back("it hangs"),
            "Version 20130401 was not brought back, but given up after 2.5 s, before any request met it: "
            "it hangs; release 1 serves.",
        ),
        (restarted(), "Release 1 was not serving, and was started again in 1.0 s."),
        (
            restarted(other="failed"),
            "Release 1 could not be started again (1.0 s): port 8501 is in use; nothing serves.",
        ),
    ],
)
def test_the_title_says_in_a_sentence_what_came_of_it(rollout: tuple[list[Any], dict[str, Any]], title: str) -> None:
    assert timeline.describe(*rollout).title == title


@pytest.mark.parametrize(
    ("rollout", "end", "after"),
    [
        (lost(), "; what serves could not be seen.", None),
        (again_after_an_abort(), "; release 1 serves.", ("before", "release 1")),
        (journals.good_on_a_cluster(), "in the place of release 1.", ("new", "release 2")),
    ],
)
def test_what_serves_in_the_end_is_what_was_seen_last(
    rollout: tuple[list[Any], dict[str, Any]], end: str, after: tuple[str, str] | None
) -> None:
    shown = timeline.describe(*rollout)
    assert shown.title.endswith(end)
    assert shown.after == after


@pytest.mark.parametrize(
    ("rollout", "lane"),
    [
        (journals.first_on_this_machine(), [("nothing", 3.72), ("new", 3.97)]),
        (journals.good_on_a_cluster(), [("before", 7.1), ("both", 25.7), ("new", 26.9)]),
        (journals.smoke_failed(), [("before", 4.0)]),
        (journals.analysis_failed(), [("before", 7.1), ("both", 20.4)]),
    ],
)
def test_the_lane_has_no_gaps_and_says_who_served_until_when(
    rollout: tuple[list[Any], dict[str, Any]], lane: list[tuple[str, float]]
) -> None:
    spans = timeline.describe(*rollout).lane
    assert [(span.serving, pytest.approx(span.end, abs=0.11)) for span in spans] == lane
    assert [span.begin for span in spans] == [0.0, *(span.end for span in spans[:-1])]


def test_a_rollout_that_is_continued_shows_the_pods_of_both_while_they_roll() -> None:
    both = {OLD: "serving", NEW: "sharing"}
    steps = journals.journal(("promote", 0.1, both), ("wait", 5.0, {NEW: "rolling"}), ("verify", 0.5, {NEW: "serving"}))
    assert [span.serving for span in timeline.describe(steps, journals.summary(release=2)).lane] == ["both", "new"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "< 0.1 s"), (0.05, "0.1 s"), (9.94, "9.9 s"), (9.96, "10 s"), (119.4, "119 s"), (119.6, "2 min 0 s")],
)
def test_durations_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert timeline.duration(seconds) == words
