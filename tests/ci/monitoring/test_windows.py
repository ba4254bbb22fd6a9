"""Windows: whole periods, enough rows, early requests, and whose silence it is."""

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest

from ci.monitoring import memory, windows
from ci.results.data import Window
from ci.results.monitoring import Look, Watched
from ci.settings.watching import History

NOW = datetime(2013, 4, 25, 9, tzinfo=UTC)  # a Thursday


def times(*days, per_day=10):
    found = [pd.Timestamp(f"2013-04-{day:02}T12:00", tz="UTC") for day in days for _ in range(per_day)]
    return pd.Series(found, dtype="datetime64[ns, UTC]")


def days(found):
    return str(found.window.first), str(found.window.end)


def test_a_window_is_the_last_whole_week_that_has_ended_from_monday_on():
    found = windows.latest(times(*range(1, 25)), NOW, period=7, least=70)
    assert days(found) == ("2013-04-15", "2013-04-22")
    assert (found.rows.sum(), found.enough, found.early) == (70, True, 0)


def test_with_too_few_rows_it_has_more_weeks_and_where_there_are_none_it_says_so():
    found = windows.latest(times(*range(1, 25)), NOW, period=7, least=71)
    assert days(found) == ("2013-04-08", "2013-04-22")
    found = windows.latest(times(16), NOW, period=7, least=500)
    assert (days(found), found.enough, found.rows.sum()) == (("2013-04-15", "2013-04-22"), False, 10)


def test_a_clock_that_is_ahead_puts_no_request_into_a_window_and_is_counted():
    ahead = pd.concat([times(22, 23), pd.Series([pd.Timestamp(NOW) + pd.Timedelta(minutes=m) for m in (4, 6, 9000)])])
    found = windows.latest(ahead, NOW, period=1, least=1)
    assert (found.early, found.rows.sum()) == (2, 10)


def test_periods_of_three_days_lie_side_by_side():
    found = windows.latest(times(*range(1, 25)), NOW, period=3, least=1)
    assert (found.window.end - found.window.first).days == 3
    assert (found.window.first - datetime(1970, 1, 5).date()).days % 3 == 0


def look(hour, requests):
    time = datetime(2013, 4, 24, tzinfo=UTC) + timedelta(hours=hour)
    return Look(time=time, pods={}, requests=requests, errors=0)


@pytest.mark.parametrize(
    ("looks", "of"),
    [
        ([], "unknown"),
        ([look(13, 100)], "unknown"),
        ([look(13, 100), look(20, 100)], "traffic"),
        ([look(13, 100), look(20, 200)], "capture"),
        ([look(1, 0), look(13, 100), look(20, 100)], "traffic"),
    ],
)
def test_stopped_traffic_is_told_apart_from_a_capture_that_stopped(looks, of):
    found = windows.gaps(times(24), looks, NOW, hours=6)
    assert [gap.of for gap in found] == [of]
    assert str(found[0]).startswith("from 2013-04-24 12:00 to 2013-04-25 09:00 ")
    assert windows.gaps(times(24), looks, NOW, hours=22) == []


def test_requests_are_counted_over_pods_that_come_go_and_start_again(tmp_path):
    settings = History(folder=str(tmp_path))
    told = [{"a": (100, 1)}, {"a": (150, 2), "b": (10, 0)}, {"b": (30, 0)}, {"b": (5, 5)}, {}]
    for hour, pods in enumerate(told):
        found = memory.look(NOW + timedelta(hours=hour), pods, settings)
    assert [(each.requests, each.errors) for each in found] == [(0, 0), (60, 1), (80, 1), (85, 6), (85, 6)]
    assert memory.looks(settings) == found


@pytest.mark.parametrize(("rows", "late"), [(60, 10), (70, 0), (80, 0), (0, 0)])
def test_what_comes_into_a_window_after_it_was_judged_is_counted_as_late(rows, late):
    judged = [
        Watched(release="a", window=Window(first=first, end=end), verdict="stable", asks=False, rows=count)
        for first, end, count in (
            (date(2013, 4, 8), date(2013, 4, 15), 1),
            (date(2013, 4, 15), date(2013, 4, 22), rows),
        )
    ]
    assert windows.late(times(*range(1, 25)), judged) == late
    assert windows.late(times(1), []) == 0
