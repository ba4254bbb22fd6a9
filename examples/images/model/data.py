"""Handwritten digits as PNG files, with a table that names them; `make_data.py` writes both."""

import pandas as pd


def load(source):
    """Return a row for each picture: its file's name, and the digit.

    Raises:
        FileNotFoundError: there is no folder with labels.csv.
    """
    if source is None:
        raise FileNotFoundError("data.source is null: run `python model/make_data.py`, then name its folder")
    return pd.read_csv(source / "labels.csv")
