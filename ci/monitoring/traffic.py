"""Traffic where no real users are: the days after `as_of`, sent through the served model as clients would."""

import json
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import requests

from ci import http
from ci.errors import StageError

BATCH = 2000


def send(url: str, table: pd.DataFrame, features: Mapping[str, str]) -> npt.NDArray[np.float64]:
    """Return the served predictions, shape (rows,), asked for in column format, a batch at a time.

    Args:
        url: the model's address, without `:predict`.
        table: the requests.
        features: names and types of the fields.

    Raises:
        StageError: the server cannot be reached or does not answer with one number a row.
    """
    answers: list[float] = []
    with http.session() as session:
        for start in range(0, len(table), BATCH):
            rows = table.iloc[start : start + BATCH]
            inputs = {
                name: rows[name].to_numpy(dtype=object if dtype == "string" else dtype).tolist()
                for name, dtype in features.items()
            }
            try:
                reply = session.post(f"{url}:predict", data=json.dumps({"inputs": inputs}), timeout=60)
                outputs = reply.json()["outputs"]
            except (requests.RequestException, KeyError, ValueError) as error:
                raise StageError(f"{url}: no predictions: {error}; `make serve` starts the server") from None
            answers.extend(outputs)
    if len(answers) != len(table):
        raise StageError(f"{url}: {len(answers)} predictions for {len(table)} rows")
    return np.array(answers, dtype="float64")
