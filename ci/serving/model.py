"""One model version on disk, loaded by TensorFlow and run by its signatures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ci.saved_model import definitions
from ci.serving.tensors import Array, InvalidArgument


@dataclass
class Version:
    """A model's newest version and how far it has come: the states are TensorFlow Serving's."""

    model: str
    number: int
    state: str = "START"
    error: str = ""
    signatures: dict[str, Any] = field(default_factory=dict)
    """Signature name to its TensorFlow function."""
    definitions: dict[str, Any] = field(default_factory=dict)
    """Signature name to its definition as the metadata answer shows it."""

    def load(self, folder: Path) -> None:
        """Load the SavedModel in `folder`; a failure is a state of the version, not an exception."""
        self.state = "LOADING"
        try:
            import tensorflow as tf

            self.definitions = definitions(folder)
            self.signatures = dict(tf.saved_model.load(str(folder)).signatures)
            self.state = "AVAILABLE"
        except Exception as error:  # the server stays up and answers what went wrong
            self.state, self.error = "END", f"{type(error).__name__}: {error}"

    def inputs(self, signature: str) -> dict[str, str]:
        """Return name and type of each input.

        Raises:
            InvalidArgument: there is no such signature.
        """
        if signature not in self.signatures:
            raise InvalidArgument(f'Serving signature name: "{signature}" not found in signature def')
        return {name: tensor["dtype"] for name, tensor in self.definitions[signature]["inputs"].items()}

    def run(self, signature: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Run a signature.

        Raises:
            InvalidArgument: TensorFlow refuses the shapes.
        """
        import tensorflow as tf

        function = self.signatures[signature]
        specs = function.structured_input_signature[1]
        tensors = {name: tf.constant(array, specs[name].dtype) for name, array in arrays.items()}
        try:
            outputs = {name: tensor.numpy() for name, tensor in sorted(function(**tensors).items())}
        except (tf.errors.InvalidArgumentError, ValueError, TypeError) as error:
            raise InvalidArgument(str(error).splitlines()[0]) from None
        # A string alone comes as bytes.
        return {name: np.array(value, object) if isinstance(value, bytes) else value for name, value in outputs.items()}


def newest(base_path: Path) -> tuple[int, Path] | None:
    """Return the highest version below a model's base path, or None while there is none."""
    numbers = [int(path.name) for path in base_path.glob("*") if path.name.isdecimal() and path.is_dir()]
    return (max(numbers), base_path / str(max(numbers))) if numbers else None
