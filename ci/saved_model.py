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
    """Return the names and types of a SavedModel's `serving_default` signature.

    Raises:
        StageError: there is no such signature, or it has more than one output.
    """
    found = definitions(saved_model).get("serving_default")
    if found is None or len(found["outputs"]) != 1:
        raise StageError(f"{saved_model} must have a signature serving_default with one output")
    inputs = {name: tensor["dtype"] for name, tensor in sorted(found["inputs"].items())}
    return {"inputs": inputs, "output": next(iter(found["outputs"]))}
