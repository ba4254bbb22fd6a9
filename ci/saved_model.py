"""What a SavedModel on disk says about itself, without running it."""

from pathlib import Path
from typing import Any


def definitions(folder: Path) -> dict[str, Any]:
    """Return a SavedModel's signatures as TensorFlow Serving's metadata answer shows them, every field written out."""
    from google.protobuf.json_format import MessageToDict
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    return {
        name: MessageToDict(definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        for name, definition in sorted(saved.meta_graphs[0].signature_def.items())
    }
