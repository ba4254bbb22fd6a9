"""Outcomes that arrive late, in any order, twice, contradicting each other, or never."""

import time
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.capture import records
from ci.monitoring import labels
from ci.monitoring.labels import Joined

START = pd.Timestamp("2013-04-01", tz="UTC")
NOW = datetime(2013, 7, 1, tzinfo=UTC)


def requests(days):
    """A request at noon of each of these days, counted from 1 April."""
    times = [START + pd.Timedelta(days=day, hours=12) for day in days]
    table = pd.DataFrame({records.ID: [f"r{n}" for n in range(len(times))], records.TIME: times})
    return table.assign(flight=range(len(times)))


def outcomes(*rows):
    return pd.DataFrame(rows, columns=["request id", "late", labels.KNOWN])


def join(table, *rows, key=(records.ID,)):
    return labels.join(table, outcomes(*rows), key, ["late"])


def test_outcomes_are_joined_by_id_and_what_is_odd_is_counted():
    found = join(
        requests([0, 0, 0, 0]),
        ("r0", 1, "2013-04-02"),
        ("r0", 1.0, "2013-04-03"),  # the same again
        ("r1", 1, "2013-04-03"),  # corrected: what became known last counts, though it comes first in the file
        ("r1", 0, "2013-04-02"),
        ("r2", None, "2013-04-05"),  # cancelled: there will be none
        ("r9", 1, "2013-04-02"),
    )
    assert found.counts == {"joined": 3, "never": 1, "waiting": 1, "duplicates": 1, "contradictions": 1, "unknown": 1}
    assert found.table["late"].fillna(-1).tolist() == [1, 1, -1, -1]
    assert found.table[labels.KNOWN].iloc[0] == pd.Timestamp("2013-04-03", tz="UTC")


def test_outcomes_are_joined_by_columns_of_any_type():
    told = pd.DataFrame({"flight": [1.0, 0.0], "late": [1, 0], labels.KNOWN: ["2013-04-02"] * 2})
    found = labels.join(requests([0, 0, 0]), told, ["flight"], ["late"])
    assert found.table["late"].fillna(-1).tolist() == [0, 1, -1]


def test_ids_may_be_numbers_in_a_table_and_outcomes_may_be_odd():
    asked = requests([0, 0, 0]).assign(**{records.ID: ["1001", "1002", "1003"]})
    found = join(asked, (1001, 1, "2013-04-02"), (1002, np.inf, "2013-04-02"), (np.nan, 0, "2013-04-02"))
    assert found.table["late"].tolist()[:2] == [1, np.inf]
    assert (found.counts["joined"], found.counts["unknown"]) == (2, 1)


ROW = st.tuples(st.sampled_from(["r0", "r1", "r2"]), st.sampled_from([0, 1, None]), st.integers(2, 4))


@given(st.lists(ROW, max_size=8), st.integers(0, 8), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_neither_order_nor_parts_nor_repetition_matter(rows, cut, random):
    rows = [(name, late, f"2013-04-0{day}") for name, late, day in rows]
    once = join(requests([0, 0, 0]), *rows).table
    mixed = list(rows)
    random.shuffle(mixed)
    parts = join(join(requests([0, 0, 0]), *mixed[:cut]).table, *mixed[cut:])
    again = join(parts.table, *rows).table
    for found in (parts.table, again):
        assert found[labels.KNOWN].equals(once[labels.KNOWN])
        assert found["late"].astype("float64").equals(once["late"].astype("float64"))


def delayed(delays, late=1, *, days=60, per_day=30, now=NOW):
    """Requests of the last days before `now`; each has a label after a delay, unless that lies in the future."""
    ages = np.repeat(np.arange(days), per_day) + 0.5
    table = requests([(now - datetime(2013, 4, 1, tzinfo=UTC)).days - age - 0.5 for age in ages])
    drawn = np.random.default_rng(1).choice(delays, len(table))
    known = [time + timedelta(days=float(delay)) for time, delay in zip(table[records.TIME], drawn, strict=True)]
    rows = [(name, late, at) for name, at in zip(table[records.ID], known, strict=True) if at <= now]
    return table, rows


def test_the_maturity_is_a_quantile_of_all_delays_though_the_last_days_show_short_ones_only():
    table, rows = delayed(np.arange(0, 20) + 0.4)
    shown = np.quantile([(at - table.set_index(records.ID)[records.TIME][name]).days for name, _, at in rows], 0.9)
    found = labels.maturity(join(table, *rows), ["late"], NOW, 0.9)
    assert found == pytest.approx(18.4, abs=1)
    assert shown < found - 1


def test_requests_that_never_get_a_label_do_not_delay_the_others():
    table, rows = delayed([0.4, 1.4, 2.4])
    joined = join(table, *rows[::2])
    assert labels.maturity(joined, ["late"], NOW, 0.95) == 3


def test_the_label_that_comes_last_decides():
    table, rows = delayed([0.4])
    late = [(name, 1, at + timedelta(days=10)) for name, _, at in rows[::10] if at + timedelta(days=10) <= NOW]
    joined = join(table, *[(name, 0, at) for name, _, at in rows if name not in {each[0] for each in late}], *late)
    assert labels.maturity(joined, ["late"], NOW, 0.9) == 11


def labelled(delays, ages):
    """Requests that are so many days old at `NOW`, with a label after so many days."""
    asked = pd.Timestamp(NOW) - pd.to_timedelta(np.asarray(ages), unit="D")
    known = asked + pd.to_timedelta(np.asarray(delays), unit="D")
    names = [f"r{n}" for n in range(len(asked))]
    return Joined(pd.DataFrame({records.ID: names, records.TIME: asked, labels.KNOWN: known, "late": 1.0}), {})


@given(
    st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1)), min_size=20, max_size=60),
    st.sampled_from([0.5, 0.8, 0.95]),
)
@settings(max_examples=50, deadline=None)
def test_the_maturity_is_what_its_definition_says(drawn, quantile):
    ages = np.array([age for age, _ in drawn], dtype=float)
    delays = np.array([round(age * share) for age, share in drawn], dtype=float)
    share, answer = 1.0, max(delays)
    for v in sorted(set(delays), reverse=True):
        answer = v if share >= quantile else answer
        share *= 1 - np.sum(delays == v) / np.sum((delays <= v) & (ages >= v))
    assert labels.maturity(labelled(delays, ages), ["late"], NOW, quantile) == answer


def test_a_year_of_labels_is_looked_through_in_seconds():
    random = np.random.default_rng(4)
    ages = random.uniform(10, 270, 200_000)
    joined = labelled(10 * random.beta(2, 3, 200_000), ages)
    begun = time.process_time()
    assert labels.maturity(joined, ["late"], NOW, 0.95) == 8
    assert time.process_time() - begun < 5


def test_where_too_few_labels_came_nothing_is_mature():
    joined = join(requests([0] * 30), *[(f"r{n}", 1, "2013-04-03") for n in range(9)])
    assert labels.maturity(joined, ["late"], NOW, 0.9) is None
    assert labels.watermark(joined, NOW, None) is None


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2013-04-05T23:00", None),
        ("2013-04-06", None),
        ("2013-04-07", "2013-04-02"),
        ("2013-04-12T12:00", "2013-04-07"),
    ],
)
def test_the_watermark_is_the_first_day_that_has_not_ended_for_as_long_as_labels_take(now, until):
    joined = join(requests([0, 5, 20]))
    now = datetime.fromisoformat(now).replace(tzinfo=UTC)
    found = labels.watermark(joined, now, 5)
    assert found == (until and date.fromisoformat(until))
    if found:
        assert all(labels.mature(joined, found)[records.TIME].dt.date < found)


def test_labels_that_come_a_month_late_hold_the_watermark_back_and_nothing_else():
    table, rows = delayed([30.4], days=60)
    joined = join(table, *rows)
    days = labels.maturity(joined, ["late"], NOW, 0.95)
    assert days == 31
    assert labels.watermark(joined, NOW, days) == date(2013, 5, 31)
    assert labels.mature(joined, date(2013, 5, 31))[labels.KNOWN].notna().all()
