"""Which row belongs to which part: by its day, or by a hash where the task has no days; a group is never divided."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci.data.windows import PARTS, Windows, number_days
from ci.results.data import Part
from ci.rows import Rows
from ci.settings.building import Data
from ci.task import Field, Task
from ci.task.columns import plain_bytes

BLOCKS = 1000
"""Groups of rows that are resampled together where the task has no days: enough for an interval, few enough for memory.
"""


def by_day(table: pd.DataFrame, placed: Windows, wanted: Task) -> dict[Part, pd.DataFrame]:
    """Return the rows of each part.

    A group stays together: in the training window it is for training or for validation as a whole. Of the holdout, rows
    have yet to be left out whose group is in the training window, too. Traffic stands for requests and keeps all.

    Args:
        table: rows whose columns hold what the task declares.
        placed: the windows of days.
        wanted: the task.
    """
    days = table[wanted.time].dt.date
    part_of = {day: placed.part(day) for day in set(days)}
    parts = days.map(part_of)
    if wanted.group is not None:
        learning = parts.isin(["train", "validation"])
        chosen = _uniform(table[wanted.group], 0) < 1 / placed.validation_every
        parts = parts.mask(learning & chosen, "validation").mask(learning & ~chosen, "train")
    return {part: table[parts == part] for part in PARTS}


def by_hash(table: pd.DataFrame, settings: Data, wanted: Task) -> dict[Part, pd.DataFrame]:
    """Return the rows of each part, by a hash of their group or, without groups, of their fields and targets.

    So a row is in the same part in every build, whatever rows come or go, and equal rows are in one part.

    Args:
        table: rows whose columns hold what the task declares.
        settings: shares of the parts, and the seed of the hash.
        wanted: the task.
    """
    at = _uniform(_keys(table, wanted), settings.split_seed)
    ends = np.cumsum([settings.holdout_share, settings.validation_share, settings.traffic_share])
    names: tuple[Part, ...] = ("holdout", "validation", "traffic", "train")
    found = np.searchsorted(ends, at, side="right")
    return {part: table[found == names.index(part)] for part in PARTS}


def units(rows: Rows, wanted: Task) -> npt.NDArray[np.int64]:
    """Return the number, from 0, of what each row is resampled with: its day, its group, or a block of rows.

    Where the task has both days and groups, the one of which there are fewer: its rows are more alike.
    """
    found = []
    if wanted.time is not None:
        found.append(number_days(pd.concat([table[wanted.time] for table in rows])))
    if wanted.group is not None or wanted.time is None:
        keys = pd.concat([_keys(table, wanted) for table in rows], ignore_index=True)
        numbers = pd.factorize(keys)[0] if keys.nunique() <= BLOCKS else (_uniform(keys, 1) * BLOCKS).astype("int64")
        found.append(np.unique(numbers, return_inverse=True)[1])
    return min(found, key=lambda numbers: int(numbers.max(initial=0)))


def identity(settings: Data, wanted: Task) -> str:
    """Return what a model must have in common with another one, so that neither has learned from the other's holdout.

    For tasks with days it is empty: the days say it.
    """
    if wanted.time is not None:
        return ""
    shares = f"{settings.holdout_share:g} {settings.validation_share:g} {settings.traffic_share:g}"
    return f"hash of {wanted.group or _columns_of(wanted)}, seed {settings.split_seed}, shares {shares}"


def _columns_of(wanted: Task) -> str:
    """Return in words what tells rows apart: with another field or type all rows may be in other parts."""
    told = [*(f"{name} {field}" for name, field in wanted.features.items()), *wanted.targets]
    return f"{len(told)} columns ({hashlib.sha256(' '.join(told).encode()).hexdigest()[:8]})"


def _keys(table: pd.DataFrame, wanted: Task) -> pd.Series:
    if wanted.group is not None:
        return table[wanted.group].astype(str)
    columns = {name: _as_declared(table[name], field) for name, field in wanted.features.items()}
    columns |= {name: table[name].astype(object).map(_word) for name in wanted.targets}
    return pd.util.hash_pandas_object(pd.DataFrame(columns, index=table.index), index=False).astype(str)


def _as_declared(column: pd.Series, field: Field) -> pd.Series:
    """Return a field's values in its declared type: whole numbers are others to pandas where one of them is missing."""
    if field.shape:
        return plain_bytes(column, field)
    if field.dtype == "float32":
        return column.astype("float64")
    return column.astype("int64" if field.dtype == "int64" else object)


def _word(value: Any) -> str:
    """Return a label as text, the same for 1, 1.0 and true."""
    if pd.isna(value):
        return "nan"
    if isinstance(value, str):
        return value
    number = float(value)
    return str(int(number)) if number.is_integer() else str(number)


def _uniform(keys: "pd.Series[Any]", seed: int) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) for each key, the same for the same text and seed."""
    hashed = pd.util.hash_pandas_object(keys.astype(str), index=False, hash_key=f"{seed:016d}"[-16:])
    return hashed.to_numpy().astype("float64") / 2**64
