"""Values of fields between table, tensor and JSON."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci import reading
from ci.task.declaration import Field

MOST = 2**26
"""Bytes that a file which a row names may have."""
_FILL = {"float32": np.nan, "string": ""}
"""What rows are filled up with that are shorter than the longest beside them."""


def arrays(table: pd.DataFrame, features: Mapping[str, Field]) -> dict[str, npt.NDArray[Any]]:
    """Return fields as arrays of shape (rows, …): texts and contents of files as objects, numbers of their type.

    Raises:
        InputError: a file that a row names cannot be read.
    """
    return {name: _array(table[name], field) for name, field in features.items()}


def _array(column: "pd.Series[Any]", field: Field) -> npt.NDArray[Any]:
    if field.dtype == "bytes":
        found = np.empty(len(column), dtype=object)
        found[:] = [reading.content(Path(path), MOST) for path in column]
        return found
    kind: Any = object if field.dtype == "string" else field.dtype
    if not field.shape:
        return column.to_numpy(dtype=kind)
    rows = [row_array(value, field) for value in column]
    length = field.shape[0]
    if length is None:
        length = max((len(row) for row in rows), default=0)
    inner = [axis or 0 for axis in field.shape[1:]]
    filled = np.full((len(rows), length, *inner), _FILL.get(field.dtype, 0), dtype=kind)
    for place, row in enumerate(rows):
        filled[place, : len(row)] = row
    return filled


def row_array(value: Any, field: Field) -> npt.NDArray[Any]:
    """Return the list that a row holds, as a file or a program has it, as an array of the field's type."""
    if isinstance(value, np.ndarray) and value.dtype == object and len(value) and isinstance(value[0], np.ndarray):
        return np.stack([row_array(each, field) for each in value])
    return np.array(value, dtype=object if field.dtype == "string" else field.dtype)


def instances(table: pd.DataFrame, features: Mapping[str, Field]) -> list[dict[str, Any]]:
    """Return rows as requests in row format; the content of a file is an object with its Base64 as `b64`.

    A missing number is NaN, which is no JSON: TensorFlow Serving takes it as a token, files have null for it.
    """
    fields = {name: _json(array, features[name]) for name, array in arrays(table, features).items()}
    return [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)]


def _json(array: npt.NDArray[Any], field: Field) -> list[Any]:
    if field.dtype == "bytes":
        return [{"b64": base64.b64encode(content).decode()} for content in array]
    return list(array.tolist())


def finite(values: Sequence[Any]) -> npt.NDArray[np.bool_]:
    """Return which of some rows' values hold no infinity, which JSON has not."""
    return np.array([not np.isinf(np.asarray(each, dtype="float64")).any() for each in values], dtype=bool)
