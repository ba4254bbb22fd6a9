"""From two days of temperatures to what the network reads: computed inside the saved model."""

import keras
from keras import layers, ops

from model import PAST


def encoder(train):
    """Return a model from raw fields to the past relative to now, now itself, the hour and the airport."""
    fields = {
        "past": keras.Input(shape=(PAST,), dtype="float32", name="past"),
        "hour": keras.Input(shape=(), dtype="int64", name="hour"),
        "origin": keras.Input(shape=(), dtype="string", name="origin"),
    }
    now = fields["past"][:, -1:]
    encoded = {
        "past": (fields["past"] - now) / 10.0,
        "now": (now - 50.0) / 20.0,
        "hour": ops.one_hot(ops.cast(fields["hour"], "int32"), 24),
        "origin": layers.StringLookup(vocabulary=sorted(train["origin"].unique()), output_mode="one_hot")(
            fields["origin"]
        ),
    }
    return keras.Model(fields, encoded, name="encoder")
