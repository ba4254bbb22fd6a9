"""One way to fit a network, for trials and for the final training alike.

The raw fields are encoded once, outside the training loop: the network alone is fitted, on arrays in memory.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci import task, workspace
from ci.settings import Settings

# TensorFlow's C++ side reports missing GPUs as errors; what matters reaches Python as an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

Encoded = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Examples:
    """Encoded inputs, each with the rows along its first axis, and the targets, shape (rows, 1)."""

    inputs: Encoded
    targets: npt.NDArray[np.float32]


def make_deterministic(seed: int, threads: int) -> None:
    """Seed everything and fix the number of threads; must be called before TensorFlow does any work."""
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)


def read_part(part: str) -> pd.DataFrame:
    """Return one part of the prepared data: `train`, `validation`, `holdout` or `traffic`.

    Raises:
        InputError: it is missing, not whole, empty, or lacks a column that the task names.
    """
    path, wanted = workspace.DATA / f"{part}.parquet", task.load()
    table = workspace.read_table(path)
    if table.empty:
        raise workspace.damaged(path, "no rows")
    if missing := [name for name in (*wanted.features, wanted.target, wanted.time) if name not in table]:
        raise workspace.damaged(path, f"no column {', '.join(missing)}")
    return table


def raw_inputs(table: pd.DataFrame, features: Mapping[str, str]) -> dict[str, Any]:
    """Return the task's fields as TensorFlow tensors of shape (rows,) and of the declared types."""
    import tensorflow as tf

    return {
        name: tf.constant(table[name].to_numpy(dtype=object if dtype == "string" else dtype), dtype=dtype)
        for name, dtype in features.items()
    }


def encode(encoder: Any, table: pd.DataFrame, wanted: task.Task) -> Examples:
    """Return a table's examples as the network reads them."""
    inputs = {name: np.asarray(value) for name, value in encoder(raw_inputs(table, wanted.features)).items()}
    return Examples(inputs, table[wanted.target].to_numpy(dtype="float32").reshape(-1, 1))


def fit(network: Any, train: Examples, validation: Examples, settings: Settings, epochs: int, **options: Any) -> Any:
    """Fit a compiled network and return Keras' history.

    Args:
        network: compiled Keras model on encoded inputs.
        train: what it learns from, shuffled anew in each epoch.
        validation: what is measured after each epoch.
        settings: batch size.
        epochs: at most so many passes.
        options: passed on to Keras' `fit`, such as `callbacks`.
    """
    return network.fit(
        train.inputs,
        train.targets,
        validation_data=(validation.inputs, validation.targets),
        epochs=epochs,
        batch_size=settings.training.batch_size,
        verbose=0,
        **options,
    )
