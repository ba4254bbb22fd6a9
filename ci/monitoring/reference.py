"""Reference statistics: how the training data were distributed, in bins that later windows are counted into."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

BINS = 10
CATEGORIES = 30
OTHER = "(other)"


def describe(table: pd.DataFrame, features: Mapping[str, str]) -> dict[str, Any]:
    """Return for every feature the bins and the share of the rows in each.

    Args:
        table: the training rows.
        features: names and types, as the task declares them.

    Returns:
        by feature: `edges` (inner edges of ten bins of about equal mass) or `categories` (the most frequent values;
        all others fall into `(other)`), and `shares`, of which the last is that of missing or other values.
    """
    return {name: describe_column(table[name], dtype) for name, dtype in features.items()}


def describe_column(column: pd.Series, dtype: str) -> dict[str, Any]:
    """Return the bins and shares of one column; see `describe`."""
    if dtype == "float32":
        present = column.dropna().to_numpy(dtype="float64")
        edges = np.unique(np.quantile(present, np.arange(1, BINS) / BINS)).tolist() if len(present) else []
        description: dict[str, Any] = {"edges": edges}
    else:
        description = {"categories": sorted(column.astype(str).value_counts().head(CATEGORIES).index)}
    return {**description, "rows": len(column), "shares": shares(column, description).round(8).tolist()}


def shares(column: pd.Series, description: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Return the share of a column's rows in each bin of a description, the last one for missing or other values."""
    if "edges" in description:
        values = column.to_numpy(dtype="float64")
        size = len(description["edges"]) + 2
        bins = np.where(np.isnan(values), size - 1, np.searchsorted(description["edges"], values, side="right"))
    else:
        places = {name: place for place, name in enumerate(description["categories"])}
        size = len(places) + 1
        bins = column.astype(str).map(places).fillna(size - 1).to_numpy(dtype="int64")
    return np.bincount(bins, minlength=size) / max(len(column), 1)
