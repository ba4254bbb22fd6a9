"""Captured requests as rows: what was asked, what was predicted, by which version, when, and under which name.

A request of one row has its own id as name; of several, each has the id and its place, such as `order-7/0`. Outcomes
are joined by these names, or by columns (see `ci.monitoring.labels`).
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci.task import Field, Output

ID, TIME, VERSION, RELEASE = "request id", "request time", "request version", "request release"
"""Columns beside the fields."""
Entry = Mapping[str, Any]
_NOTHING = float("nan")
"""In place of a field that was not sent."""


@dataclass(frozen=True)
class Records:
    """Rows that were answered.

    Attributes:
        table: by row its name, time (UTC), version, release, and the fields that were sent.
        predictions: by output, shape (rows,) or (rows, values).
        counts: requests by what became of them: `read`, or why they were not: `refused`, `repeated`, `unreadable`.
    """

    table: pd.DataFrame
    predictions: dict[str, npt.NDArray[np.float64]]
    counts: dict[str, int]


def read(captured: Mapping[str, Sequence[Entry]], features: Mapping[str, Field], outputs: Sequence[Output]) -> Records:
    """Return the rows of captured requests, in the order of their times.

    Args:
        captured: what gateways captured, by pod; of entries with the same id the first counts.
        features: the fields; contents of files are left out.
        outputs: what is predicted.
    """
    counts: Counter[str] = Counter()
    seen: set[Any] = set()
    wanted = [name for name, field in features.items() if field.dtype != "bytes"]
    shared: dict[str, list[Any]] = {name: [] for name in (ID, TIME, VERSION, RELEASE)}
    fields: dict[str, list[Any]] = {name: [] for name in wanted}
    answers: dict[str, list[Any]] = {output.name: [] for output in outputs}
    entries = [(str(entry.get("time")), str(pod), entry) for pod, found in captured.items() for entry in found]
    for _, pod, entry in sorted(entries, key=lambda each: (*each[:2], each[2]["number"])):
        name = entry.get("id") or f"{pod}-{entry['number']}"  # an older gateway gives no id
        if entry["status"] != 200:
            counts["refused"] += 1
            continue
        if name in seen:
            counts["repeated"] += 1
            continue
        seen.add(name)
        found = _rows(entry, features, outputs)
        if found is None:
            counts["unreadable"] += 1
            continue
        counts["read"] += 1
        time, sent, made = found
        rows = len(sent)
        shared[ID] += [name] if rows == 1 else [f"{name}/{place}" for place in range(rows)]
        for key, value in ((TIME, time), (VERSION, entry.get("version")), (RELEASE, entry.get("release"))):
            shared[key] += [value] * rows
        for key, column in fields.items():
            column += [row.get(key, _NOTHING) for row in sent]
        for key, column in answers.items():
            column += [row[key] for row in made]
    table = pd.DataFrame({**shared, **fields})
    values = {output.name: _array(answers[output.name], output) for output in outputs}
    typed = {name: _typed(table[name], features[name]) for name in wanted}
    return Records(table.assign(**{TIME: pd.to_datetime(table[TIME], utc=True), **typed}), values, dict(counts))


def _typed(column: "pd.Series[Any]", field: Field) -> "pd.Series[Any]":
    """Return a column of one type, as a file has it: what is no value of the field's kind is missing."""
    if field.shape:
        return column
    if field.dtype == "string" and isinstance(column.dtype, pd.StringDtype):
        return column.astype(object)
    if field.dtype != "string" and pd.api.types.is_numeric_dtype(column.dtype):
        return column
    kind = str if field.dtype == "string" else (int, float)
    kept = column.map(lambda value: value if isinstance(value, kind) else None)
    return kept.astype(object) if kind is str else pd.to_numeric(kept)


def _rows(
    entry: Entry, features: Mapping[str, Field], outputs: Sequence[Output]
) -> tuple[datetime, list[dict[str, Any]], list[dict[str, Any]]] | None:
    """Return an entry's time, the fields of each row and their predictions; None if it is none that can be read."""
    try:
        time = datetime.fromisoformat(entry["time"])
        if time.tzinfo is None:
            return None
        asked, answered = json.loads(entry["request"]), json.loads(entry["response"])
        sent = list(_instances(asked, features))
        made = list(_answers(answered, outputs, len(sent)))
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    return (time, sent, made) if len(made) == len(sent) else None


def _instances(asked: Any, features: Mapping[str, Field]) -> Iterator[dict[str, Any]]:
    """Yield the fields of each row in a request of either format; a single field may stand without its name."""
    (only, *others) = features
    if "instances" in asked:
        for row in asked["instances"]:
            named = isinstance(row, dict) and "b64" not in row
            if not named and others:
                raise ValueError("a row without names")
            yield dict(row) if named else {only: row}
        return
    given = asked["inputs"]
    columns = given if isinstance(given, dict) else {only: given}
    if not isinstance(given, dict) and others:
        raise ValueError("a column without a name")
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _answers(answered: Any, outputs: Sequence[Output], rows: int) -> Iterator[dict[str, Any]]:
    """Yield the predictions for each row in an answer of either format."""
    if "predictions" in answered:
        for row in answered["predictions"]:
            yield {each.name: row[each.name] if isinstance(row, dict) else row for each in outputs}
        return
    given = answered["outputs"]
    columns = {each.name: given[each.name] if isinstance(given, dict) else given for each in outputs}
    for place in range(rows):
        yield {name: values[place] for name, values in columns.items()}


def _array(column: Sequence[Any], output: Output) -> npt.NDArray[np.float64]:
    """Return predictions as an array; NaN where one has another form than the output."""
    shape = () if output.width is None else (output.width,)
    if not shape and all(type(value) is float for value in column):
        return np.array(column, dtype="float64")
    found = np.full((len(column), *shape), np.nan)
    for place, value in enumerate(column):
        try:
            made = np.asarray(value, dtype="float64")
        except (TypeError, ValueError):
            continue
        if made.shape == (*shape, 1) and not shape:
            made = made[0]
        if made.shape == shape:
            found[place] = made
    return found
