"""From the raw fields of a request to what the network reads: computed inside the saved model.

So training and serving cannot differ, and a client sends plain named values.
"""

import keras
import numpy as np
from keras import layers, ops

from model import FEATURES

CATEGORIES = ("carrier", "origin", "dest")
CYCLES = {"weekday": 7, "hour": 24}
NUMBERS = tuple(name for name, dtype in FEATURES.items() if dtype == "float32")


@keras.saving.register_keras_serializable("flights")
class Standardize(layers.Layer):
    """Numbers to zero mean and unit deviation, with a flag each for missing; a missing number becomes the mean.

    What lies beyond five deviations counts as five: one misread anemometer must not drown a flight.
    """

    def __init__(self, mean, deviation, **kwargs):
        super().__init__(**kwargs)
        self.mean, self.deviation = mean, deviation

    def call(self, numbers):
        """Map (rows, numbers) to (rows, 2 · numbers)."""
        missing = ops.isnan(numbers)
        scaled = (numbers - np.float32(self.mean)) / np.float32(self.deviation)
        scaled = ops.clip(ops.where(missing, ops.zeros_like(scaled), scaled), -5.0, 5.0)
        return ops.concatenate([scaled, ops.cast(missing, "float32")], axis=-1)


def encoder(train):
    """Return a model from a request's raw fields, each of shape (rows,), to a dict of encoded inputs.

    Args:
        train: the training rows (a DataFrame): vocabularies, means and deviations come from here alone.
    """
    fields = {name: keras.Input(shape=(), dtype=dtype, name=name) for name, dtype in FEATURES.items()}
    numbers = ops.stack([fields[name] for name in NUMBERS], axis=-1)
    statistics = train[list(NUMBERS)].astype("float64")
    mean, deviation = statistics.mean().fillna(0.0), statistics.std().fillna(1.0).clip(lower=1e-6)
    encoded = {"numbers": Standardize(mean.tolist(), deviation.tolist(), name="standardize")(numbers)}
    for name in CATEGORIES:
        vocabulary = sorted(train[name].unique())
        encoded[name] = layers.StringLookup(vocabulary=vocabulary, name=f"{name}_index")(fields[name])
    for name, length in CYCLES.items():
        encoded[name] = ops.cast(ops.mod(fields[name], length), "int32")
    return keras.Model(fields, encoded, name="encoder")
