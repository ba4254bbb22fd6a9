"""Drills with what gateways captured: from requests to the verdict and the decision."""

import json
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ci.capture import records
from ci.data.reference import describe, describe_predictions
from ci.monitoring import cohorts, known, windows
from ci.monitoring.monitor import captured, monitor, nothing
from ci.monitoring.retraining import Facts, decide
from ci.results.monitoring import MONITORING
from ci.settings import Settings
from ci.settings.watching import Retraining
from ci.task import Field, Output, Task

NOW = datetime(2013, 4, 15, 1, tzinfo=UTC)  # a Monday
TASK = Task((Output("late", "binary", ("late",)),), "day", {"temp": Field("float32"), "carrier": Field("string")}, ())
SETTINGS = Settings.model_validate({"schema_version": 1, "as_of": date(2013, 4, 1), "model": {"name": "demo"}})


def requests(days=7, per_day=100, seed=1):
    """Rows of the days before `NOW`."""
    random = np.random.default_rng(seed)
    count = days * per_day
    start = NOW.replace(hour=0) - timedelta(days=days)
    return pd.DataFrame(
        {
            "time": [start + timedelta(minutes=1440 / per_day * n) for n in range(count)],
            "temp": random.normal(55, 15, count).round(),
            "carrier": random.choice(["UA", "DL", "AA"], count),
            "prediction": random.random(count),
        }
    )


def entries(table):
    """What a gateway would have captured of these rows."""
    for number, row in enumerate(table.itertuples()):
        fields = {"temp": None if np.isnan(row.temp) else row.temp, "carrier": row.carrier}
        yield {
            "number": number,
            "id": f"r{number}",
            "time": row.time.isoformat(),
            "status": 200,
            "request": json.dumps({"instances": [fields]}),
            "response": json.dumps({"predictions": [row.prediction]}),
        }


@pytest.fixture
def watch(tmp_path, monkeypatch):
    """Return the result for captured rows, and the decision about it."""
    monkeypatch.chdir(tmp_path)
    before = requests(30, 200, seed=2)
    reference = {"features": describe(before, TASK.features)}
    reference["predictions"] = {"prediction": describe_predictions(before["prediction"])}

    def run(table):
        traffic, counts = captured({"pod": list(entries(table))}, TASK, SETTINGS.monitoring, NOW)
        monitor(SETTINGS, traffic, reference, TASK)
        seen = MONITORING.read()
        facts = Facts(seen, "sha256:ab", date(2013, 4, 1), seen.window.end, NOW)
        return seen, decide(facts, Retraining()), counts

    return run


def test_an_ordinary_week_is_stable(watch):
    seen, decision, counts = watch(requests())
    assert (seen.verdict, seen.source, decision.retrain, counts) == ("stable", "captured", False, {"read": 700})
    assert (str(seen.window.first), str(seen.window.end)) == ("2013-04-08", "2013-04-15")
    assert {check.verdict for check in seen.checks} == {"ok"}


def test_a_sensor_in_celsius_is_drift_of_a_feature(watch):
    table = requests()
    table.loc[100:, "temp"] = (table.loc[100:, "temp"] - 32) / 1.8
    seen, decision, _ = watch(table)
    assert next(each for each in seen.features if each.name == "temp").verdict == "drifted"
    assert (decision.retrain, decision.cause) == (True, "features")


def test_when_a_sensor_is_gone_the_data_are_broken_and_nothing_is_trained_on_them(watch):
    seen, decision, _ = watch(requests().assign(temp=np.nan, prediction=0.99))
    assert seen.verdict == "broken"
    assert seen.reason.startswith("temp: 100.0% of the values are missing")
    assert (decision.retrain, decision.brake) == (False, "broken")


def test_a_new_carrier_is_named_and_watched(watch):
    table = requests()
    table.loc[::35, "carrier"] = "ZZ"
    seen, decision, _ = watch(table)
    [found] = [check for check in seen.checks if check.verdict != "ok" and check.name == "carrier unseen"]
    assert found.verdict == "watch"
    assert found.sentence.startswith("carrier: 2.9% of the values were not seen before")
    assert not decision.retrain


def test_a_clock_that_is_ahead_is_counted_and_moves_no_window(watch):
    table = requests()
    table.loc[690:, "time"] = NOW + timedelta(days=300)
    seen, _, counts = watch(table)
    assert counts == {"read": 700, "from the future": 10}
    assert (seen.rows, str(seen.window.end)) == (690, "2013-04-15")


def test_after_traffic_stopped_there_is_no_verdict_of_what_was_before(watch):
    table = requests()
    seen, decision, _ = watch(table.assign(time=table["time"] - timedelta(days=60)).head(120))
    assert (seen.verdict, decision.retrain) == ("too few rows", False)
    assert "only 120 rows" in decision.reason


def told(table, requests, errors=0):
    return {"pod": {"requests": requests, "errors": errors, "captured": list(entries(table))}}


@pytest.mark.parametrize(
    ("requests_now", "errors", "sentences"),
    [
        (100, 0, ["no requests came"]),
        (900, 0, ["0.00% of 800 requests", "requests came and none was captured"]),
        (900, 40, ["5.00% of 800 requests", "requests came and none was captured"]),
    ],
)
def test_what_answers_is_checked_by_the_counters_of_gateways(tmp_path, monkeypatch, requests_now, errors, sentences):
    monkeypatch.chdir(tmp_path)
    table = requests()
    assert known.service(SETTINGS, {}, NOW) == []
    for hours, count, failed in ((1, 100, 0), (30, requests_now, errors)):
        found = known.service(SETTINGS, told(table, count, failed), NOW + timedelta(hours=hours))
    assert len(found) == len(sentences)
    assert all(words in check.sentence for check, words in zip(found, sentences, strict=True))
    assert found[0].verdict == ("ok" if errors == 0 and len(sentences) > 1 else "watch")
    assert {check.kind for check in found} == {"service"}


def test_what_a_gateway_has_forgotten_counts_and_what_is_kept_is_bounded(tmp_path):
    """Its ring holds some hours of a busy service; the window is a week."""
    folder, days = tmp_path / "requests", 20

    def keeping(new):
        cohorts.add(folder, new, days, NOW.date())
        return cohorts.read(folder, windows.reach(NOW, 7))

    table = requests(30, 40)
    found = list(entries(table))
    for start in range(0, len(found), 150):
        ring = {"pod": found[max(0, start - 100) : start + 150]}  # a part of what came before is still there
        traffic, _ = captured(ring, TASK, SETTINGS.monitoring.model_copy(update={"min_rows": 280}), NOW, keeping)
    assert traffic.rows == 280
    assert str(traffic.window.first) == "2013-04-08"
    [(rows, answers)] = traffic.tables
    assert list(rows) == [records.ID, records.TIME, records.VERSION, records.RELEASE, "temp", "carrier"]
    expected = [json.loads(entry["response"])["predictions"][0] for entry in found[-280:]]
    assert answers["late"].tolist() == expected
    assert sorted(path.stem for path in folder.iterdir())[0] == "2013-03-27"
    assert len(list(folder.iterdir())) == 19, "the 19 days before today; of today there is none yet"


def test_a_version_that_answers_nothing_is_told_as_too_few_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = requests(30, 200, seed=2)
    reference = {"features": describe(before, TASK.features)}
    reference["predictions"] = {"prediction": describe_predictions(before["prediction"])}
    monitor(SETTINGS, nothing(TASK, NOW), reference, TASK)
    seen = MONITORING.read()
    assert (seen.rows, seen.verdict, seen.source, seen.checks) == (0, "too few rows", "captured", [])
