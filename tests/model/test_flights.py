"""The shipped task: real flights, their schema, and what the encoder makes of odd requests."""

import numpy as np
import pandas as pd
import pytest

from ci import task
from ci.data import quality
from model.data import load
from model.schema import SCHEMA


@pytest.fixture(scope="module")
def flights():
    return load(None)


def test_all_flights_of_2013_are_there_and_those_that_never_arrived_have_no_label(flights):
    assert len(flights) == 336_776
    assert flights["late"].isna().sum() == 9_430
    assert flights["date"].is_monotonic_increasing
    assert flights["late"].mean() == pytest.approx(0.2424, abs=0.005)


def test_they_have_the_declared_fields_and_slices(flights):
    wanted = task.load()
    assert {wanted.time, *wanted.targets, *wanted.features, *wanted.slices} == set(flights.columns)


def test_the_schema_holds_for_the_whole_year(flights):
    assert [str(violation) for violation in quality.apply(flights, SCHEMA).violations if violation.fatal] == []


@pytest.mark.parametrize(
    ("change", "column"),
    [
        (lambda table: table.drop(columns="dest"), "dest"),
        (lambda table: table.assign(hour=table["hour"].astype(str)), "hour"),
        (lambda table: table.assign(temp=table["temp"].where(np.arange(len(table)) % 5 < 3)), "temp"),
        (lambda table: table.assign(carrier="??"), "carrier"),
        (lambda table: table.assign(wind_speed=1000.0), "wind_speed"),
    ],
)
def test_damage_is_found_in_the_column_that_has_it(flights, change, column):
    found = quality.apply(change(flights.head(20_000)), SCHEMA).violations
    assert {violation.column for violation in found if violation.fatal} == {column}


def test_a_source_folder_is_read_like_the_package(tmp_path, flights):
    from model.data import _package_folder

    raw = pd.read_csv(_package_folder() / "flights.csv.zip")
    raw.head(12_000).to_csv(tmp_path / "flights.csv", index=False)
    (tmp_path / "weather.csv").write_bytes((_package_folder() / "weather.csv").read_bytes())
    table = load(tmp_path)
    assert len(table) == 12_000
    assert (table["date"] <= pd.Timestamp("2013-01-14")).all()


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"flights\.csv"):
        load(tmp_path)


def test_missing_unknown_and_extreme_values_are_encoded(flights):
    from ci.rows import Rows
    from ci.training.fit import encode
    from model.features import encoder

    wanted = task.load()
    rows = flights.dropna(subset=["late"]).head(5_000)
    odd = rows.head(3).assign(dest="???", temp=np.nan, wind_speed=1e6, hour=99)
    encoded = encode(encoder(rows), Rows.of(odd), wanted)
    assert np.isfinite(encoded.inputs["numbers"]).all()
    assert np.abs(encoded.inputs["numbers"]).max() <= 5
    assert (encoded.inputs["dest"] == 0).all()
    assert ((encoded.inputs["hour"] >= 0) & (encoded.inputs["hour"] < 24)).all()
    assert encoded.kept[1].shape == (3, 1)


def test_labelled_requests_follow_the_packages_days_before_them(tmp_path, flights):
    sent = flights[flights["date"].between("2013-04-01", "2013-04-02")].drop(columns="month")
    sent = sent.assign(**{"request id": "r", "distance": sent["distance"].astype("float32"), "late": 1.0})
    for day, rows in sent.groupby("date"):
        rows.to_parquet(tmp_path / f"{day.date()}.parquet", index=False)
    table = load(tmp_path)
    assert list(table.columns) == list(flights.columns)
    assert table.dtypes.to_dict() == flights.dtypes.to_dict()
    assert table["date"].max() == pd.Timestamp("2013-04-02")
    assert [str(each) for each in quality.apply(table, SCHEMA).violations if each.fatal] == []
    before = flights["date"] < pd.Timestamp("2013-04-01")
    pd.testing.assert_frame_equal(table[: before.sum()], flights[before])
    assert (table["late"][before.sum() :] == 1.0).all()
