"""The traffic of the year: whole weeks, ids, and when outcomes become known."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from benchmarks.year import traffic
from benchmarks.year.traffic import DAY, KNOWN, ROW, TARGET
from ci.task import Field, Output, Task

BINARY = Output("y", "binary", ("y",))


def rows(days=7, per_day=400):
    random = np.random.default_rng(3)
    day = pd.Series(pd.date_range("2024-01-01", periods=days).repeat(per_day), name=DAY).reset_index(drop=True)
    target = random.choice([0.0, 1.0, np.nan], len(day), p=[0.7, 0.2, 0.1])
    return pd.DataFrame({DAY: day, TARGET: target, "x": random.normal(size=len(day))})


def delays(found):
    return (found[KNOWN].dt.tz_localize(None) - found[DAY] - traffic.NOON) / pd.Timedelta(days=1)


def test_weeks_are_whole_and_begin_on_mondays():
    assert traffic.weeks(date(2013, 4, 1), date(2013, 4, 21)) == [date(2013, 4, 1), date(2013, 4, 8), date(2013, 4, 15)]
    assert traffic.weeks(date(2013, 4, 2), date(2013, 4, 21)) == [date(2013, 4, 8), date(2013, 4, 15)]
    assert traffic.weeks(date(2013, 4, 2), date(2013, 4, 13)) == []


def test_each_row_has_a_name_and_late_outcomes_are_known_later_within_ten_days():
    found = pd.concat(traffic.by_day(rows(), 0.0, 2013))
    assert found[ROW].is_unique
    assert found[ROW].iloc[0] == "2024-01-01/0"
    took = delays(found)
    assert took.between(0, 10).all()
    means = took.groupby(found[TARGET].fillna(-1)).mean()
    assert means[0.0] == pytest.approx(2.0, abs=0.2)
    assert means[1.0] == pytest.approx(4.0, abs=0.3)
    assert took[found[TARGET].isna()].max() < 1


def test_a_days_delays_depend_on_seed_and_day_alone():
    together, alone = pd.concat(traffic.by_day(rows(), 0.0, 1)), pd.concat(traffic.by_day(rows(3), 0.0, 1))
    day = together[DAY] == pd.Timestamp("2024-01-01")
    assert list(together.loc[day, KNOWN].dt.hour) != []
    rest = pd.concat(traffic.by_day(rows()[rows()[DAY] > pd.Timestamp("2024-01-03")], 0.0, 1))
    pd.testing.assert_series_equal(together.loc[rest.index, KNOWN], rest[KNOWN])
    other = pd.concat(traffic.by_day(rows(3), 0.0, 2))
    assert (alone[KNOWN] != other[KNOWN]).mean() > 0.9


def test_a_day_of_one_row_is_named_as_its_request():
    (found,) = traffic.by_day(rows(1, 1), 0.0, 1)
    assert list(found[ROW]) == ["2024-01-01"]
    asked = traffic.request(found, Task((BINARY,), DAY, {"x": Field("float32")}, ()))
    assert (asked["id"], asked["time"]) == ("2024-01-01", "2024-01-01T12:00:00+00:00")


@pytest.mark.parametrize(
    ("wanted", "as_of", "why"),
    [
        (Task((BINARY,), None, {"x": Field("float32")}, ()), date(2024, 1, 1), "TIME is None"),
        (Task((BINARY,), "day", {"x": Field("float32")}, ()), "latest", "as_of: a year begins on a date"),
        (Task((BINARY, BINARY), "day", {"x": Field("float32")}, ()), date(2024, 1, 1), "one number to predict"),
        (Task((BINARY,), "day", {"x": Field("bytes")}, ()), date(2024, 1, 1), "numbers and texts"),
    ],
)
def test_a_task_without_a_year_is_told_why(wanted, as_of, why):
    assert why in traffic.unsuitable(wanted, as_of)


def test_one_with_a_year_is_fine():
    assert traffic.unsuitable(Task((BINARY,), "day", {"x": Field("float32")}, ()), date(2024, 1, 1)) is None
