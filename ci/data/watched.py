"""The columns that are watched for drift: fields that hold one value as they are, all others by what sums them up."""

import base64
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci import reading
from ci.errors import InputError
from ci.task import Field, Output, Summary, told
from ci.task.values import MOST, row_array

_WORD = re.compile(r"\w+")

WORDS = 3.0
"""Mean number of words from which a text is prose, and watched by its length and unknown words, too."""
UNKNOWN = " (unknown words)"
"""What the share of a text's words that training has not is called, after the field's name."""
_KNOWN = 2**13
"""Words that count as known, at most: those that most texts have."""
_TEXTS = 100_000
"""Texts from which they are taken, at most."""
_BITS = 2**16
"""Bits of the row that records which words are known, by their hash."""

Watched = dict[str, tuple["pd.Series[Any]", str]]
"""By name a column and its type."""


def fields(
    table: pd.DataFrame,
    features: Mapping[str, Field],
    among: Mapping[str, Mapping[str, Any]] | None = None,
    summaries: Mapping[str, Summary] = MappingProxyType({}),
) -> Watched:
    """Return each watched column of the fields with its type.

    A list of numbers is watched by mean and deviation, one of any length and one of texts by its length, a file by its
    size, prose by its number of words and the share of them that training has not; and what the task sums up by that.

    Args:
        table: the rows.
        features: the fields; those that the table lacks are left out.
        among: the descriptions of columns that a reference has; None: the rows are the reference, and say what is
            prose and which words are known.
        summaries: the task's own.

    Raises:
        InputError: a summary fails.
    """
    found: Watched = {}
    for field, declared in features.items():
        if field in table:
            found |= _of(table[field], field, declared, among)
    for name, summary in summaries.items():
        if summary.field in table and (among is None or name in among):
            column = table[summary.field]
            found[name] = (_summed(column, features[summary.field], name, summary.function), "float32")
    return found if among is None else {name: each for name, each in found.items() if name in among}


def _of(
    column: "pd.Series[Any]", name: str, field: Field, among: Mapping[str, Mapping[str, Any]] | None
) -> Iterator[tuple[str, tuple["pd.Series[Any]", str]]]:
    if field.dtype == "bytes":
        yield f"{name} (bytes)", (column.map(_size), "int64")
    elif not field.shape:
        yield name, (column, field.dtype)
        if field.dtype == "string" and (f"{name} (words)" in among if among is not None else _is_prose(column)):
            yield f"{name} (words)", (_words(column), "int64")
            known = again(column) if among is None else among.get(f"{name}{UNKNOWN}", {}).get("words", "")
            yield f"{name}{UNKNOWN}", (_unknown(column, known), "float32")
    else:
        rows = [_row(value, field) for value in column]
        if None in field.shape or field.dtype == "string":
            yield f"{name} (length)", (_series(column, map(_length, rows)), "int64")
        if field.dtype != "string":
            yield f"{name} (mean)", (_series(column, map(_mean, rows)), "float32")
            yield f"{name} (deviation)", (_series(column, map(_deviation, rows)), "float32")


def _summed(column: "pd.Series[Any]", field: Field, name: str, function: Callable[[Any], float]) -> "pd.Series[Any]":
    """Return the task's number for each row; a row without a value has none."""

    def number(value: Any) -> float:
        if field.dtype == "bytes":
            try:
                value = reading.content(Path(value), MOST)
            except (InputError, TypeError):  # it is gone, or none is named
                return float("nan")
        elif field.shape:
            value = _row(value, field)
        if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
            return float("nan")
        with told(f"model/__init__.py: SUMMARIES[{name!r}] fails"):
            return float(function(value))

    return _series(column, map(number, column))


def known(column: "pd.Series[Any]") -> str:
    """Return the words that most texts have, as a row of bits in Base64 (see `reference`), which tells none of them."""
    return _row_of_bits(_counts(column), 1)


def again(column: "pd.Series[Any]") -> str:
    """Return the same of words that two texts have.

    A training text is measured by these: whether another one has its words, as a new text's are by what training has.
    """
    return _row_of_bits(_counts(column), 2)


def _counts(column: "pd.Series[Any]") -> list[tuple[str, int]]:
    counts = Counter[str]()
    for text in column.iloc[:: -(-len(column) // _TEXTS) or 1]:
        if isinstance(text, str):
            counts.update(sorted(set(_WORD.findall(text.lower()))))
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:_KNOWN]


def _row_of_bits(counts: Sequence[tuple[str, int]], least: int) -> str:
    bits = np.zeros(_BITS, dtype=bool)
    bits[[_hash(word) for word, count in counts if count >= least]] = True
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def _hash(word: str) -> int:
    return zlib.crc32(word.encode()) % _BITS


def _unknown(column: "pd.Series[Any]", words: str) -> "pd.Series[Any]":
    """Return the share of each text's words that are not known; a text without words has none that is unknown."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(words), dtype=np.uint8)).astype(bool) if words else None

    def share(text: Any) -> float:
        if not isinstance(text, str) or bits is None:
            return float("nan")
        found = _WORD.findall(text.lower())
        return 1 - sum(bits[_hash(word)] for word in found) / len(found) if found else 0.0

    return _series(column, map(share, column))


def _row(value: Any, field: Field) -> npt.NDArray[Any] | None:
    """Return a row's list as an array; None if it is missing, as it may be in the days to come."""
    return row_array(value, field) if isinstance(value, list | tuple | np.ndarray) else None


def _length(values: npt.NDArray[Any] | None) -> float:
    return float("nan") if values is None else len(values)


def _series(like: "pd.Series[Any]", values: Any) -> "pd.Series[Any]":
    return pd.Series(list(values), index=like.index, dtype="float64")


def _size(path: Any) -> float:
    try:
        return Path(path).stat().st_size
    except (OSError, TypeError, ValueError):  # it is gone, is no path, or none is named: as a missing value
        return float("nan")


def _is_prose(column: "pd.Series[Any]") -> bool:
    return float(_words(column.head(1000)).mean()) >= WORDS


def _words(column: "pd.Series[Any]") -> "pd.Series[Any]":
    return column.astype(object).map(lambda text: len(text.split()) if isinstance(text, str) else np.nan)


def _mean(values: npt.NDArray[Any] | None) -> float:
    if values is None:
        return float("nan")
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    return float(np.mean(known)) if known.size else float("nan")


def _deviation(values: npt.NDArray[Any] | None) -> float:
    if values is None:
        return float("nan")
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    return float(np.std(known)) if known.size else float("nan")


def predictions(values: Mapping[str, npt.NDArray[Any]], outputs: Sequence[Output]) -> dict[str, "pd.Series[Any]"]:
    """Return each watched column of predictions: a number as it is, of several classes the likeliest one's name.

    Args:
        values: by output, shape (rows,) or (rows, values); NaN where there is none.
        outputs: what they are.
    """
    found: dict[str, pd.Series[Any]] = {}
    for output in outputs:
        name, made = "prediction" if len(outputs) == 1 else output.name, np.asarray(values[output.name])
        if output.width is None:
            found[name] = pd.Series(made)
        elif output.kind == "multiclass":
            answered = np.isfinite(made).all(axis=1)
            names = np.array([*output.classes, None], dtype=object)
            found[name] = pd.Series(names[np.where(answered, made.argmax(axis=1), len(output.classes))])
        else:
            found |= {f"{name} {each}": pd.Series(made[:, place]) for place, each in enumerate(output.classes)}
    return found
