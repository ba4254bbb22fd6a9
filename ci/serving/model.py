"""One model version on disk, loaded by TensorFlow and run by its signatures."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ci.saved_model import definitions
from ci.serving import starting
from ci.serving.tensors import Array, InvalidArgument, Refused

_STATUS = {3: 400, 4: 504, 5: 404, 8: 429, 9: 400, 11: 400, 12: 501, 14: 503}
"""TensorFlow's error codes to the HTTP statuses that the server gives them; 500 for the others."""


@dataclass
class Version:
    """A model's newest version and its state; the states are TensorFlow Serving's."""

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
            tf = starting.tensorflow()
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
            Refused: TensorFlow does not run it with these arrays; the message says why, and which shapes are not those
                of the signature.
        """
        import tensorflow as tf

        function = self.signatures[signature]
        specs = function.structured_input_signature[1]
        tensors = {name: tf.constant(array, specs[name].dtype) for name, array in arrays.items()}
        try:
            outputs = {name: tensor.numpy() for name, tensor in sorted(function(**tensors).items())}
        except tf.errors.OpError as error:
            raise Refused(_STATUS.get(error.error_code, 500), self._why(signature, arrays, str(error))) from None
        except (ValueError, TypeError) as error:
            raise InvalidArgument(self._why(signature, arrays, str(error))) from None
        # A string alone comes as bytes.
        return {name: np.array(value, object) if isinstance(value, bytes) else value for name, value in outputs.items()}

    def _why(self, signature: str, arrays: Mapping[str, Array], message: str) -> str:
        """Return TensorFlow's reason without its stack, after each input whose shape is not the signature's."""
        said = message.partition("\n\t [[")[0].strip().splitlines() or ["no reason"]
        reason = said[-1] if said[0].startswith("Graph execution error") else said[0]
        shapes = []
        for name, array in arrays.items():
            expected = self.definitions[signature]["inputs"][name]["tensor_shape"]
            sizes = [int(dimension["size"]) for dimension in expected["dim"]]
            fits = len(sizes) == array.ndim and all(e in (-1, n) for e, n in zip(sizes, array.shape, strict=True))
            if not (expected["unknown_rank"] or fits):
                shapes.append(f"input {name} has shape {_shape(array.shape)}, the signature says {_shape(sizes)}")
        return "; ".join([*shapes, reason])


def newest(base_path: Path) -> tuple[int, Path] | None:
    """Return the highest version below a model's base path, or None while there is none."""
    found = [path for path in base_path.glob("*") if re.fullmatch("[0-9]{1,19}", path.name) and path.is_dir()]
    return max(((int(path.name), path) for path in found), default=None)


def _shape(sizes: Sequence[int]) -> str:
    return f"[{','.join(map(str, sizes))}]"
