"""The columns that are watched for drift: fields that hold one value as they are, all others by what sums them up."""

from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci.task import Field, Output
from ci.task.values import row_array

WORDS = 3.0
"""Mean number of words from which a text is prose, and watched by its length, too."""


def fields(
    table: pd.DataFrame, features: Mapping[str, Field], among: Container[str] | None = None
) -> dict[str, tuple["pd.Series[Any]", str]]:
    """Return each watched column of the fields with its type.

    A list of numbers is watched by mean and deviation, one of any length and one of texts by its length, a file by its
    size, and prose by its number of words.

    Args:
        table: the rows.
        features: the fields; those that the table lacks are left out.
        among: names of columns that a reference has; None: the rows are the reference, and say what is prose.
    """
    found: dict[str, tuple[pd.Series[Any], str]] = {}
    for field, declared in features.items():
        if field in table:
            prose = f"{field} (words)" in among if among is not None else _is_prose(table[field])
            found |= _of(table[field], field, declared, prose=prose)
    return found if among is None else {name: each for name, each in found.items() if name in among}


def _of(
    column: "pd.Series[Any]", name: str, field: Field, *, prose: bool
) -> Iterator[tuple[str, tuple["pd.Series[Any]", str]]]:
    if field.dtype == "bytes":
        yield f"{name} (bytes)", (column.map(_size), "int64")
    elif not field.shape:
        yield name, (column, field.dtype)
        if field.dtype == "string" and prose:
            yield f"{name} (words)", (_words(column), "int64")
    else:
        rows = [_row(value, field) for value in column]
        if None in field.shape or field.dtype == "string":
            yield f"{name} (length)", (_series(column, map(_length, rows)), "int64")
        if field.dtype != "string":
            yield f"{name} (mean)", (_series(column, map(_mean, rows)), "float32")
            yield f"{name} (deviation)", (_series(column, map(_deviation, rows)), "float32")


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
