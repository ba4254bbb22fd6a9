"""Performance on mature days against the holdout, by metric and by slice, for every kind of task."""

import numpy as np
import pandas as pd
import pytest

from ci.capture import records
from ci.monitoring import performance
from ci.monitoring.null import PERFORMANCE
from ci.results.evaluation import Expected
from ci.task import Field, Output, Task

HOLDOUT = Expected(metric="auc", value=0.7, low=0.67, high=0.73)


def answered(days, flipped=False, seed=1):
    """Requests of some days, 200 a day, with a model that knows something; labels may be the wrong way round."""
    random = np.random.default_rng(seed)
    number = np.repeat(np.arange(days), 200)
    said = random.random(len(number))
    truth = (random.random(len(number)) < 0.2 + 0.6 * said).astype(float)
    return performance.Labelled(1 - truth if flipped else truth, said, number)


def test_labels_that_are_flipped_for_a_week_are_a_drift_of_performance():
    good, bad = (performance.judge(HOLDOUT, answered(7, flipped), 14) for flipped in (False, True))
    assert (good.verdict, bad.verdict) == ("ok", "drift")
    assert bad.number < bad.threshold < 0.67
    assert "on 7 mature days, 0.7000 on the holdout: " in bad.sentence
    assert bad.method == "Welch's t at level 0.01000, by day: 7 days, and 14 of the holdout"
    loss = Expected(metric="log_loss", value=0.6, low=0.58, high=0.62)
    worse = performance.judge(loss, answered(7, flipped=True), 14)
    assert worse.verdict == "drift"
    assert worse.number > worse.threshold > 0.62
    assert performance.judge(HOLDOUT, answered(1, flipped=True), 14).verdict == "ok", "one day proves nothing"
    nothing = performance.Labelled(np.zeros(10), np.ones(10) / 2, np.repeat([0, 1], 5))
    none = performance.judge(HOLDOUT, nothing, 14)
    assert (none.verdict, none.threshold) == ("ok", None)


def test_its_level_is_kept_where_the_model_is_as_good_as_on_the_holdout():
    """Each day has a quality of its own, so rows would promise far more than days hold."""
    alarms, tries, level = 0, 150, 0.05
    for seed in range(tries):
        random = np.random.default_rng(seed)

        def some(days, random=random):
            bias = np.repeat(random.normal(0, 0.08, days), 100)
            return random.normal(0.5 + bias, 0.2), np.repeat(np.arange(days), 100)

        error, numbers = some(14)
        by_day = [error[numbers == day].mean() for day in range(14)]
        mean, half = np.mean(by_day), 2.16 * np.std(by_day, ddof=1) / np.sqrt(14)
        holdout = Expected(metric="mae", value=mean, low=mean - half, high=mean + half)
        now, days = some(7)
        found = performance.judge(holdout, performance.Labelled(np.zeros(700), np.abs(now), days), 14, level)
        alarms += found.verdict == "drift"
    assert alarms / tries <= level + 3 * np.sqrt(level * (1 - level) / tries)


def requests(days=7, per_day=200):
    found = answered(days)
    times = pd.Timestamp("2013-04-08", tz="UTC") + pd.to_timedelta(found.days, unit="D")
    return pd.DataFrame(
        {records.TIME: times, "prediction": found.predictions, "late": found.targets, "origin": "EWR"}
    ).assign(origin=np.where(np.arange(len(times)) % 3, "EWR", "JFK"))


BINARY = Task((Output("late", "binary", ("late",)),), "day", {"origin": Field("string")}, ("origin",))


def test_a_slice_is_judged_by_the_primary_metric_and_half_of_the_budget_is_the_whole_ones():
    table = requests()
    wrong = table.assign(late=table["late"].where(table["origin"] != "JFK", 1 - table["late"]))
    expected = [HOLDOUT, *(HOLDOUT.model_copy(update={"column": "origin", "slice": name}) for name in ("EWR", "JFK"))]
    expected += [HOLDOUT.model_copy(update={"column": "origin", "slice": "LGA"}), Expected(
        metric="calibration_error", value=0.1, low=0.08, high=0.12
    )]  # fmt: skip
    found = {check.name: check for check in performance.checks(wrong, BINARY, expected, 14, "auc", 500, 300)}
    assert found["auc where origin is JFK"].verdict == "drift"
    assert found["auc where origin is EWR"].verdict == "ok"
    assert set(found) == {"auc", "auc where origin is EWR", "auc where origin is JFK", "calibration_error"}
    assert f"level {PERFORMANCE / 2:.5f}" in found["auc"].method
    assert f"level {PERFORMANCE / 2 / 4:.5f}" in found["calibration_error"].method
    assert performance.checks(wrong, BINARY, expected, 14, "auc", 5000, 300) == []
    without = performance.checks(wrong.drop(columns="origin"), BINARY, expected, 14, "auc", 500, 300)
    assert [check.name for check in without] == ["auc", "calibration_error"]


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_other_kinds_of_outputs_are_judged_too(kind):
    random, count = np.random.default_rng(3), 1400
    times = pd.Timestamp("2013-04-08", tz="UTC") + pd.to_timedelta(np.arange(count) // 200, unit="D")
    if kind == "multiclass":
        output = Output("class", kind, ("class",), ("a", "b", "c"))
        truth = random.integers(0, 3, count)
        said = np.eye(3)[(truth + 1) % 3] * 0.8 + 0.1
        table = pd.DataFrame({"class": np.array(["a", "b", "c"])[truth]})
        expected = Expected(metric="accuracy", value=0.9, low=0.85, high=0.95)
    else:
        output = Output("size", kind, ("width", "height"), ("width", "height"))
        said = random.normal(size=(count, 2))
        table = pd.DataFrame(said + 3, columns=["width", "height"])
        expected = Expected(metric="rmse", value=1, low=0.9, high=1.1)
    wanted = Task((output,), "day", {"x": Field("float32")}, ())
    table = table.assign(**{records.TIME: times, f"prediction {output.name}": list(said)})
    [found] = performance.checks(table, wanted, [expected], 14, expected.metric, 500, 500)
    assert found.verdict == "drift", found
