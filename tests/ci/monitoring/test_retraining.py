"""The retraining decision table, and what is remembered for it."""

import itertools
import json
import multiprocessing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from ci.monitoring import memory
from ci.monitoring.retraining import Facts, decide
from ci.results.data import Window
from ci.results.monitoring import Attempt, Monitoring, Watched
from ci.results.report import Record
from ci.settings.watching import History, Retraining
from tests import builds

SETTINGS = Retraining(drifted_features=0.5, cooldown_days=7)
NOW = datetime(2013, 5, 1, tzinfo=UTC)
RELEASE = f"sha256:{'ab' * 32}"
REQUEST = "retrain-abababababab-2013-04-15"
TRAINED = date(2013, 4, 1)


def monitoring(prediction, features=("stable",), end="2013-04-15", first="2013-04-01", **more):
    told = builds.monitoring(prediction, features, rows=100, window={"first": first, "end": end}, **more)
    return Monitoring.model_validate_json(json.dumps(told))


def facts(seen, **more):
    return Facts(monitoring=seen, release=RELEASE, trained_as_of=TRAINED, as_of=seen.window.end, now=NOW, **more)


def attempt(as_of, *, hours=48, done=True, request=None):
    day = date.fromisoformat(as_of)
    name = request or f"retrain-abababababab-{as_of}"
    return Attempt(request=name, time=NOW - timedelta(hours=hours), as_of=day, cause="predictions", done=done)


def built(as_of, verdict):
    told = {"time": NOW, "commit": None, "as_of": date.fromisoformat(as_of), "model": "m", "version": "1"}
    told |= {"digests": {}, "primary": "auc", "verdict": verdict, "reason": "r", "gain": None, "release": None}
    return Record.model_construct(**told)


def window(end, *, first=None, asks=True, release=RELEASE):
    last = date.fromisoformat(end)
    days = Window(first=date.fromisoformat(first) if first else last - timedelta(days=1), end=last)
    return Watched(release=release, window=days, verdict="drifted", asks=asks)


FALL = {"name": "auc", "kind": "performance", "number": 0.6, "threshold": 0.65, "method": "m", "verdict": "drift"}


def fell(end, first, since=None):
    """Performance that fell on the mature days that end with the window, which may be longer."""
    checks = [{**FALL, "sentence": "auc is 0.6", "days": {"first": first, "end": end}}]
    return monitoring("stable", end=end, first=since or first, checks=checks)


DRIFTED = monitoring("drifted")
STABLE = monitoring("stable")
ONE = {"daily_budget": 1}
TRIED = [built("2013-04-03", "block"), built("2013-04-08", "keep")]
ASKED = [attempt("2013-04-03"), attempt("2013-04-08")]
TABLE = [
    # what is known, settings, cause, brake (None: retrain, "nothing": nothing asks), a part of the reason
    (facts(monitoring("too few rows")), {}, None, "nothing", "the window has only 100 rows"),
    (facts(monitoring("stable", ["stable"] * 2)), {}, None, "nothing", "only 0% of the features have"),
    (facts(monitoring("stable", ["drifted", "stable", "stable"])), {}, None, "nothing", "only 33% of the features"),
    (facts(monitoring("shifted")), {}, None, "nothing", "the predictions have not drifted"),
    (facts(monitoring("stable", ["drifted", "stable"])), {}, "features", None, "50% of the features drifted, 50% ask"),
    (facts(DRIFTED), {}, "predictions", None, "the predictions drifted (PSI 0.300)"),
    (
        facts(monitoring("stable", checks=[{**FALL, "sentence": "auc is 0.6"}])),
        {},
        "performance",
        None,
        "performance fell: auc is 0.6",
    ),
    (facts(STABLE), {"max_age_days": 14}, "age", None, "the model is 14 days old, 14 are the most"),
    (facts(STABLE), {"max_age_days": 15}, None, "nothing", "the predictions have not drifted"),
    (facts(STABLE, labelled=50), {"new_labels": 50}, "labels", None, "50 rows were labelled since"),
    (facts(STABLE, labelled=49), {"new_labels": 50}, None, "nothing", "have not drifted"),
    (facts(STABLE, by_hand=True), {}, "by hand", None, "somebody asked for it"),
    # data that cannot be trusted never lead to a retraining, by hand neither
    (facts(monitoring("broken")), {"max_age_days": 1}, None, "broken", "cannot be trusted"),
    (facts(monitoring("broken"), by_hand=True), {}, None, "broken", "cannot be trusted"),
    # one build at a time
    (facts(DRIFTED, running="build 7 runs"), {}, "predictions", "running", "build 7 runs, though the predictions"),
    (facts(STABLE, running="build 7 runs", by_hand=True), {}, "by hand", "running", "build 7 runs"),
    # the same data give the same model
    (facts(DRIFTED, attempts=[attempt("2013-04-15")]), {}, "predictions", "same data", "until 2013-04-15 already"),
    (facts(DRIFTED, builds=[built("2013-04-15", "keep")]), {}, "predictions", "same data", "until 2013-04-15 already"),
    (facts(STABLE, builds=[built("2013-04-15", "keep")], by_hand=True), {}, "by hand", "same data", "2013-04-15"),
    (facts(monitoring("drifted", end="2013-04-01")), {}, "predictions", "same data", "until 2013-04-01 already"),
    # what was broken off while it was asked for is asked for again, under its name
    (facts(DRIFTED, attempts=[attempt("2013-04-15", done=False)]), {}, "predictions", None, "the predictions drifted"),
    (facts(DRIFTED, attempts=[attempt("2013-04-15", hours=1, done=False)]), ONE, "predictions", None, "drifted"),
    # windows in a row: of this release, without one between that did not ask; age waits for none
    (facts(DRIFTED), {"windows": 2}, "predictions", "windows", "1 window in a row asked for it, 2 are required"),
    (facts(DRIFTED, watched=[window("2013-04-01")]), {"windows": 2}, "predictions", None, "drifted"),
    (facts(DRIFTED, watched=[window("2013-04-15")]), {"windows": 2}, "predictions", "windows", "1 window in a row"),
    (
        facts(DRIFTED, watched=[window("2013-03-31"), window("2013-04-01", asks=False)]),
        {"windows": 2},
        "predictions",
        "windows",
        "1 window",
    ),
    (facts(DRIFTED, watched=[window("2013-04-01", release="other")]), {"windows": 2}, "predictions", "windows", "1 w"),
    # windows that overlap hold the same rows: they count once
    (
        facts(DRIFTED, watched=[window(f"2013-04-{day}", first="2013-04-01") for day in (11, 12, 13, 14)]),
        {"windows": 2},
        "predictions",
        "windows",
        "1 window in a row",
    ),
    (
        facts(DRIFTED, watched=[window(f"2013-04-{day}", first="2013-03-25") for day in ("01", "02")]),
        {"windows": 2},
        "predictions",
        None,
        "drifted",
    ),
    (
        facts(DRIFTED, watched=[window("2013-04-01", first="2013-03-18"), window("2013-03-31", first="2013-03-17")]),
        {"windows": 3},
        "predictions",
        "windows",
        "2 windows in a row",
    ),
    (
        facts(DRIFTED, watched=[window("2013-04-01", first="2013-03-18"), window("2013-03-18", first="2013-03-11")]),
        {"windows": 3},
        "predictions",
        None,
        "drifted",
    ),
    (facts(STABLE), {"windows": 9, "max_age_days": 14}, "age", None, "14 days old"),
    # cooldown: days of new data; by hand needs none
    (facts(monitoring("drifted", end="2013-04-08")), {}, "predictions", None, "the predictions drifted"),
    (facts(monitoring("drifted", end="2013-04-07")), {}, "predictions", "cooldown", "6 days of new data, 7 are"),
    (facts(monitoring("stable", end="2013-04-02"), by_hand=True), {}, "by hand", None, "somebody"),
    # each try that did not replace the champion doubles it
    (facts(DRIFTED, builds=[built("2013-04-02", "keep")]), {}, "predictions", "no help", "13 days of new data, 14 are"),
    (facts(DRIFTED, builds=[built("2013-04-02", "keep")]), {"cooldown_days": 6}, "predictions", None, "drifted"),
    (facts(DRIFTED, builds=[built("2013-04-14", "block")]), {}, "predictions", "no help", "2013-04-14 (block)"),
    (facts(DRIFTED, attempts=[attempt("2013-04-14")]), {}, "predictions", "no help", "(no verdict)"),
    (facts(DRIFTED, builds=[built("2013-04-14", "keep")]), {"cooldown_days": 0}, "predictions", "no help", "1 days of"),
    (facts(DRIFTED, builds=[built("2013-04-01", "promote")]), {}, "predictions", None, "drifted"),
    # performance that fell in two periods, which the verdict takes, after the last try's data: that is new evidence,
    # and the plain cooldown is left
    (facts(fell("2013-04-22", "2013-04-15"), builds=TRIED), {}, "performance", None, "performance fell: auc is 0.6"),
    (facts(fell("2013-04-22", "2013-04-15"), attempts=ASKED), {}, "performance", None, "performance fell"),
    # with windows of two weeks the look before was two weeks ago, and its days are from before the last try's data end
    (facts(fell("2013-04-22", "2013-04-15", "2013-04-08"), builds=TRIED), {}, "performance", "no help", "14 days of"),
    (facts(fell("2013-04-29", "2013-04-22", "2013-04-15"), builds=TRIED), {}, "performance", None, "performance fell"),
    (facts(fell("2013-04-22", "2013-04-14"), builds=TRIED), {}, "performance", "no help", "14 days of new data, 28"),
    (facts(fell("2013-04-21", "2013-04-14"), builds=TRIED), {}, "performance", "no help", "13 days of new data, 28"),
    (
        facts(fell("2013-04-22", "2013-04-15"), builds=TRIED),
        {"cooldown_days": 15},
        "performance",
        "cooldown",
        "14 days of new data, 15 are required, though",
    ),
    (facts(fell("2013-04-22", "2013-04-15"), builds=TRIED, running="build 7 runs"), {}, "performance", "running", "7"),
    (facts(fell("2013-04-22", "2013-04-15"), builds=TRIED), {"windows": 2}, "performance", "windows", "1 window"),
    (
        facts(fell("2013-04-22", "2013-04-15"), builds=TRIED, attempts=[attempt("2013-03-01", hours=1)]),
        ONE,
        "performance",
        "budget",
        "1 are the most",
    ),
    (facts(monitoring("drifted", end="2013-04-22"), builds=TRIED), {}, "predictions", "no help", "14 days of new data"),
    (facts(monitoring("stable", end="2013-04-22"), builds=TRIED), {"max_age_days": 14}, "age", "no help", "28 are"),
    # at most so many within a day
    (facts(DRIFTED, attempts=[attempt("2013-03-01", hours=23)]), ONE, "predictions", "budget", "1 are the most"),
    (facts(DRIFTED, attempts=[attempt("2013-03-01", hours=24)]), ONE, "predictions", None, "drifted"),
    (facts(STABLE, attempts=[attempt("2013-03-01", hours=1)], by_hand=True), ONE, "by hand", None, ""),
]  # fmt: skip


@pytest.mark.parametrize(("known", "changed", "cause", "brake", "reason"), TABLE)
def test_the_first_rule_that_applies_decides(known, changed, cause, brake, reason):
    decision = decide(known, Retraining.model_validate({**SETTINGS.model_dump(), **changed}))
    assert (decision.retrain, decision.cause) == (brake is None, cause), decision
    assert decision.brake == (None if brake == "nothing" else brake)
    assert reason in decision.reason
    assert str(decision).startswith("retrain because" if decision.retrain else "not now because")


def test_the_same_finding_has_the_same_name():
    assert facts(DRIFTED).request == facts(monitoring("drifted", ["drifted"])).request == REQUEST
    assert facts(monitoring("drifted", end="2013-04-16")).request != REQUEST


def week_before(end):
    """A window in which performance fell on the mature days of the week before its end."""
    return fell(str(end), str(end - timedelta(days=7)))


@pytest.mark.parametrize("seen_at", [lambda end: monitoring("drifted", end=str(end)), week_before])
@pytest.mark.parametrize(("helps", "most"), [(False, 3), (True, 5)])
def test_a_month_of_constant_drift_makes_no_storm(helps, most, seen_at):
    """The monitor looks each hour. Either no new model is better, or each is and drift goes on all the same."""
    trained, attempts, started = TRAINED, [], []
    for hour in range(24 * 31):
        now = datetime(2013, 4, 2, tzinfo=UTC) + timedelta(hours=hour)
        seen = seen_at(now.date())
        known = replace(facts(seen, attempts=attempts), now=now, trained_as_of=trained)
        if decide(known, SETTINGS).retrain:
            attempts = [
                *attempts,
                Attempt(request=known.request, time=now, as_of=now.date(), cause="predictions", done=True),
            ]
            started.append(now.date())
            trained = now.date() if helps else trained
    assert 1 <= len(started) <= most
    assert len(set(started)) == len(started)


def _watch(folder):
    for day in range(1, 8):
        memory.watch(window(f"2013-04-{day + 7:02}"), History(folder=folder))


def test_two_monitors_at_once_record_each_window_once(tmp_path):
    workers = [multiprocessing.get_context("spawn").Process(target=_watch, args=(str(tmp_path),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert sorted(each.window.end.day for each in memory.watched(History(folder=str(tmp_path)))) == list(range(8, 15))


def test_a_window_that_is_watched_again_replaces_what_was_recorded_and_the_oldest_go(tmp_path):
    settings = History(folder=str(tmp_path), keep=2)
    for asks in (True, False):
        memory.watch(window("2013-04-10", asks=asks), settings)
    assert memory.watched(settings) == [window("2013-04-10", asks=False)]
    for day in (11, 12):
        memory.watch(window(f"2013-04-{day}"), settings)
    assert [each.window.end.day for each in memory.watched(settings)] == [11, 12]


def test_only_one_may_begin_a_retraining(tmp_path):
    settings = History(folder=str(tmp_path))
    with memory.alone(settings) as first, memory.alone(settings) as second:
        assert first is not None
        assert second is None
    with memory.alone(settings) as again:
        assert again is not None


def _watch_for_ever(folder):
    for number in itertools.count():
        memory.watch(window(f"2013-04-{number % 28 + 2:02}"), History(folder=folder))


def test_a_monitor_that_is_killed_leaves_whole_records_and_no_lock(tmp_path):
    settings = History(folder=str(tmp_path))
    worker = multiprocessing.get_context("spawn").Process(target=_watch_for_ever, args=(str(tmp_path),))
    worker.start()
    while len(memory.watched(settings)) < 5:
        assert worker.is_alive()
    worker.kill()
    worker.join()
    assert len(memory.watched(settings)) >= 5
    memory.watch(window("2013-05-20"), settings)
    assert memory.watched(settings)[-1] == window("2013-05-20")
