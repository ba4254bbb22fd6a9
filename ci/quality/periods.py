"""Whole periods of the training days, each counted in the bins of a reference: what thresholds are measured on.

The model's own predictions are counted in the same periods. Training rows flatter a model, so these counts are compared
with each other only, which says how far periods differ; they are no reference for what is predicted later.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci.data.reference import counts

MOST = 20_000
"""Numbers that are kept at most: with many columns fewer periods are, the last ones."""


def number(days: "pd.Series[Any]", length: int) -> npt.NDArray[np.int64]:
    """Return for each row in which period it is, shape (rows,): 0 is the last one; -1 for days that fill none.

    Args:
        days: of the rows.
        length: days of a period.
    """
    back = (days.max() - days).dt.days.to_numpy() // length
    whole = ((days.max() - days.min()).days + 1) // length
    found: npt.NDArray[np.int64] = np.where(back < whole, back, -1).astype("int64")
    return found


def count(
    columns: Mapping[str, "pd.Series[Any]"],
    known: Mapping[str, Mapping[str, Any]],
    period: npt.NDArray[np.int64],
) -> dict[str, list[str]]:
    """Return by column how many rows of each period are in each bin; the newest period comes first.

    The numbers of a period are one text, as in `12 0 5`: one line each would fill the ledger.

    Args:
        columns: by name; those without a description are left out.
        known: descriptions, see `ci.data.reference`.
        period: of each row, see `number`; one without rows is left out.
    """
    wanted = [name for name in columns if name in known]
    size = sum(len(known[name]["shares"]) for name in wanted)
    kept = [place for place in range(int(period.max(initial=-1)) + 1) if (period == place).any()]
    kept = kept[: MOST // max(size, 1)]
    return {
        name: [
            " ".join(f"{rows:.0f}" for rows in counts(columns[name][period == place], known[name])) for place in kept
        ]
        for name in wanted
    }


def read(counted: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return a column's counts, shape (periods, bins)."""
    return np.array([period.split() for period in counted], dtype="float64")
