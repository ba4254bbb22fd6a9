"""Whole periods of the training days, counted in a reference's bins."""

import numpy as np
import pandas as pd

from ci.data.reference import describe_column
from ci.quality import periods

DAYS = pd.Series(pd.date_range("2013-01-01", periods=30).repeat(50))


def test_periods_end_with_the_last_day_and_what_is_left_at_the_beginning_is_none():
    number = periods.number(DAYS, 7)
    assert [int((number == place).sum()) for place in range(-1, 5)] == [100, 350, 350, 350, 350, 0]
    assert number[-1] == 0
    assert (periods.number(DAYS.head(50), 7) == -1).all()


def test_each_period_is_counted_in_the_bins_of_the_reference_and_one_without_rows_is_left_out(monkeypatch):
    number = periods.number(DAYS, 7)
    column = pd.Series(np.where(number == 0, "UA", "AA"))
    known = {"carrier": describe_column(column, "string"), "gone": describe_column(column, "string")}
    found = periods.count({"carrier": column, "unknown": column}, known, np.where(number == 1, -1, number))
    assert found == {"carrier": ["0 350 0 0", "350 0 0 0", "350 0 0 0"]}
    assert periods.read(found["carrier"]).tolist() == [[0, 350, 0, 0], [350, 0, 0, 0], [350, 0, 0, 0]]
    monkeypatch.setattr(periods, "MOST", 8)
    assert periods.count({"carrier": column}, known, number) == {"carrier": ["0 350 0 0", "350 0 0 0"]}
    assert periods.count({"carrier": column}, known, np.full(len(DAYS), -1)) == {"carrier": []}
