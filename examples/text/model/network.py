"""A small network on words, and its search space."""

import keras
from keras import layers

from model import CLASSES


def build(hp, encoder):
    """Return the compiled network for one choice of hyperparameters."""
    width = hp.Int("width", 16, 128, step=16)
    depth = hp.Int("depth", 0, 2)
    dropout = hp.Float("dropout", 0.0, 0.6, step=0.1)
    rate = hp.Float("learning_rate", 5e-4, 1e-2, sampling="log")
    decay = hp.Float("weight_decay", 1e-6, 1e-2, sampling="log")

    words = keras.Input(shape=encoder.output["words"].shape[1:], name="words")
    hidden = layers.Dropout(dropout)(words)
    for _ in range(depth):
        hidden = layers.Dropout(dropout)(layers.Dense(width, activation="relu")(hidden))
    library = layers.Dense(len(CLASSES), activation="softmax", name="library")(hidden)
    network = keras.Model({"words": words}, library, name="network")
    network.compile(
        keras.optimizers.AdamW(rate, weight_decay=decay), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return network
