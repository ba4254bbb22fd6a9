"""Seattle's weather of 2012 to 2015, a row a day, observed by NOAA, from the package `vega_datasets`."""

import importlib.util
from pathlib import Path

import pandas as pd

OBSERVED = ("weather", "temp_max", "temp_min", "wind", "precipitation")


def load(source: Path | None) -> pd.DataFrame:
    """Return every day with the day before's observations; the first day has none and is left out."""
    table = pd.read_csv(source or _package_file(), usecols=["date", *OBSERVED])
    table["date"] = pd.to_datetime(table["date"])
    before = table[list(OBSERVED)].shift(1).add_suffix("_before")
    joined = pd.concat([table[["date", "temp_max"]], before], axis=1).iloc[1:]
    return joined.assign(month=joined["date"].dt.month.astype("int64")).reset_index(drop=True)


def _package_file() -> Path:
    package = importlib.util.find_spec("vega_datasets")
    if package is None or package.origin is None:
        raise FileNotFoundError("the package vega_datasets is not installed")
    return Path(package.origin).parent / "_data" / "seattle-weather.csv"
