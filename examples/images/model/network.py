"""A small convolutional network and its search space."""

import keras
from keras import layers


def build(hp, encoder):
    """Return the compiled network for one choice of hyperparameters."""
    filters = hp.Int("filters", 8, 32, step=8)
    width = hp.Int("width", 32, 128, step=32)
    dropout = hp.Float("dropout", 0.0, 0.5, step=0.1)
    shift = hp.Float("shift", 0.0, 0.2, step=0.05)
    rate = hp.Float("learning_rate", 1e-3, 1e-2, sampling="log")

    pixels = keras.Input(shape=encoder.output["pixels"].shape[1:], name="pixels")
    # Drawn anew in each epoch, and left out of the saved model's answers.
    moved = layers.RandomTranslation(shift, shift, seed=1)(pixels) if shift else pixels
    hidden = layers.Conv2D(filters, 3, padding="same", activation="relu")(moved)
    hidden = layers.MaxPooling2D()(hidden)
    hidden = layers.Conv2D(2 * filters, 3, padding="same", activation="relu")(hidden)
    hidden = layers.Dropout(dropout)(layers.Dense(width, activation="relu")(layers.Flatten()(hidden)))
    digit = layers.Dense(10, activation="softmax", name="digit")(hidden)
    network = keras.Model({"pixels": pixels}, digit, name="network")
    network.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return network
