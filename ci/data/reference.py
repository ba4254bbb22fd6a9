"""Reference statistics: how the training data were distributed, in bins that later windows are counted into.

The declared type decides how a column is described, not the type in the file: one empty cell must not turn numbers into
categories.
"""

import base64
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci.data import watched
from ci.data.psi import BINS, DIGITS, FEW, Bins, bins, significant
from ci.task import Field, Summary
from ci.task.columns import LARGEST

Array = npt.NDArray[Any]

CATEGORIES = FEW
RARE = 0.005
"""Share below which a value gets no bin of its own, if there are more than `CATEGORIES` values."""
_BITS = 2**15
"""Bits of the row that records which texts were seen, by their hash."""


def describe(
    table: pd.DataFrame, features: Mapping[str, Field], summaries: Mapping[str, Summary] = MappingProxyType({})
) -> dict[str, Any]:
    """Return for every watched column of the features the bins and the share of the rows in each.

    Args:
        table: the training rows.
        features: the fields, as the task declares them.
        summaries: the task's own numbers that sum fields up.

    Returns:
        by column (see `ci.data.watched`), see `describe_column`; for unknown words also `words`, which are known.

    Raises:
        InputError: a summary fails.
    """
    found = watched.fields(table, features, summaries=summaries)
    described = {name: describe_column(*each) for name, each in found.items()}
    for name in described:
        if name.endswith(watched.UNKNOWN):
            described[name]["words"] = watched.known(table[name.removesuffix(watched.UNKNOWN)])
    return described


def describe_column(column: pd.Series, dtype: str) -> dict[str, Any]:
    """Return the bins and shares of one column.

    Numbers: `edges`, inner edges of bins from the smallest number to the largest, and `values`, numbers with a bin of
    their own, which do not count in the others. Shares: the bins between edges, the values, missing.

    Texts: `categories`, the most frequent values, and `rest`, the names of the bins for all others: if there are more
    values than categories, those that are rare, by chance into bins of about equal mass so that one that becomes
    frequent shows, and those that were not seen, which `seen` tells apart (see `_seen`); and missing.

    Args:
        column: the rows.
        dtype: the declared type.

    Returns:
        these, `type`, `rows`, and `shares`, which add up to one.
    """
    found = _categories(column) if dtype == "string" else _bins(_numbers(column, dtype)[0], each=dtype == "int64")
    return _with_shares(column, {"type": dtype, **found})


def describe_predictions(column: "pd.Series[Any] | Array") -> dict[str, Any]:
    """Return the bins and shares of predictions: of names of classes, or of numbers, whose significant digits count."""
    column = pd.Series(column)
    if not pd.api.types.is_numeric_dtype(column.dtype):
        return describe_column(column, "string")
    numbers = significant(_numbers(column, "float32")[0])
    return _with_shares(column, {"type": "float32", "digits": DIGITS, **_bins(numbers, each=False)})


def _bins(numbers: Array, *, each: bool) -> dict[str, Any]:
    found = bins(numbers, each=each)
    return {"edges": found.edges, "values": found.values}


def _with_shares(column: pd.Series, description: dict[str, Any]) -> dict[str, Any]:
    found = counts(column, description) / max(len(column), 1)
    if "seen" in description:
        # Of new rows some have values that were not seen, even if nothing changes: about as many as were seen once
        # (Good 1953, Biometrika 40, 237).
        rare, once = found[_rare(description)], _once(column, description)
        rare[:-1] *= 1 - once / max(rare[:-1].sum(), once or 1.0)
        rare[-1] += once
    return {**description, "rows": len(column), "shares": found.round(8).tolist()}


def shares(counted: npt.NDArray[np.float64], description: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Return the share of rows in each bin of a description, by how many are in it (see `counts`).

    Where values are expected that were not seen, fewer of them are no change, as known users come back: then rare and
    new ones have the reference's proportion.
    """
    found: npt.NDArray[np.float64] = counted / max(counted.sum(), 1)
    if "seen" in description:
        rare, expected = found[_rare(description)], np.array(description["shares"])[_rare(description)]
        new = rare.sum() * (expected[-1] / expected.sum()) if expected.sum() > 0 else 0.0
        if rare[-1] < new:
            known = rare[:-1].sum()
            found[_rare(description)] = np.append(rare[:-1] * (known + rare[-1] - new) / known, new)
    return found


def _rare(description: Mapping[str, Any]) -> slice:
    """Return where the bins of rare values and, the last, of those not seen before are."""
    first = len(description["categories"])
    return slice(first, first + len(description["rest"]) - 1)


def counts(column: pd.Series, description: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Return how many of a column's rows are in each bin of a description; of several columns they can be added up."""
    within, present, size = (_among_numbers if "edges" in description else _among_texts)(column, description)
    bins = np.full(len(column), size - 1)
    bins[present] = within
    return np.bincount(bins, minlength=size).astype(np.float64)


def _among_numbers(column: pd.Series, description: Mapping[str, Any]) -> tuple[Array, Array, int]:
    """Return the bin of each number, which rows have one, and how many bins there are; the last is for all others."""
    numbers, present = _numbers(column, description.get("type"))
    if "digits" in description:
        numbers = significant(numbers)
    found = Bins(description["edges"], description.get("values", []))
    return found.place(numbers), present, found.number + 1


def _among_texts(column: pd.Series, description: Mapping[str, Any]) -> tuple[Array, Array, int]:
    """Return the same for texts."""
    texts, present = _texts(column)
    places = {name: place for place, name in enumerate(description["categories"])}
    other = np.full(len(texts), len(places))
    if "seen" in description:
        hashes, parts = _hashes(texts), len(description["rest"]) - 2
        other += np.where(_bits(description["seen"])[hashes], hashes % parts, parts)
    found = texts.map(places).to_numpy(dtype="float64", na_value=np.nan)
    size = len(places) + len(description.get("rest", ["other values"]))
    return np.where(np.isnan(found), other, found).astype("int64"), present, size


def _numbers(column: pd.Series, dtype: str | None) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Return a column's numbers as the model gets them, and which rows have one.

    Whole numbers are exact, others are rounded to float32, and what is beyond the largest one counts as that. A text is
    no number and counts as missing.

    Args:
        column: the rows.
        dtype: the declared type; None for a description that does not name it, whose edges were not rounded.
    """
    numbers = pd.to_numeric(column, errors="coerce")
    present = numbers.notna().to_numpy(dtype=bool)
    numbers = numbers[present]
    if dtype == "int64" and not pd.api.types.is_float_dtype(numbers.dtype):
        return numbers.to_numpy(dtype="int64"), present
    found = np.clip(numbers.to_numpy(dtype="float64"), -LARGEST, LARGEST)
    if dtype == "float32":
        found = found.astype("float32").astype("float64")
    return found + 0.0, present  # no negative zeros


def _texts(column: pd.Series) -> tuple[pd.Series, npt.NDArray[np.bool_]]:
    """Return a column's texts, and which rows have one; a whole number is the same text in a column of any type."""
    present = column.notna().to_numpy(dtype=bool)
    values = column[present]
    if pd.api.types.is_float_dtype(values.dtype) and (values % 1 == 0).all():
        values = values.astype("int64")
    return values.astype(str), present


def _categories(column: pd.Series) -> dict[str, Any]:
    texts, _ = _texts(column)
    counts = texts.value_counts()
    if len(counts) <= CATEGORIES:
        return {"categories": sorted(counts.index), "rest": ["values not seen before", "missing"]}
    frequent = counts[counts >= RARE * len(texts)].head(CATEGORIES).index
    again = counts[(counts > 1) & ~counts.index.isin(frequent)].sum()
    parts = max(1, round(BINS * again / len(texts)))
    names = [f"rare values, part {part} of {parts}" for part in range(1, parts + 1)] if parts > 1 else ["rare values"]
    return {
        "categories": sorted(frequent),
        "rest": [*names, "values not seen before", "missing"],
        "seen": _seen(texts),
    }


def _seen(texts: pd.Series) -> str:
    """Return which hashes occur, as a row of bits in Base64: it tells what was seen, and holds none of the values."""
    bits = np.zeros(_BITS, dtype=bool)
    bits[_hashes(texts)] = True
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def _bits(seen: str) -> npt.NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(base64.b64decode(seen), dtype=np.uint8)).astype(bool)


def _hashes(texts: pd.Series) -> npt.NDArray[np.int64]:
    codes, distinct = pd.factorize(texts)
    return np.array([zlib.crc32(text.encode()) % _BITS for text in distinct], dtype="int64")[codes]


def _once(column: pd.Series, description: Mapping[str, Any]) -> float:
    """Return the share of the rows whose value is rare and was seen once."""
    texts, _ = _texts(column)
    rare = _hashes(texts[~texts.isin(description["categories"])])
    return float(np.sum(np.bincount(rare, minlength=1) == 1)) / max(len(column), 1)
