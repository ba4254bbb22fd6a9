"""Traffic where no real users are: the days after `as_of`, sent through the served model as clients would."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import requests

from ci import http
from ci.errors import StageError

BATCH = 2000


def send(url: str, table: pd.DataFrame, features: Mapping[str, str]) -> npt.NDArray[np.float64]:
    """Return the served predictions, shape (rows,), asked for in column format, a batch at a time.

    A row whose whole number or text is missing, or is none, cannot be asked: its prediction is NaN.

    Args:
        url: the model's address, without `:predict`.
        table: the requests.
        features: names and types of the fields.

    Raises:
        StageError: the server cannot be reached or does not answer with one number a row.
    """
    fields, places = _complete(table, features)
    predictions = np.full(len(table), np.nan)
    with http.session() as session:
        for start in range(0, len(places), BATCH):
            rows = places[start : start + BATCH]
            try:
                answer = session.post(f"{url}:predict", data=_body(fields, rows), timeout=60).json()
            except (requests.RequestException, ValueError) as error:
                raise StageError(f"{url}: no predictions: {error}; `make serve` starts the server") from None
            try:
                outputs = np.array(answer["outputs"], dtype="float64")
            except (KeyError, TypeError, ValueError):
                said = answer["error"] if isinstance(answer, dict) and "error" in answer else str(answer)
                raise StageError(f"{url}: no predictions: the server answered: {str(said)[:200]}") from None
            if outputs.shape != rows.shape:
                raise StageError(f"{url}: predictions of shape {outputs.shape} for {len(rows)} rows")
            predictions[rows] = outputs
    return predictions


def bodies(table: pd.DataFrame, features: Mapping[str, str], rows: int) -> list[bytes]:
    """Return requests for the rows that can be asked, so many rows each; the arguments are those of `send`."""
    fields, places = _complete(table, features)
    return [_body(fields, places[start : start + rows]) for start in range(0, len(places), rows)]


def _complete(table: pd.DataFrame, features: Mapping[str, str]) -> tuple[dict[str, list[Any]], npt.NDArray[np.intp]]:
    """Return the fields as they are sent, and the places of the rows that can be asked."""
    fields = {name: _field(table[name], dtype) for name, dtype in features.items()}
    complete = [None not in row for row in zip(*fields.values(), strict=True)]
    return fields, np.flatnonzero(complete)


def _body(fields: Mapping[str, list[Any]], rows: npt.NDArray[np.intp]) -> bytes:
    """Return a request for some rows in column format."""
    return json.dumps({"inputs": {name: [values[row] for row in rows] for name, values in fields.items()}}).encode()


def _field(column: pd.Series, dtype: str) -> list[Any]:
    """Return a column's values as they are sent; None for one that cannot be, as only floats can be missing."""
    if dtype == "string":
        return column.astype(object).where(column.notna(), None).tolist()
    numbers = pd.to_numeric(column, errors="coerce")
    if dtype == "float32":
        with np.errstate(over="ignore"):  # what no float32 holds is infinite
            return list(numbers.to_numpy("float64", na_value=np.nan).astype("float32").tolist())
    whole = ((numbers % 1 == 0) & (numbers >= -(2.0**63)) & (numbers < 2.0**63)).fillna(False)
    return [int(value) if fits else None for value, fits in zip(numbers, whole, strict=True)]
