"""Traffic where no real users are: the days after `as_of`, sent through the served model as clients would."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import requests

from ci import http
from ci.errors import StageError
from ci.task import Field, Output
from ci.task.values import instances

BATCH = 2000
"""Rows in a request."""
FILES = 100
"""Rows with files in a request."""


def send(
    url: str, table: pd.DataFrame, features: Mapping[str, Field], outputs: Sequence[Output]
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the served predictions by output, asked for in column format, a batch at a time.

    A row whose whole number or text is missing, or is none, or whose file or list cannot be sent, cannot be asked: its
    prediction is NaN.

    Args:
        url: the model's address, without `:predict`.
        table: the requests.
        features: the fields.
        outputs: what is predicted; shapes of a row's predictions are () and (values,).

    Raises:
        StageError: the server cannot be reached or does not answer with one prediction a row.
    """
    fields, places = _complete(table, features)
    step = FILES if any(field.dtype == "bytes" for field in features.values()) else BATCH
    found = {each.name: np.full((len(table), *_shape(each)), np.nan) for each in outputs}
    with http.session() as session:
        for start in range(0, len(places), step):
            rows = places[start : start + step]
            try:
                answer = session.post(f"{url}:predict", data=_body(fields, rows, features), timeout=60).json()
            except (requests.RequestException, ValueError) as error:
                raise StageError(f"{url}: no predictions: {error}; `make serve` starts the server") from None
            for output in outputs:
                found[output.name][rows] = _answered(url, answer, output, alone=len(outputs) == 1, rows=len(rows))
    return found


def bodies(table: pd.DataFrame, features: Mapping[str, Field], rows: int) -> list[bytes]:
    """Return requests for the rows that can be asked, so many rows each; the arguments are those of `send`."""
    fields, places = _complete(table, features)
    return [_body(fields, places[start : start + rows], features) for start in range(0, len(places), rows)]


def _complete(table: pd.DataFrame, features: Mapping[str, Field]) -> tuple[dict[str, list[Any]], npt.NDArray[np.intp]]:
    """Return the fields as far as they can be sent, and the places of the rows that can be asked."""
    fields = {name: _field(table[name], field) for name, field in features.items()}
    complete = [not any(value is None for value in row) for row in zip(*fields.values(), strict=True)]
    return fields, np.flatnonzero(complete)


def _body(fields: Mapping[str, list[Any]], rows: npt.NDArray[np.intp], features: Mapping[str, Field]) -> bytes:
    """Return a request for some rows in column format."""
    inputs = {name: _sent([values[row] for row in rows], features[name]) for name, values in fields.items()}
    return json.dumps({"inputs": inputs}).encode()


def _shape(output: Output) -> tuple[int, ...]:
    return () if output.width is None else (output.width,)


def _answered(url: str, answer: Any, output: Output, *, alone: bool, rows: int) -> npt.NDArray[np.float64]:
    """Return the predictions of one output in an answer; the only output of a model has no name there."""
    try:
        values = answer["outputs"] if alone else answer["outputs"][output.name]
        made = np.array(values, dtype="float64")
    except (KeyError, TypeError, ValueError):
        said = answer["error"] if isinstance(answer, dict) and "error" in answer else str(answer)
        raise StageError(f"{url}: no predictions: the server answered: {str(said)[:200]}") from None
    if made.shape != (rows, *_shape(output)):
        raise StageError(f"{url}: predictions of shape {made.shape} for {rows} rows")
    return made


def _field(column: pd.Series, field: Field) -> list[Any]:
    """Return a column's values; None in place of a value that cannot be sent, as only floats can be missing."""
    if field.dtype == "bytes":
        return [path if isinstance(path, str) and Path(path).is_file() else None for path in column]
    if field.shape:
        return [value if isinstance(value, list | tuple | np.ndarray) else None for value in column]
    if field.dtype == "string":
        return list(column.astype(object).where(column.notna(), None).tolist())
    numbers = pd.to_numeric(column, errors="coerce")
    if field.dtype == "float32":
        with np.errstate(over="ignore"):  # what no float32 holds is infinite
            return list(numbers.to_numpy("float64", na_value=np.nan).astype("float32").tolist())
    whole = ((numbers % 1 == 0) & (numbers >= -(2.0**63)) & (numbers < 2.0**63)).fillna(False)
    return [int(value) if fits else None for value, fits in zip(numbers, whole, strict=True)]


def _sent(values: list[Any], field: Field) -> list[Any]:
    """Return values as a request has them; lists and files are read here, of one batch at a time."""
    if field.dtype != "bytes" and not field.shape:
        return values
    table = pd.DataFrame({"": pd.Series(values, dtype=object)})
    return [row[""] for row in instances(table, {"": field})]
