"""One way to fit a network, for trials and for the final training alike.

The raw fields are encoded once, outside the training loop: the network alone is fitted, on arrays in memory.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci import task
from ci.settings import Settings
from ci.training.inputs import raw_inputs

Encoded = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Examples:
    """Encoded inputs, each with the rows along its first axis, and the targets, shape (rows, 1)."""

    inputs: Encoded
    targets: npt.NDArray[np.float32]


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
