"""The population stability index of two distributions over the same bins, and how bins of numbers are chosen.

A frequent number (zero, a constant, a cap, a flag) has a bin of its own: in a wider bin a change of its share would not
show. All other numbers share bins of about equal mass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BINS = 10
"""Bins of about equal mass for numbers without a bin of their own."""
HEAVY = 1 / BINS
"""Share of the rows from which a number gets a bin of its own; it would fill a whole bin of equal mass."""
OFTEN = 5
"""Rows below which a number gets no bin of its own: in a small table a large share is chance."""
FEW = 30
"""Values up to which each whole number may have a bin of its own."""
DIGITS = 6
"""Significant digits of a prediction that count: a float32 has seven, and the last differs between machines."""


@dataclass(frozen=True)
class Bins:
    """Bins of numbers: first those between edges, from the smallest number to the largest, then those of one number.

    Attributes:
        edges: inner edges, in order; a number on an edge lies above it.
        values: numbers with a bin of their own, in order; they are not counted in the bins between the edges.
    """

    edges: Sequence[float]
    values: Sequence[float]

    @property
    def number(self) -> int:
        """How many bins there are."""
        return len(self.edges) + 1 + len(self.values)

    def place(self, numbers: Array) -> npt.NDArray[np.int64]:
        """Return each number's bin, counted from 0; shape as given."""
        found = np.searchsorted(self.edges, numbers, side="right")
        if not self.values:
            return found
        values = np.array(self.values)
        nearest = np.minimum(np.searchsorted(values, numbers), len(values) - 1)
        return np.where(values[nearest] == numbers, len(self.edges) + 1 + nearest, found)


def bins(numbers: Array, *, each: bool = False) -> Bins:
    """Return the bins that a reference gives.

    Args:
        numbers: the reference, finite, shape (rows,).
        each: whether each of few values (`FEW`) has a bin of its own, as whole numbers may be codes.
    """
    distinct, counts = np.unique(numbers, return_counts=True)
    few = each and len(distinct) <= FEW and len(numbers) >= OFTEN * len(distinct)
    heavy = np.full(len(distinct), few) | (counts >= max(HEAVY * len(numbers), OFTEN))
    light, rows = distinct[~heavy], counts[~heavy]
    edges: list[float] = []
    if len(light) > 1:
        # Beside numbers of their own, two bins at least: one for what is below and one for what is above most others.
        number = max(2, round(BINS * rows.sum() / len(numbers)))
        found = np.quantile(np.repeat(light, rows), np.arange(1, number) / number)
        edges = np.unique(np.maximum(found, light[1])).tolist()
    return Bins(edges, distinct[heavy].tolist())


def significant(numbers: Array) -> Array:
    """Return finite numbers rounded to `DIGITS` significant digits."""
    exponents = np.floor(np.log10(np.abs(numbers), out=np.zeros_like(numbers), where=numbers != 0))
    scale = 10.0 ** (DIGITS - 1 - np.maximum(exponents, -300))  # what is smaller is zero
    return np.round(numbers * scale) / scale


def psi(reference: npt.NDArray[np.float64], window: npt.NDArray[np.float64], rows: tuple[int, int]) -> float:
    """Return the population stability index Σ (w − r) ln(w / r) over bins, in nats.

    Half a row is added to every bin of both (Jeffreys' prior), so that an empty bin weighs as much as its rarity in
    so many rows allows, and not more. A bin that is empty in both says nothing and is left out.

    Args:
        reference: share in each bin, shape (bins,).
        window: share in each bin, shape (bins,).
        rows: number of rows behind each.
    """
    used = (reference > 0) | (window > 0)
    r, w = (
        (part[used] * count + 0.5) / (count + 0.5 * used.sum())
        for part, count in zip((reference, window), rows, strict=True)
    )
    return float(np.sum((w - r) * np.log(w / r)))
