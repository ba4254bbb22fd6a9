"""Which days are for what."""

from datetime import date, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.data.windows import calendar_days, number_days, windows
from ci.errors import InputError
from ci.settings.building import Data

YEAR = [date(2013, 1, 1) + timedelta(days=n) for n in range(365)]


def test_the_shipped_windows_for_april():
    placed = windows(YEAR, date(2013, 4, 1), Data())
    assert placed.training == date(2013, 1, 1)
    assert placed.holdout == date(2013, 3, 18)
    assert placed.end == date(2013, 4, 15)
    parts = [placed.part(day) for day in YEAR]
    assert {part: parts.count(part) for part in set(parts)} == {
        "train": 67,
        "validation": 9,
        "holdout": 14,
        "traffic": 14,
        None: 365 - 104,
    }


def test_latest_is_the_day_after_the_data_and_leaves_no_traffic():
    placed = windows(YEAR, "latest", Data())
    assert placed.as_of == date(2014, 1, 1)
    assert placed.end == placed.as_of


@given(st.dates(date(2013, 1, 2), date(2014, 1, 1)), st.integers(1, 60), st.integers(2, 200), st.integers(2, 20))
def test_known_days_come_before_as_of_and_windows_follow_each_other(as_of, holdout, training, every):
    settings = Data(holdout_days=holdout, training_days=training, validation_every=every)
    try:
        placed = windows(YEAR, as_of, settings)
    except InputError:
        assert (as_of - timedelta(days=holdout) - YEAR[0]).days < every or training < every
        return
    parts = {day: placed.part(day) for day in YEAR}
    for day, part in parts.items():
        assert (part in ("train", "validation", "holdout")) == (placed.training <= day < as_of)
        assert (part == "holdout") == (as_of - timedelta(days=holdout) <= day < as_of)
    learned = [parts[day] for day in YEAR if parts[day] in ("train", "validation")]
    assert abs(learned.count("validation") - len(learned) / every) < 1


@given(st.integers(0, 20), st.integers(2, 9))
def test_the_days_of_the_gap_belong_to_no_part_and_training_ends_before_them(gap, every):
    settings = Data(holdout_days=10, training_days=50, validation_every=every, gap_days=gap)
    placed = windows(YEAR, date(2013, 6, 1), settings)
    parts = {day: placed.part(day) for day in YEAR}
    learned = [day for day, part in parts.items() if part in ("train", "validation")]
    holdout = [day for day, part in parts.items() if part == "holdout"]
    assert (holdout[0] - learned[-1]).days == gap + 1
    assert (len(learned), len(holdout), parts[learned[-1]]) == (50, 10, "train")


def test_a_gap_that_leaves_nothing_to_learn_from_is_named():
    with pytest.raises(InputError, match=r"leaves 2 training days .* gap of 40 days \(data\.gap_days\)"):
        windows(YEAR, date(2013, 2, 26), Data(gap_days=40))


def test_the_pattern_of_validation_days_does_not_depend_on_where_the_data_begin():
    early = windows(YEAR, date(2013, 6, 1), Data(training_days=100))
    late = windows(YEAR[60:], date(2013, 6, 1), Data(training_days=100))
    assert [early.part(day) for day in YEAR[60:]] == [late.part(day) for day in YEAR[60:]]


@pytest.mark.parametrize(
    ("as_of", "message"),
    [
        (date(2013, 1, 1), "outside the data, which reach from 2013-01-01 to 2013-12-31"),
        (date(2014, 1, 2), "outside the data"),
        (date(2013, 1, 20), "leaves 5 training days"),
        (date(2013, 1, 10), "leaves 0 training days"),
    ],
)
def test_as_of_must_leave_something_to_learn_from(as_of, message):
    with pytest.raises(InputError, match=message):
        windows(YEAR, as_of, Data())


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York", "Pacific/Kiritimati"])
def test_the_hours_of_a_time_do_not_count_and_a_time_zones_day_is_local(zone):
    times = pd.Series(pd.date_range("2013-11-02 22:00", periods=60, freq="h", tz=zone))
    assert [str(day) for day in calendar_days(times)] == [str(day) for day in times.dt.date]
    backwards = number_days(times[::-1])
    assert (backwards == times.dt.day.to_numpy()[::-1] - 2).all()
    assert number_days(times[:0]).shape == (0,)


@pytest.mark.parametrize("gap", [0, 1, 5])
def test_days_of_the_gap_before_the_holdout_belong_to_no_part_and_training_keeps_its_length(gap):
    placed = windows(YEAR, date(2013, 8, 1), Data(gap_days=gap, training_days=60))
    parts = {day: placed.part(day) for day in YEAR}
    empty = [day for day in YEAR if placed.training <= day < placed.end and parts[day] is None]
    assert empty == [placed.holdout - timedelta(days=n) for n in range(gap, 0, -1)]
    assert sum(part in ("train", "validation") for part in parts.values()) == 60


def test_a_gap_that_leaves_too_few_training_days_is_refused():
    with pytest.raises(InputError, match="leaves 3 training days before the holdout"):
        windows(YEAR, date(2013, 2, 1), Data(gap_days=14, holdout_days=14))
