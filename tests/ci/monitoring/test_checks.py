"""The checks of a window, and drills with made-up requests: each ends in the right verdict."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ci.data.reference import counts, describe_column
from ci.monitoring import checks, null
from ci.quality import periods
from ci.results.monitoring import Look
from ci.settings.watching import Monitoring

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
        bound = null.bounds({str(n): row[:-1] for n, row in enumerate(found)}, 1 / 20)
        alarms += any(row[-1] > bound.by_check[str(n)] for n, row in enumerate(found))
    assert bound.level == pytest.approx(level)
    assert bound.level >= 1 / (periods + 1) - 1e-9
    assert f"n = {periods} left-out periods" in bound.method
    assert alarms / tries <= level + 3 * np.sqrt(level * (1 - level) / tries)


def reference(weeks=10, per_day=60, days=70):
    """What the test stage records of a column whose mean differs from week to week, and of predictions."""
    random = np.random.default_rng(weeks)
    day = pd.Series(pd.date_range("2013-01-01", periods=7 * weeks).repeat(per_day))
    period = periods.number(day, 7)
    made = {
        "x": pd.Series(random.normal(size=len(day)) + 0.3 * random.normal(size=weeks)[period]),
        "prediction": pd.Series(random.random(len(day))),
    }
    known = {name: describe_column(column, "float32") for name, column in made.items()}
    counted = {name: periods.count({name: column}, known, period) for name, column in made.items()}
    return {
        "features": {"x": known["x"]},
        "predictions": {"prediction": known["prediction"]},
        "periods": {
            "length": 7,
            "days": {"features": days, "predictions": 14},
            "features": counted["x"],
            "predictions": counted["prediction"],
        },
    }


def test_bounds_come_from_whole_weeks_and_know_the_rows_of_the_window_and_the_days_of_the_reference():
    known = reference()
    many, few = (null.of(known, rows) for rows in (10_000, 50))
    assert {kind: bound.periods for kind, bound in many.items()} == {"features": 10, "predictions": 10}
    assert many["features"].level == pytest.approx(1 / 11)
    assert many["features"].method.endswith("from n = 10 left-out periods, level 0.091 over all features")
    assert many["features"].by_check["x"] > 0.1
    assert many["predictions"].by_check["prediction"] < few["predictions"].by_check["prediction"]
    assert null.of(known, 50) == few, "the same each time"
    shorter = null.of(reference(days=7), 10_000)
    assert shorter["features"].by_check["x"] > 1.5 * many["features"].by_check["x"]
    assert null.of(reference(weeks=4), 500) == {}
    assert null.of({"features": {}, "predictions": {}}, 500) == {}, "of an earlier version"


def test_the_budget_of_all_checks_is_one_window_in_twenty():
    assert sum(null.SHARES.values()) + null.PERFORMANCE + null.SERVICE == pytest.approx(1 / 20)


def test_a_measured_bound_counts_only_where_the_effect_is_one():
    low, high = (null.Bounds({"x": bound}, 0.05, 19) for bound in (0.001, 5.0))
    window = RANDOM.normal(61.5, 15, 3000).round()
    index = examined(FAHRENHEIT, window)["distribution"].number
    assert SETTINGS.psi_warn < index < SETTINGS.psi_drift
    assert examined(FAHRENHEIT, window, measured=low)["distribution"].verdict == "drift"
    assert examined(FAHRENHEIT, window, measured=high)["distribution"].verdict == "ok"
    assert "n = 19 left-out periods" in examined(FAHRENHEIT, window, measured=low)["distribution"].method


def test_what_moved_most_is_named_with_its_bins_and_p_values_are_corrected_and_decide_nothing():
    window = RANDOM.normal(75, 15, 1000).round()
    said = examined(FAHRENHEIT, window)["distribution"].sentence
    assert "; most moved 75 or more (10." in said
    assert said.count(" before, ") == 2
    some = [*examined(FAHRENHEIT, window).values(), *examined(FAHRENHEIT, FAHRENHEIT[:2000]).values()]
    found = checks.corrected(some)
    assert [check.p is None for check in found] == [True, False, True, False]
    assert found[1].p < 1e-10
    assert found[3].p == pytest.approx(some[3].p, abs=1e-3)
    assert found[3].p > 0.05
    close = [some[3].model_copy(update={"p": p}) for p in (0.04, 0.01, 0.03)]
    assert [check.p for check in checks.corrected(close)] == [0.06, 0.03, 0.06], "as Holm's"
    assert [check.verdict for check in found] == [check.verdict for check in some]


def looks(*seconds):
    return [
        Look(time=datetime(2013, 4, 1, tzinfo=UTC) + timedelta(hours=hour), pods={}, requests=0, errors=0, p99=p99)
        for hour, p99 in enumerate(seconds)
    ]


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [
        ((0.05, 0.06, 0.05, 0.04, 0.05, 0.3), "watch"),
        ((0.05, 0.06, 0.05, 0.04, 0.05, 0.09), "ok"),  # not twice the usual one
        ((0.05, 0.6, 0.05, 0.9, 0.05, 0.3), "ok"),  # it has varied as much
        ((0.05, 0.06, 0.05, 0.04, 0.3), None),
        ((0.05, 0.06, 0.05, 0.04, 0.05, 0.3, None), None),
    ],
)
def test_slow_answers_are_watched_against_the_looks_before(seconds, verdict):
    found = {check.name: check for check in checks.service(looks(*seconds), [])}
    assert ("latency" in found) is (verdict is not None)
    if verdict:
        assert found["latency"].verdict == verdict
        assert "from n = 5 looks" in found["latency"].method


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ({}, None),
        ({"read": 990, "refused": 9, "repeated": 500}, "ok"),
        ({"read": 980, "refused": 12, "unreadable": 8}, "watch"),
        ({"refused": 5}, "watch"),
        ({"read": 76, "unreadable": 24}, "watch"),
        ({"read": 75, "unreadable": 25}, "broken"),
    ],
)
def test_requests_that_are_not_as_the_schema_says_are_watched(counts, verdict):
    found = checks.refused(counts)
    assert [(check.name, check.verdict) for check in found] == ([] if verdict is None else [("schema", verdict)])


@pytest.mark.parametrize(
    ("unusable", "every", "verdict"), [(0, 0, None), (9, 1000, "ok"), (1, 100, "watch"), (25, 100, "broken")]
)
def test_outcomes_that_cannot_be_used_are_watched_and_many_are_broken(unusable, every, verdict):
    found = checks.outcomes(unusable, every, "one.csv: row 3: why")
    assert [(check.name, check.verdict) for check in found] == ([] if verdict is None else [("outcomes", verdict)])
    assert all(check.sentence.endswith(f"of {every} outcomes cannot be used; one.csv: row 3: why") for check in found)
