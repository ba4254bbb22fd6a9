"""From the fields of an order to what the network reads: computed inside the saved model."""

import keras
from keras import layers, ops

from model import FEATURES
from model.data import REGIONS

NUMBERS = tuple(name for name, dtype in FEATURES.items() if dtype == "float32")


def encoder(train):  # noqa: ARG001 - numbers come scaled, and the regions are known
    """Return a model from raw fields, each of shape (rows,), to numbers and regions; what is missing counts as 0."""
    fields = {name: keras.Input(shape=(), dtype=dtype, name=name) for name, dtype in FEATURES.items()}
    numbers = ops.stack([fields[name] for name in NUMBERS], axis=-1)
    region = layers.StringLookup(vocabulary=sorted(REGIONS), output_mode="one_hot", name="region_index")
    encoded = {"numbers": ops.where(ops.isnan(numbers), ops.zeros_like(numbers), numbers)}
    encoded["region"] = region(fields["region"])
    encoded["weekday"] = ops.one_hot(ops.cast(ops.mod(fields["weekday"], 7), "int32"), 7)
    return keras.Model(fields, encoded, name="encoder")
