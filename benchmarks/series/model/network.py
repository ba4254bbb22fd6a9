"""A small dense network and its search space."""

import keras
from keras import layers


def build(hp, encoder):
    """Return the compiled network for one choice of hyperparameters."""
    width = hp.Int("width", 8, 32, step=8)
    rate = hp.Float("learning_rate", 1e-3, 1e-2, sampling="log")
    inputs = {name: keras.Input(shape=tensor.shape[1:], name=name) for name, tensor in encoder.output.items()}
    hidden = layers.Dense(width, activation="relu")(layers.Concatenate()(list(inputs.values())))
    network = keras.Model(inputs, layers.Dense(1, activation="sigmoid", name="returned")(hidden), name="network")
    network.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=[keras.metrics.AUC(name="auc")])
    return network
