"""From raw fields to what the network reads: computed inside the saved model."""

import keras
from keras import layers, ops

from model import FEATURES

TEXTS = tuple(name for name, dtype in FEATURES.items() if dtype == "string")
NUMBERS = tuple(name for name in FEATURES if name not in TEXTS)


def encoder(train):
    """Return a model from raw fields, each of shape (rows,), to numbers of about one and indices of texts."""
    fields = {name: keras.Input(shape=(), dtype=dtype, name=name) for name, dtype in FEATURES.items()}
    numbers = ops.stack([ops.cast(fields[name], "float32") for name in NUMBERS], axis=-1)
    known = train[list(NUMBERS)].astype("float64")
    mean, deviation = known.mean().tolist(), known.std().fillna(1.0).clip(lower=1e-6).tolist()
    scaled = layers.Normalization(mean=mean, variance=[each**2 for each in deviation], name="scale")(numbers)
    encoded = {"numbers": ops.where(ops.isnan(scaled), ops.zeros_like(scaled), scaled)}
    for name in TEXTS:
        vocabulary = sorted(train[name].unique())
        encoded[name] = layers.StringLookup(vocabulary=vocabulary, output_mode="one_hot", name=f"{name}_index")(
            fields[name]
        )
    return keras.Model(fields, encoded, name="encoder")
