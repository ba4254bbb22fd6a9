"""Predict requests: JSON to arrays, by the rules of TensorFlow Serving's REST API.

The rules are those of the documented API (https://www.tensorflow.org/tfx/serving/api_rest) and of the server's
messages: `instances` are rows, `inputs` are columns, an object with the one key `b64` is a binary string, an integer
input takes no `1.0`, NaN and Infinity are tokens, and an output that is alone drops its name.
"""

import base64
import binascii
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ci.serving import document
from ci.serving.document import shown

Array = NDArray[Any]

_INTEGERS = {
    "DT_INT8": ("int8", -(2**31), 2**31), "DT_INT16": ("int16", -(2**31), 2**31),
    "DT_UINT8": ("uint8", -(2**31), 2**31), "DT_INT32": ("int32", -(2**31), 2**31),
    "DT_INT64": ("int64", -(2**63), 2**63), "DT_UINT32": ("uint32", 0, 2**32), "DT_UINT64": ("uint64", 0, 2**64),
}  # fmt: skip
"""Integer type to its numpy name and the bounds, lower included and upper not, of the JSON integers it takes."""
_FLOATS = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64"}
_MOST = 1_000_000
"""Arrays and objects of a request: each takes up to a hundred times more memory than its bytes."""
_DEEPEST = 64
"""Axes that an array may have."""


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """A request is refused: the answer has the reason and an HTTP status other than 200."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class InvalidArgument(Refused):
    """The request does not fit the API or the model's signature: HTTP 400."""

    def __init__(self, message: str):
        super().__init__(400, message)


class Unimplemented(Refused):
    """The server has no such conversion: HTTP 501."""

    def __init__(self, message: str):
        super().__init__(501, message)


@dataclass(frozen=True)
class Request:
    """A predict request: the signature it names ("" for the default), and the whole document."""

    signature: str
    document: dict[str, Any]

    @property
    def rows(self) -> bool:
        """Whether it has rows, so that its answer has rows too."""
        return "instances" in self.document


def parse(body: bytes) -> Request:
    """Read a request body as far as that needs no model.

    Raises:
        InvalidArgument: it is not JSON, not an object, too much to hold, or names its signature by something else than
            text.
    """
    if body.count(b"[") + body.count(b"{") > _MOST:
        raise InvalidArgument(
            f"JSON Parse error: there are more than {_MOST:,} arrays and objects: send fewer rows at once"
        )
    try:
        found = document.parse(body.decode(errors="surrogateescape").removeprefix("\ufeff"))
    except document.Malformed as error:
        raise InvalidArgument(f"JSON Parse error: {error}") from None
    if not isinstance(found, dict):
        raise InvalidArgument(f"JSON Value: {shown(found)} Is not object")
    signature = found.get("signature_name", "")
    if not isinstance(signature, str):
        raise InvalidArgument(
            f"JSON Value: {shown(found)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return Request(signature, found)


def arrays(request: Request, dtypes: Mapping[str, str]) -> dict[str, Array]:
    """Turn a request into one array for each named input.

    Args:
        request: rows, which are stacked along a new first axis, or columns, which are taken as they are.
        dtypes: name of each input to its type, such as `DT_FLOAT`.

    Raises:
        InvalidArgument: neither rows nor columns are there, or a name, a type or a shape does not fit.
        Unimplemented: an input's type has no form in JSON.
    """
    if not dtypes:
        raise InvalidArgument(f"Failed to get input map for signature: {request.signature or 'DEFAULT'}")
    if not request.rows:
        if "inputs" not in request.document:
            raise InvalidArgument("Missing 'inputs' or 'instances' key")
        return _columns(request.document["inputs"], dtypes)
    instances, problem = request.document["instances"], None
    if "inputs" in request.document:
        problem = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
    elif not isinstance(instances, list):
        problem = "Expecting 'instances' to be an list/array"
    elif not instances:
        problem = "No values in 'instances' array"
    if problem:
        raise InvalidArgument(f"JSON Value: {shown(request.document)} {problem}")
    return _rows(instances, dtypes)


def _columns(inputs: Any, dtypes: Mapping[str, str]) -> dict[str, Array]:
    if not is_named(inputs):
        if len(dtypes) > 1:
            raise InvalidArgument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        inputs = {next(iter(dtypes)): inputs}
    result = {}
    for name, dtype in dtypes.items():
        if name not in inputs:
            raise InvalidArgument(f"Missing named input: {name} in 'inputs' object.")
        shape, values = _dense(inputs[name], dtype)
        result[name] = _array(values, dtype, shape)
    return result


def _rows(instances: list[Any], dtypes: Mapping[str, str]) -> dict[str, Array]:
    named = is_named(instances[0])
    if not isinstance(instances[0], dict) and len(dtypes) > 1:
        raise InvalidArgument(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    only = next(iter(dtypes))
    shapes: dict[str, tuple[int, ...]] = {}
    values: dict[str, list[Any]] = {name: [] for name in dtypes}
    for index, element in enumerate(instances):
        if is_named(element) != named:
            found = "object but got list" if named else "value/list but got object"
            raise InvalidArgument(f"Expecting {found} at item {index} of input list")
        for name, item in element.items() if named else [(only, element)]:
            try:
                if name not in dtypes:
                    raise InvalidArgument(f"JSON object: does not have named input: {name}")
                shape, flat = _dense(item, dtypes[name])
                _same(shapes.setdefault(name, shape), shape)
            except (InvalidArgument, Unimplemented) as error:
                key = f" key: {name}" if named else ""
                code = "UNIMPLEMENTED" if isinstance(error, Unimplemented) else "INVALID_ARGUMENT"
                raise InvalidArgument(
                    f"Failed to process element: {index}{key} of 'instances' list. Error: {code}: {error}"
                ) from None
            values[name].extend(flat)
        if named and element.keys() != dtypes.keys():
            raise InvalidArgument(
                f"Failed to process element: {index} of 'instances' list. JSON object: {shown(element)} "
                f"keys must be equal to: {','.join(sorted(dtypes))}"
            )
    if missing := sorted(dtypes.keys() - shapes.keys()):  # binary strings, which name none of several inputs
        raise InvalidArgument(
            f"input size does not match signature: {len(shapes)}!={len(dtypes)} len({{{','.join(sorted(shapes))}}}) != "
            f"len({{{','.join(sorted(dtypes))}}}). Sent extra: {{}}. Missing but required: {{{','.join(missing)}}}."
        )
    return {name: _array(values[name], dtype, (len(instances), *shapes[name])) for name, dtype in dtypes.items()}


def _same(expected: tuple[int, ...], found: tuple[int, ...]) -> None:
    if expected == found:
        return
    if math.prod(expected) != math.prod(found):
        raise InvalidArgument(f"Expecting tensor size: {math.prod(expected)} but got: {math.prod(found)}")
    listed = [f"[{','.join(map(str, shape))}]" for shape in (expected, found)]
    raise InvalidArgument(f"Expecting shape {listed[0]} but got: {listed[1]}")


def _dense(value: Any, dtype: str) -> tuple[tuple[int, ...], list[Any]]:
    """Return a nested list's shape, read off its first elements, and its checked values in row-major order."""
    shape, first = [], value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    if len(shape) >= _DEEPEST:
        raise InvalidArgument(f"Encountered list at unexpected level: {_DEEPEST} expected < {_DEEPEST}")
    flat: list[Any] = []
    _fill(value, dtype, tuple(shape), 0, flat)
    return tuple(shape), flat


def _fill(value: Any, dtype: str, shape: tuple[int, ...], level: int, into: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise InvalidArgument(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        into.append(_value(value, dtype))
        return
    if level >= len(shape):
        raise InvalidArgument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise InvalidArgument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        _fill(item, dtype, shape, level + 1, into)


def _value(value: Any, dtype: str) -> Any:
    """Check one JSON value against a type; JSON's true and false are no numbers, and 1.0 is no integer."""
    kind = type(value)
    if dtype in _FLOATS and kind in (int, float):
        return float(value) if kind is float or abs(value) < 2**1023 else float("inf")
    if dtype in _INTEGERS and kind is int and _INTEGERS[dtype][1] <= value < _INTEGERS[dtype][2]:
        return value
    if dtype == "DT_BOOL" and kind is bool:
        return value
    if dtype == "DT_STRING" and kind is str:
        return _encoded(value)
    if dtype == "DT_STRING" and kind is dict:
        return binary(value)
    if dtype in _FLOATS or dtype in _INTEGERS or dtype in ("DT_BOOL", "DT_STRING"):
        raise InvalidArgument(
            f"JSON Value: {shown(value)} Type: {json_type(value)} is not of expected type: "
            f"{dtype.removeprefix('DT_').lower()}"
        )
    raise Unimplemented(f"Conversion of JSON Value: {shown(value)} to type: {dtype.removeprefix('DT_').lower()}")


def _encoded(text: str) -> bytes:
    try:
        return text.encode(errors="surrogateescape")  # bytes of the body that were no UTF-8 pass through unchanged
    except UnicodeEncodeError:
        raise InvalidArgument("JSON Parse error: The surrogate pair in string is invalid.") from None


def binary(value: dict[str, Any]) -> bytes:
    """Return the bytes of a binary string.

    Raises:
        InvalidArgument: it is no object with the one key `b64`, or that is no base64.
    """
    if is_named(value):
        raise InvalidArgument(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    text = re.sub(r"\s", "", value["b64"])
    bare = text.rstrip("=")
    padding = "=" * (-len(bare) % 4)
    try:
        if text not in (bare, bare + padding):
            raise ValueError("padded too much or too little")
        return base64.b64decode(bare + padding, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgument("Unable to base64 decode") from None


def is_named(value: Any) -> bool:
    """Whether a value is an object of named tensors rather than a plain value, a list or a binary string."""
    return isinstance(value, dict) and not (value.keys() == {"b64"} and isinstance(value["b64"], str))


def _array(values: list[Any], dtype: str, shape: tuple[int, ...]) -> Array:
    if dtype in _INTEGERS:  # by way of 64 bits: a value that 8 or 16 bits cannot hold wraps, as in the server
        wide = np.array(values, dtype="uint64" if dtype == "DT_UINT64" else "int64")
        return wide.astype(_INTEGERS[dtype][0]).reshape(shape)
    with np.errstate(over="ignore"):
        return np.array(values, dtype=_FLOATS.get(dtype, "bool" if dtype == "DT_BOOL" else object)).reshape(shape)


def json_type(value: Any) -> str:
    """Return what the server calls the type of a JSON value."""
    if value is None:
        return "Null"
    return {bool: str(value), dict: "Object", list: "Array", str: "String"}.get(type(value), "Number")
