"""Drills week by week: captured requests, labels that come late, the checks, and the decision to retrain."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ci.capture import records
from ci.data.reference import describe, describe_predictions
from ci.monitoring import cohorts, known, labels, memory
from ci.monitoring.monitor import Traffic, monitor
from ci.monitoring.retraining import Facts, decide
from ci.quality import periods
from ci.results.data import Window
from ci.results.monitoring import MONITORING, Attempt
from ci.settings import Settings
from ci.settings.watching import Retraining
from ci.task import Field, Output, Task

MONDAY = datetime(2013, 4, 1, tzinfo=UTC)
TRAINED = date(2013, 4, 1)
TASK = Task((Output("late", "binary", ("late",)),), "day", {"temp": Field("float32"), "carrier": Field("string")}, ())
SETTINGS = Settings.model_validate(
    {"schema_version": 1, "as_of": TRAINED, "model": {"name": "demo"}, "labels": {"maturity_days": 3}}
)


def requests(week, per_day=100, warmer=0.0):
    """Captured requests of a week with a model that knows something, and what turned out."""
    random = np.random.default_rng(week + 100)
    count = 7 * per_day
    start = MONDAY + timedelta(weeks=week)
    times = pd.Series([start + timedelta(days=n // per_day, hours=12) for n in range(count)])
    said = random.random(count)
    return pd.DataFrame(
        {
            records.ID: [f"w{week}-{n}" for n in range(count)],
            records.TIME: times,
            records.VERSION: "1",
            "temp": (random.normal(55, 15, count) + random.normal(0, 2) + warmer).round(),
            "carrier": random.choice(["UA", "DL", "AA"], count),
            "prediction": said,
            "late": (random.random(count) < 0.2 + 0.6 * said).astype(float),
        }
    )


@pytest.fixture(scope="module")
def reference():
    """What the test stage records of the ten weeks before."""
    before = pd.concat([requests(week) for week in range(-10, 0)], ignore_index=True)
    period = periods.number(before[records.TIME].dt.tz_localize(None), 7)
    found = {"features": describe(before, TASK.features)}
    found["predictions"] = {"prediction": describe_predictions(before["prediction"])}
    counted = (
        periods.count(before, found["features"], period),
        periods.count({"prediction": before["prediction"]}, found["predictions"], period),
    )
    days = {"features": 70, "predictions": 14}
    found["periods"] = {"length": 7, "days": days, "features": counted[0], "predictions": counted[1]}
    found["expected"] = [{"metric": "auc", "value": 0.67, "low": 0.64, "high": 0.7}]
    return {**found, "days": 14}


@pytest.fixture
def live(tmp_path, monkeypatch, reference):
    """Live some weeks, and return of each what was seen and decided."""
    monkeypatch.chdir(tmp_path)
    folder = Path(SETTINGS.history.folder) / "requests"

    def run(weeks, delay=1.0, retraining=None):
        shown, attempts, told = {}, [], []
        every = pd.DataFrame()
        for week, rows in enumerate(weeks):
            now = MONDAY + timedelta(weeks=week + 1, hours=1)
            first = (now - timedelta(days=7)).date()
            every = pd.concat([every, rows], ignore_index=True)
            outcomes = every[[records.ID, "late"]].assign(**{"known at": every[records.TIME] + timedelta(days=delay)})
            come = outcomes[outcomes["known at"] <= pd.Timestamp(now)]
            joined = labels.join(every.drop(columns="late"), come, [records.ID], ["late"])
            cohorts.keep(folder, joined.table)
            days = labels.maturity(joined, ["late"], now, 0.95)
            watermark = labels.watermark(joined, now, days)
            said = {"counts": joined.counts, "maturity_days": days, "method": "m", "watermark": watermark}
            memory.labels(SETTINGS.history).write(
                {**said, "watermark": watermark and str(watermark), "labelled": {}, "source": "labelled"}
            )
            others = known.judged(SETTINGS, TASK, reference, "1")
            fields = rows[[records.ID, records.TIME, *TASK.features]]
            window = Window(first=first, end=now.date())
            traffic = Traffic("captured", window, len(rows), [(fields, {"late": rows["prediction"].to_numpy()})])
            monitor(SETTINGS, traffic, reference, TASK, others=others, before=shown)
            seen = MONITORING.read()
            shown = seen.shown
            as_of = watermark or seen.window.end
            facts = Facts(seen, "sha256:ab", TRAINED, as_of, now, attempts=attempts)
            decision = decide(facts, retraining or Retraining(cooldown_days=0))
            if decision.retrain:
                made = Attempt(request=facts.request, time=now, as_of=as_of, cause=decision.cause, done=True)
                attempts = [*attempts, made]
            told.append((seen, decision))
        return told

    return run


def checked(seen, name):
    return next((check.verdict for check in seen.checks if check.name == name), None)


def test_ordinary_weeks_are_ok_and_say_where_the_thresholds_come_from(live):
    told = live([requests(week) for week in range(3)])
    assert [(seen.verdict, seen.overall, decision.retrain) for seen, decision in told] == [("stable", "ok", False)] * 3
    methods = {check.kind: check.method for check in told[-1][0].checks}
    assert methods["feature"].endswith("n = 10 left-out periods, level 0.091 over all features")
    assert methods["prediction"].endswith("level 0.091 over all predictions")
    assert methods["performance"].startswith("Welch's t at level 0.005")


def test_labels_that_are_flipped_for_a_week_are_watched_and_a_second_week_of_them_retrains(live):
    weeks = [requests(week) for week in range(4)]
    wrong = [rows.assign(late=1 - rows["late"]) for rows in weeks]
    told = live([weeks[0], wrong[1], weeks[2], weeks[3]])
    assert [checked(seen, "auc") for seen, _ in told] == ["ok", "watch", "ok", "ok"]
    assert not any(decision.retrain for _, decision in told)
    assert told[1][0].shown["auc"] == "drift"
    assert told[1][0].overall == "watch"
    told = live([weeks[0], wrong[1], wrong[2]])
    assert checked(told[2][0], "auc") == "drift"
    assert (told[2][1].retrain, told[2][1].cause) == (True, "performance")
    assert told[2][0].why.startswith("auc is 0.3")


def test_performance_that_stays_low_is_new_evidence_every_two_weeks_though_no_try_helped(live):
    weeks = [requests(week) for week in range(7)]
    told = live([rows.assign(late=1 - rows["late"]) for rows in weeks], retraining=Retraining(cooldown_days=7))
    assert [decision.retrain for _, decision in told] == [False, True, False, True, False, True, False]
    assert {decision.brake for _, decision in told[2::2]} == {"no help"}
    (last,) = [check.days for check in told[-1][0].checks if check.name == "auc"]
    assert (last.end - last.first, last.end) == (timedelta(days=7), told[-1][0].window.end - timedelta(days=1))


def test_labels_that_take_a_month_are_waited_for_and_wrong_ones_are_found_a_month_later(live):
    weeks = [requests(week) for week in range(7)]
    told = live([weeks[0].assign(late=1 - weeks[0]["late"]), *weeks[1:]], delay=30)
    assert [checked(seen, "auc") for seen, _ in told] == [*[None] * 4, "watch", "ok", "ok"]
    assert told[4][0].shown["auc"] == "drift"
    assert not any(decision.retrain for _, decision in told)


def test_a_month_of_constant_drift_is_told_each_week_and_makes_no_storm(live):
    told = live([requests(week, warmer=60) for week in range(5)], retraining=Retraining(cooldown_days=7))
    assert [checked(seen, "temp distribution") for seen, _ in told] == ["watch", *["drift"] * 4]
    assert [decision.retrain for _, decision in told] == [False, True, False, True, False]
    assert [decision.brake for _, decision in told] == ["cooldown", None, "no help", None, "no help"]
    assert "; most moved " in told[1][0].why


def test_a_sensor_in_celsius_or_one_that_is_gone(live):
    cold, gone = (requests(week) for week in (1, 2))
    cold.loc[100:, "temp"] = (cold.loc[100:, "temp"] - 32) / 1.8
    told = live([requests(0), cold, gone.assign(temp=np.nan)])
    assert (checked(told[1][0], "temp distribution"), told[1][1].cause) == ("watch", "features")
    assert told[1][1].retrain
    assert (told[2][0].verdict, told[2][0].overall) == ("broken", "broken")
    assert (told[2][1].retrain, told[2][1].brake) == (False, "broken")
