"""What a SavedModel on disk says about itself, without running it."""

from pathlib import Path
from typing import Any

from ci.errors import StageError


def definitions(folder: Path) -> dict[str, Any]:
    """Return a SavedModel's signatures as TensorFlow Serving's metadata answer shows them, every field written out."""
    from google.protobuf.json_format import MessageToDict
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    return {
        name: MessageToDict(definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        for name, definition in sorted(saved.meta_graphs[0].signature_def.items())
    }


def signature(saved_model: Path) -> dict[str, Any]:
    """Return the inputs and outputs of a SavedModel's `serving_default` signature: names, types and shapes of a row.

    Raises:
        StageError: there is no such signature.
    """
    found = definitions(saved_model).get("serving_default")
    if found is None or not found["outputs"]:
        raise StageError(f"{saved_model} must have a signature serving_default with an output")
    inputs = {name: tensor["dtype"] for name, tensor in sorted(found["inputs"].items())}
    shapes = {name: shape for name, tensor in sorted(found["inputs"].items()) if (shape := _shape(tensor))}
    outputs = {name: {"shape": _shape(tensor)} for name, tensor in sorted(found["outputs"].items())}
    return {"inputs": inputs, "shapes": shapes, "outputs": outputs}


def _shape(tensor: dict[str, Any]) -> list[int | None]:
    """Return the shape of one row's value; None for an axis of any length."""
    sizes = [int(axis["size"]) for axis in tensor["tensor_shape"]["dim"]]
    return [None if size < 0 else size for size in sizes[1:]]
