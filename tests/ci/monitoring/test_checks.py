"""The checks of a window, and drills with made-up requests: each ends in the right verdict."""

import numpy as np
import pandas as pd
import pytest

from ci.data.reference import counts, describe_column
from ci.monitoring import checks, null
from ci.results.evaluation import Interval
from ci.settings import Monitoring
from ci.task import Field

SETTINGS = Monitoring()
RANDOM = np.random.default_rng(3)
FAHRENHEIT = RANDOM.normal(55, 15, 5000).round()


def examined(reference, window, dtype="float32", measured=None, season=()):
    description = describe_column(pd.Series(reference), dtype)
    counted = counts(pd.Series(window), description)
    found = checks.of_column("x", counted, description, SETTINGS, measured, season)
    return {check.name.removeprefix("x "): check for check in found}


def verdicts(found):
    return {name: check.verdict for name, check in found.items()}


def test_the_same_distribution_is_ok_and_each_check_says_number_threshold_and_method():
    found = examined(FAHRENHEIT, RANDOM.normal(55, 15, 1000).round())
    assert verdicts(found) == {"missing": "ok", "distribution": "ok"}
    assert all(check.threshold and check.method and check.sentence for check in found.values())
    assert examined(FAHRENHEIT, FAHRENHEIT[:499]) == {}


def test_a_sensor_in_celsius_from_one_day_on_drifts_and_in_a_season_bound_field_it_is_watched():
    window = FAHRENHEIT[:1400].copy()
    window[200:] = (window[200:] - 32) / 1.8
    assert examined(FAHRENHEIT, window)["distribution"].verdict == "drift"
    assert examined(FAHRENHEIT, window, season=["x"])["distribution"].verdict == "watch"


def test_when_all_pressures_are_missing_the_data_are_broken():
    found = examined(RANDOM.normal(1013, 7, 3000), np.full(1000, np.nan))
    assert found["missing"].verdict == "broken"
    assert checks.worst([*found.values()]) == ("broken", "x: 100.0% of the values are missing, 0.0% before")
    some = examined(FAHRENHEIT, np.where(np.arange(1000) % 5, FAHRENHEIT[:1000], np.nan))
    assert some["missing"].verdict == "watch"
    assert examined(np.full(1000, np.nan), np.full(1000, np.nan))["missing"].verdict == "ok"


def test_a_new_carrier_is_watched_and_names_that_are_all_new_are_drift():
    known = np.array(["UA", "DL", "AA", "B6"])
    before = RANDOM.choice(known, 5000)
    window = RANDOM.choice(known, 1000)
    window[:40] = "ZZ"
    assert examined(before, window, "string")["unseen"].verdict == "watch"
    assert examined(before, np.full(1000, "ZZ"), "string")["unseen"].verdict == "drift"
    assert examined(before, RANDOM.choice(known, 1000), "string")["unseen"].verdict == "ok"


def test_the_distance_of_jensen_and_shannon_is_a_distance():
    a, b = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert checks.jensen_shannon(a, b) == 1
    assert checks.jensen_shannon(a, a) == 0
    assert checks.jensen_shannon(a, np.array([0.5, 0.5])) == pytest.approx(0.5579, abs=1e-4)


def answered(days, flipped=False):
    """Requests of some days, 200 a day, with a model that knows something; labels may be the wrong way round."""
    number = np.repeat(np.arange(days), 200)
    said = np.random.default_rng(days).random(len(number))
    truth = (np.random.default_rng(1).random(len(number)) < 0.2 + 0.6 * said).astype(float)
    return 1 - truth if flipped else truth, said, number


def test_labels_that_are_flipped_for_a_week_are_a_drift_of_performance():
    holdout = Interval(value=0.7, low=0.67, high=0.73)
    good, bad = (checks.performance("auc", *answered(7, flipped), holdout) for flipped in (False, True))
    assert (good.verdict, bad.verdict) == ("ok", "drift")
    assert "on 7 mature days, 0.6700 was the holdout's worst" in bad.sentence
    loss = checks.performance("log_loss", *answered(7, flipped=True), Interval(value=0.6, low=0.58, high=0.62))
    assert loss.verdict == "drift"
    assert checks.performance("auc", *answered(1, flipped=True), holdout).verdict == "ok", "one day proves nothing"
    none = checks.performance("auc", np.zeros(10), np.ones(10) / 2, np.zeros(10, dtype=int), holdout)
    assert (none.verdict, none.threshold) == ("ok", None)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ("ok", "drift", "watch"),
        ("watch", "drift", "watch"),
        ("drift", "drift", "drift"),
        ("drift", "watch", "drift"),
        ("drift", "ok", "ok"),
        ("ok", "watch", "watch"),
        ("ok", "broken", "broken"),
    ],
)
def test_drift_is_told_when_two_windows_in_a_row_show_it(before, now, told):
    [check] = checks.of_column(
        "x", np.array([500.0, 500.0]), {"edges": [], "rows": 10, "shares": [0.5, 0.5]}, SETTINGS
    )[-1:]
    [found] = checks.settled([check.model_copy(update={"verdict": now})], {check.name: before})
    assert found.verdict == told


def test_the_worst_check_decides():
    assert checks.worst([]) == ("ok", "nothing could be checked")
    assert checks.worst([*examined(FAHRENHEIT, FAHRENHEIT).values()]) == ("ok", "2 checks are ok")


def drawn(random, periods, checked=12):
    """Statistics of periods: each check has a spread of its own, and all have something in common."""
    common = random.normal(size=(1, periods))
    return np.exp(0.5 * common + random.normal(size=(checked, periods)) - np.arange(checked)[:, None] / 4)


@pytest.mark.parametrize(("periods", "level"), [(5, 1 / 6), (15, 1 / 16), (39, 1 / 20), (60, 3 / 61)])
def test_no_level_is_claimed_that_so_many_periods_cannot_show_and_the_claimed_one_is_kept(periods, level):
    random, alarms, tries = np.random.default_rng(periods), 0, 400
    for _ in range(tries):
        found = drawn(random, periods + 1)
        bound = null.bounds({str(n): row[:-1] for n, row in enumerate(found)})
        alarms += any(row[-1] > bound.by_check[str(n)] for n, row in enumerate(found))
    assert bound.level == pytest.approx(level)
    assert bound.level >= 1 / (periods + 1) - 1e-9
    assert f"n = {periods} left-out periods" in bound.method
    assert alarms / tries <= level + 3 * np.sqrt(level * (1 - level) / tries)


def test_whole_weeks_of_the_training_days_are_left_out_one_by_one():
    days = pd.Series(pd.date_range("2013-01-01", periods=30).repeat(50))
    table = pd.DataFrame({"x": RANDOM.normal(size=len(days)) + (days.dt.day.to_numpy() > 23)})
    found = null.measure(table, {"x": Field("float32")}, days, 7)
    assert found["x"].shape == (4,), "two days at the beginning are no week"
    assert found["x"].argmax() == 0
    with pytest.raises(ValueError, match="2 periods are too few"):
        null.bounds({"x": found["x"][:2]})


def test_a_measured_bound_counts_only_where_the_effect_is_one():
    low, high = (null.Bounds({"x": bound}, 0.05, 19) for bound in (0.001, 5.0))
    window = RANDOM.normal(61.5, 15, 3000).round()
    index = examined(FAHRENHEIT, window)["distribution"].number
    assert SETTINGS.psi_warn < index < SETTINGS.psi_drift
    assert examined(FAHRENHEIT, window, measured=low)["distribution"].verdict == "drift"
    assert examined(FAHRENHEIT, window, measured=high)["distribution"].verdict == "ok"
    assert "n = 19 left-out periods" in examined(FAHRENHEIT, window, measured=low)["distribution"].method
