"""Prepared data as tensors, and TensorFlow set up to give the same numbers each time."""

import os
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ci import stages, task, workspace
from ci.results.data import Part
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


def read_part(part: Part) -> pd.DataFrame:
    """Return one part of the prepared data; traffic may be none, and its fields may be missing.

    Raises:
        InputError: it is missing, not whole or empty, or a column that the task names is missing or holds something
            else than the task declares.
    """
    path, wanted = stages.require(workspace.DATA / f"{part}.parquet"), task.load()
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # pyarrow and pandas raise of every kind where bytes are not as they should be
        said = str(error).splitlines()
        what = f"not a whole Parquet file ({said[0] if said else type(error).__name__})"
        raise stages.damaged(path, what) from None
    learned = part != "traffic"
    if table.empty and learned:
        raise stages.damaged(path, "no rows")
    if missing := [name for name, *_ in columns.declared(wanted) if name not in table]:
        raise stages.damaged(path, f"no column {', '.join(dict.fromkeys(missing))}")
    if wrong := columns.problems(table, wanted, learned=learned):
        raise stages.damaged(path, wrong[0])
    return table


def raw_inputs(table: pd.DataFrame, features: Mapping[str, Field]) -> dict[str, Any]:
    """Return the task's fields as TensorFlow tensors of shape (rows, …) and of the declared types."""
    import tensorflow as tf

    return {
        name: tf.constant(array, dtype="string" if array.dtype == object else array.dtype)
        for name, array in values.arrays(table, features).items()
    }
