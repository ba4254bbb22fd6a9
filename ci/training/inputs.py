"""Prepared data as tensors, and TensorFlow set up to give the same numbers each time."""

import inspect
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from ci import stages, task, workspace
from ci.errors import InputError
from ci.results.data import Part
from ci.rows import Rows, stored
from ci.task import Field, columns, values

# TensorFlow's C++ side reports missing GPUs as errors; what matters reaches Python as an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def make_deterministic(seed: int, threads: int) -> None:
    """Seed everything and fix the number of threads; must be called before TensorFlow does any work."""
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)


def prepared(part: Part) -> Rows:
    """Return one part of the prepared data; traffic may be none, and its fields may be missing.

    Raises:
        InputError: it is missing, not whole or empty, or a column that the task names is missing; and, when rows are
            read, a column holds something else than the task declares.
    """
    path, wanted = stages.require(workspace.DATA / f"{part}.parquet"), task.load()
    learned = part != "traffic"
    try:
        found = stored(pq.ParquetFile(path))
        first = found.groups[0]()
    except Exception as error:  # pyarrow and pandas raise of every kind where bytes are not as they should be
        raise _not_whole(path, error) from None
    if not found.count and learned:
        raise stages.damaged(path, "no rows")
    if missing := [name for name, *_ in columns.declared(wanted) if name not in first]:
        raise stages.damaged(path, f"no column {', '.join(dict.fromkeys(missing))}")
    seen: set[int] = set()

    def read(group: int) -> pd.DataFrame:
        try:
            table = found.groups[group]()
        except Exception as error:  # as above
            raise _not_whole(path, error) from None
        if group not in seen:
            seen.add(group)
            if wrong := columns.problems(table, wanted, learned=learned):
                raise stages.damaged(path, wrong[0])
        return table

    read(0)
    return Rows([partial(read, group) for group in range(len(found.groups))], found.count)


def _not_whole(path: Path, error: Exception) -> InputError:
    said = str(error).splitlines()
    return stages.damaged(path, f"not a whole Parquet file ({said[0] if said else type(error).__name__})")


def made_encoder(rows: Rows) -> Any:
    """Return the task's encoder, made from the training rows: all in one table, or as `batches` if that is its word.

    Raises:
        InputError: the task's code fails, or returns no model.
    """
    make = task.part("model.features", "encoder")
    with task.told("encoder fails"):
        made = make(rows) if by_batches(make) else make(rows.whole())
    if not callable(made):
        raise InputError(
            f"model/features.py: encoder returned {type(made).__name__}: expected a Keras model from the raw fields to "
            "a dict of encoded inputs"
        )
    return made


def by_batches(make: Any) -> bool:
    """Return whether an encoder is made from tables of some rows each, and not from one with all of them."""
    return callable(make) and "batches" in inspect.signature(make).parameters


def raw_inputs(table: pd.DataFrame, features: Mapping[str, Field]) -> dict[str, Any]:
    """Return the task's fields as TensorFlow tensors of shape (rows, …) and of the declared types."""
    import tensorflow as tf

    return {
        name: tf.constant(array, dtype="string" if array.dtype == object else array.dtype)
        for name, array in values.arrays(table, features).items()
    }
