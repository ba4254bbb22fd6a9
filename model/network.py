"""The network and its search space."""

import keras
from keras import layers

from model.features import CATEGORIES, CYCLES


def build(hp, encoder):
    """Return the compiled network for one choice of hyperparameters.

    Args:
        hp: keras-tuner's `HyperParameters`; every call on it declares a dimension of the search space.
        encoder: the model of `model.features.encoder`; its outputs are this network's inputs.
    """
    embedding = hp.Int("embedding", 4, 32, step=4, default=8)
    depth = hp.Int("depth", 1, 3, default=2)
    width = hp.Int("width", 32, 256, step=32, default=64)
    activation = hp.Choice("activation", ["relu", "gelu"])
    dropout = hp.Float("dropout", 0.0, 0.5, step=0.1, default=0.2)
    learning_rate = hp.Float("learning_rate", 3e-4, 1e-2, sampling="log", default=2e-3)
    weight_decay = hp.Float("weight_decay", 1e-6, 1e-2, sampling="log", default=1e-4)

    inputs = {
        name: keras.Input(shape=tensor.shape[1:], dtype=tensor.dtype, name=name)
        for name, tensor in encoder.output.items()
    }
    parts = [inputs["numbers"]]
    for name in CATEGORIES:
        size = encoder.get_layer(f"{name}_index").vocabulary_size()
        parts.append(layers.Embedding(size, embedding, name=f"{name}_embedding")(inputs[name]))
    for name, length in CYCLES.items():
        parts.append(layers.Embedding(length, embedding, name=f"{name}_embedding")(inputs[name]))
    hidden = layers.Concatenate()(parts)
    for _ in range(depth):
        hidden = layers.Dropout(dropout)(layers.Dense(width, activation=activation)(hidden))
    late = layers.Dense(1, activation="sigmoid", name="late")(hidden)
    network = keras.Model(inputs, late, name="network")
    network.compile(
        optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay),
        loss="binary_crossentropy",
        metrics=[keras.metrics.AUC(name="auc")],
    )
    return network
