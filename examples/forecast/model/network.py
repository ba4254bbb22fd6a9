"""A dense network that says how far the temperature moves, and its search space."""

import keras
from keras import layers

from model import TARGET


def build(hp, encoder):
    """Return the compiled network for one choice of hyperparameters."""
    width = hp.Int("width", 16, 128, step=16)
    depth = hp.Int("depth", 1, 3)
    dropout = hp.Float("dropout", 0.0, 0.4, step=0.1)
    rate = hp.Float("learning_rate", 1e-3, 1e-2, sampling="log")
    activation = hp.Choice("activation", ["relu", "gelu"])

    inputs = {name: keras.Input(shape=tensor.shape[1:], name=name) for name, tensor in encoder.output.items()}
    hidden = layers.Concatenate()(list(inputs.values())) if len(inputs) > 1 else next(iter(inputs.values()))
    for _ in range(depth):
        hidden = layers.Dropout(dropout)(layers.Dense(width, activation=activation)(hidden))
    moved = layers.Dense(len(TARGET))(hidden)
    ahead = layers.Lambda(lambda parts: parts[0] * 10.0 + parts[1] * 20.0 + 50.0, output_shape=(len(TARGET),))(
        [moved, inputs["now"]]
    )
    network = keras.Model(inputs, ahead, name="network")
    network.compile(keras.optimizers.Adam(rate), "mse", metrics=["mae"])
    return network
