"""Requests by day, and the data source that labelled ones become."""

from datetime import date

import pandas as pd
import pytest

from ci.capture import records
from ci.errors import InputError
from ci.monitoring import cohorts, labels


def table(*days):
    times = [pd.Timestamp(f"2013-04-{day:02}T12:00", tz="UTC") for day in days]
    found = pd.DataFrame({records.ID: [f"r{day}" for day in days], records.TIME: times})
    return found.assign(x=[float(day) for day in days], prediction=0.5)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_collected_does_not_depend_on_how_often(tmp_path):
    cohorts.keep(tmp_path, cohorts.collect(tmp_path, table(1, 2)))
    once = contents(tmp_path)
    assert set(once) == {"2013-04-01.parquet", "2013-04-02.parquet"}
    cohorts.keep(tmp_path, cohorts.collect(tmp_path, table(2, 1)))
    assert contents(tmp_path) == once
    cohorts.keep(tmp_path, cohorts.collect(tmp_path, table(2, 3)))
    assert sorted(cohorts.read(tmp_path)[records.ID]) == ["r1", "r2", "r3"]


def test_a_published_source_holds_mature_days_fields_and_targets_and_nothing_else(tmp_path):
    (tmp_path / "2013-03-30.parquet").touch()
    (tmp_path / ".2013-03-31.parquet.part").touch()
    told = pd.DataFrame({records.ID: ["r1", "r3"], "late": [1, 0], labels.KNOWN: ["2013-04-05"] * 2})
    joined = labels.join(table(1, 2, 3), told, [records.ID], ["late"])
    assert cohorts.publish(tmp_path, joined, date(2013, 4, 3), ["x", "late"], "date") == 2
    found = cohorts.read(tmp_path)
    assert list(found) == [records.ID, records.TIME, "date", "x", "late"]
    assert found["date"].tolist() == [pd.Timestamp("2013-04-01"), pd.Timestamp("2013-04-02")]
    assert found["late"].fillna(-1).tolist() == [1, -1]
    before = contents(tmp_path)
    cohorts.publish(tmp_path, joined, date(2013, 4, 3), ["x", "late"], "date")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["old.parquet", "requests", ".git"])
def test_a_folder_that_holds_something_else_is_left_as_it_is(tmp_path, name):
    (tmp_path / name).mkdir()
    joined = labels.join(table(1), pd.DataFrame(columns=[records.ID, "late", labels.KNOWN]), [records.ID], ["late"])
    with pytest.raises(InputError, match=f"labels.into: {tmp_path} holds {name} too"):
        cohorts.publish(tmp_path, joined, date(2013, 4, 3), ["x", "late"], "date")
    assert [path.name for path in tmp_path.iterdir()] == [name]
