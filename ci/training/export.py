"""Saving encoder and network as one SavedModel that takes raw fields, with the same bytes in every process.

`keras.Model.export` tracks variables in a set ordered by memory address. A plain module that holds them in lists is
written in the same order every time. `fingerprint.pb` holds a random number and is optional, so it is left out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def save(encoder: Any, network: Any, features: Mapping[str, str], output: str, folder: Path) -> None:
    """Write a SavedModel whose `serving_default` takes every field with shape (rows,) and returns one value a row.

    Args:
        encoder: Keras model from raw fields to encoded inputs.
        network: Keras model from encoded inputs to shape (rows, 1).
        features: the fields' names and types.
        output: name of the output.
        folder: where to write.
    """
    import tensorflow as tf

    module = tf.Module()
    module.parameters = [variable.value for variable in (*encoder.variables, *network.variables)]
    module.tables = [layer.lookup_table for layer in encoder.layers if hasattr(layer, "lookup_table")]

    def predict(**fields: Any) -> dict[str, Any]:
        return {output: tf.squeeze(network(encoder(fields), training=False), axis=-1)}

    specs = {name: tf.TensorSpec([None], dtype, name=name) for name, dtype in features.items()}
    signature = tf.function(predict).get_concrete_function(**specs)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})
    (folder / "fingerprint.pb").unlink()


def predictor(folder: Path) -> Any:
    """Return a function from raw fields (see `ci.training.inputs.raw_inputs`) to an array of shape (rows,)."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures["serving_default"]

    def predict(fields: Mapping[str, Any]) -> Any:
        # The signature only holds on to the loaded object weakly.
        assert loaded is not None  # noqa: S101
        (values,) = signature(**fields).values()
        return values.numpy()

    return predict
