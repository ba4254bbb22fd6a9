"""From the day before's observations to what the network reads, inside the saved model."""

import math

import keras
from keras import layers, ops

from model import FEATURES

NUMBERS = tuple(name for name, dtype in FEATURES.items() if dtype == "float32")


def encoder(train):
    """Return a model from a request's raw fields, each of shape (rows,), to a dict of encoded inputs."""
    fields = {name: keras.Input(shape=(), dtype=dtype, name=name) for name, dtype in FEATURES.items()}
    numbers = train[list(NUMBERS)].astype("float64")
    scale = layers.Normalization(mean=numbers.mean().tolist(), variance=numbers.var().tolist(), name="scale")
    weather = layers.StringLookup(vocabulary=sorted(train["weather_before"].unique()), output_mode="one_hot")
    angle = ops.cast(fields["month"], "float32") * (2 * math.pi / 12)
    encoded = {
        "numbers": scale(ops.stack([fields[name] for name in NUMBERS], axis=-1)),
        "weather": weather(fields["weather_before"]),
        "season": ops.stack([ops.sin(angle), ops.cos(angle)], axis=-1),
        "warmth": ops.expand_dims(fields["temp_max_before"], -1),
    }
    return keras.Model(fields, encoded, name="encoder")
