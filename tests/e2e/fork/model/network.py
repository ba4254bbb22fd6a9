"""The day before's warmth and a learned change of it."""

import keras
from keras import layers


def build(hp, encoder):
    """Return the compiled network for one choice of hyperparameters."""
    width = hp.Int("width", 8, 32, step=8, default=16)
    activation = hp.Choice("activation", ["relu", "tanh"])
    learning_rate = hp.Float("learning_rate", 3e-3, 3e-2, sampling="log", default=1e-2)
    inputs = {
        name: keras.Input(shape=tensor.shape[1:], dtype=tensor.dtype, name=name)
        for name, tensor in encoder.output.items()
    }
    seen = layers.Concatenate()([inputs["numbers"], inputs["weather"], inputs["season"]])
    change = layers.Dense(1, name="change")(layers.Dense(width, activation=activation)(seen))
    network = keras.Model(inputs, layers.Add(name="temp_max")([inputs["warmth"], change]), name="network")
    network.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="mse",
        metrics=[keras.metrics.RootMeanSquaredError(name="rmse")],
    )
    return network
