"""Saving encoder and network as one SavedModel that takes raw fields, with the same bytes in every process.

`keras.Model.export` tracks variables in a set ordered by memory address. A plain module that holds them in lists is
written in the same order every time. `fingerprint.pb` holds a random number and is optional, so it is left out.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ci import workspace
from ci.errors import InputError
from ci.task import Task

INFORMATION = "assets.extra/task.json"
"""File of a saved model with what its signature cannot say: names of classes, and how rows were divided into parts."""


def save(encoder: Any, network: Any, wanted: Task, folder: Path, split: str = "") -> None:
    """Write a SavedModel whose `serving_default` takes every field with shape (rows, …) and returns every output.

    A single number has shape (rows,), all other outputs (rows, values). Outputs are float32, also where the network
    computes in mixed precision.

    Args:
        encoder: Keras model from raw fields to encoded inputs.
        network: Keras model from encoded inputs to a tensor of shape (rows, values), or to one for each output.
        wanted: names, types and shapes of the fields, and the outputs.
        folder: where to write.
        split: how rows were divided into parts, if not by days.
    """
    import tensorflow as tf

    module = tf.Module()
    module.parameters = [variable.value for variable in (*encoder.variables, *network.variables)]
    module.tables = _resources((encoder, network))

    def predict(**fields: Any) -> dict[str, Any]:
        made = named(network(encoder(fields), training=False), wanted)
        return {
            output.name: tf.cast(tf.squeeze(made[output.name], axis=-1), tf.float32)
            if output.width is None
            else tf.cast(made[output.name], tf.float32)
            for output in wanted.outputs
        }

    specs = {
        name: tf.TensorSpec([None, *field.shape], "string" if field.dtype == "bytes" else field.dtype, name=name)
        for name, field in wanted.features.items()
    }
    signature = tf.function(predict).get_concrete_function(**specs)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})
    (folder / "fingerprint.pb").unlink()
    classes = {output.name: list(output.classes) for output in wanted.outputs if output.classes}
    if classes or split:
        (folder / INFORMATION).parent.mkdir()
        workspace.write_json(folder / INFORMATION, {"classes": classes, "split": split})


def require(network: Any, wanted: Task) -> None:
    """Check the outputs of a network that says them before it is called, as models of layers do.

    Raises:
        InputError: they are not what the task declares.
    """
    made = getattr(network, "output", None)
    if made is not None:
        named(made, wanted)


def named(made: Any, wanted: Task) -> dict[str, Any]:
    """Return what a network makes by the outputs' names.

    Raises:
        InputError: it is not what the task declares.
    """
    if not isinstance(made, dict):
        several = list(made) if isinstance(made, list | tuple) else [made]
        made = {output.name: each for output, each in zip(wanted.outputs, several, strict=False)} | {
            f"output {number}": None for number in range(len(wanted.outputs) + 1, len(several) + 1)
        }
    names = [output.name for output in wanted.outputs]
    if sorted(made) != sorted(names):
        raise InputError(
            f"model/network.py: the network's outputs are {', '.join(made)}; declared are {', '.join(names)}"
        )
    for output in wanted.outputs:
        shape, width = tuple(made[output.name].shape), output.width or 1
        if len(shape) != 2 or shape[1] != width:
            what = f"the {width} of {output.kind} {output.name}" if width > 1 else f"{output.kind} {output.name}"
            raise InputError(
                f"model/network.py: the network gives shape (rows, {', '.join(map(str, shape[1:]))}) for {what}: "
                f"expected (rows, {width})"
            )
    return dict(made)


def _resources(models: Iterable[Any]) -> list[Any]:
    """Return the lookup tables and other resources of all layers, nested ones too, in the order of the layers.

    Variables that Keras does not list, as a layer may hold TensorFlow's own, are among them.
    """
    import tensorflow as tf
    from tensorflow.python.trackable.resource import CapturableResource

    found: dict[int, Any] = {}
    for model in models:
        known = {id(variable.value) for variable in model.variables}
        for layer in model._flatten_layers(include_self=False):
            for each in tf.train.TrackableView(layer).descendants():
                if isinstance(each, CapturableResource) or (isinstance(each, tf.Variable) and id(each) not in known):
                    found.setdefault(id(each), each)
    return list(found.values())


def predictor(folder: Path) -> Any:
    """Return a function from raw fields (see `ci.training.inputs.raw_inputs`) to arrays by output."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures["serving_default"]

    def predict(fields: Mapping[str, Any]) -> dict[str, Any]:
        # The signature only holds on to the loaded object weakly.
        assert loaded is not None  # noqa: S101
        return {name: values.numpy() for name, values in signature(**fields).items()}

    return predict
