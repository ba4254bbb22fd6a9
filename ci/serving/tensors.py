"""Predict requests and answers: JSON to arrays and back, by the rules of TensorFlow Serving's REST API.

The rules are those of the documented API (https://www.tensorflow.org/tfx/serving/api_rest) and of the server's
messages: `instances` are rows, `inputs` are columns, an object with the one key `b64` is a binary string, an integer
input takes no `1.0`, NaN and Infinity are tokens, and an output that is alone drops its name.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_INTEGERS = {
    "DT_INT8": ("int8", -(2**31), 2**31), "DT_INT16": ("int16", -(2**31), 2**31),
    "DT_UINT8": ("uint8", -(2**31), 2**31), "DT_INT32": ("int32", -(2**31), 2**31),
    "DT_INT64": ("int64", -(2**63), 2**63), "DT_UINT32": ("uint32", 0, 2**32), "DT_UINT64": ("uint64", 0, 2**64),
}  # fmt: skip
"""Integer type to its numpy name and the bounds, lower included and upper not, of the JSON integers it takes."""
_FLOATS = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64"}


class InvalidArgument(Exception):  # noqa: N818 - the status code's name in the API
    """The request does not fit the model's signature: HTTP 400."""


@dataclass(frozen=True)
class Request:
    """A predict request: the signature it names ("" for the default), and its rows or columns, one being None."""

    signature: str
    instances: list[Any] | None
    inputs: Any


def parse(body: bytes) -> Request:
    """Read a request body.

    Raises:
        InvalidArgument: it is not JSON, or not an object with either `instances` or `inputs`.
    """
    text = body.decode(errors="surrogateescape").lstrip("\ufeff \t\r\n")
    if not text:
        raise InvalidArgument("JSON Parse error: The document is empty")
    try:
        document, _ = json.JSONDecoder().raw_decode(text)  # like the real server, stops when the document ends
    except json.JSONDecodeError as error:
        raise InvalidArgument(f"JSON Parse error: Invalid value. at offset: {error.pos}") from None
    except (RecursionError, ValueError):
        raise InvalidArgument("JSON Parse error: nested too deeply, or a number with too many digits") from None
    if not isinstance(document, dict):
        raise InvalidArgument(f"JSON Value: {_shown(document)} Is not object")
    signature = document.get("signature_name", "")
    if not isinstance(signature, str):
        raise InvalidArgument(
            f"JSON Value: {_shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    if "instances" not in document and "inputs" not in document:
        raise InvalidArgument("Missing 'inputs' or 'instances' key")
    if "instances" not in document:
        return Request(signature, None, document["inputs"])
    instances, problem = document["instances"], None
    if "inputs" in document:
        problem = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
    elif not isinstance(instances, list):
        problem = "Expecting 'instances' to be an list/array"
    elif not instances:
        problem = "No values in 'instances' array"
    if problem:
        raise InvalidArgument(f"JSON Value: {_shown(document)} {problem}")
    return Request(signature, instances, None)


def arrays(request: Request, dtypes: Mapping[str, str]) -> dict[str, Array]:
    """Turn a request into one array for each named input.

    Args:
        request: rows, which are stacked along a new first axis, or columns, which are taken as they are.
        dtypes: name of each input to its type, such as `DT_FLOAT`.

    Raises:
        InvalidArgument: a name, a type or a shape does not fit.
    """
    if request.instances is None:
        return _columns(request.inputs, dtypes)
    return _rows(request.instances, dtypes)


def _columns(inputs: Any, dtypes: Mapping[str, str]) -> dict[str, Array]:
    if not _is_named(inputs):
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
    named = _is_named(instances[0])
    if not isinstance(instances[0], dict) and len(dtypes) > 1:
        raise InvalidArgument(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    only = next(iter(dtypes))
    shapes: dict[str, tuple[int, ...]] = {}
    values: dict[str, list[Any]] = {name: [] for name in dtypes}
    for index, element in enumerate(instances):
        if _is_named(element) != named:
            found = "object but got list" if named else "value/list but got object"
            raise InvalidArgument(f"Expecting {found} at item {index} of input list")
        for name, item in element.items() if named else [(only, element)]:
            try:
                if name not in dtypes:
                    raise InvalidArgument(f"JSON object: does not have named input: {name}")
                shape, flat = _dense(item, dtypes[name])
                _same(shapes.setdefault(name, shape), shape)
            except InvalidArgument as error:
                key = f" key: {name}" if named else ""
                raise InvalidArgument(
                    f"Failed to process element: {index}{key} of 'instances' list. Error: INVALID_ARGUMENT: {error}"
                ) from None
            values[name].extend(flat)
        if named and element.keys() != dtypes.keys():
            raise InvalidArgument(
                f"Failed to process element: {index} of 'instances' list. JSON object: {_shown(element)} "
                f"keys must be equal to: {','.join(sorted(dtypes))}"
            )
    return {name: _array(values[name], dtype, (len(instances), *shapes[name])) for name, dtype in dtypes.items()}


def _same(expected: tuple[int, ...], found: tuple[int, ...]) -> None:
    if np.prod(expected) != np.prod(found):
        raise InvalidArgument(f"Expecting tensor size: {np.prod(expected):g} but got: {np.prod(found):g}")
    if expected != found:
        listed = [f"[{','.join(map(str, shape))}]" for shape in (expected, found)]
        raise InvalidArgument(f"Expecting shape {listed[0]} but got: {listed[1]}")


def _dense(value: Any, dtype: str) -> tuple[tuple[int, ...], list[Any]]:
    """Return a nested list's shape, read off its first elements, and its checked values in row-major order."""
    shape, first = [], value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    flat: list[Any] = []
    _fill(value, dtype, tuple(shape), 0, flat)
    return tuple(shape), flat


def _fill(value: Any, dtype: str, shape: tuple[int, ...], level: int, into: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise InvalidArgument(
                f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
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
        return _binary(value)
    if dtype in _FLOATS or dtype in _INTEGERS or dtype in ("DT_BOOL", "DT_STRING"):
        raise InvalidArgument(
            f"JSON Value: {_shown(value)} Type: {_kind(value)} is not of expected type: "
            f"{dtype.removeprefix('DT_').lower()}"
        )
    raise InvalidArgument(f"Conversion of JSON Value: {_shown(value)} to type: {dtype.removeprefix('DT_').lower()}")


def _encoded(text: str) -> bytes:
    try:
        return text.encode(errors="surrogateescape")  # bytes of the body that were no UTF-8 pass through unchanged
    except UnicodeEncodeError:
        raise InvalidArgument("JSON Parse error: The surrogate pair in string is invalid.") from None


def _binary(value: dict[str, Any]) -> bytes:
    if _is_named(value):
        raise InvalidArgument(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    try:
        text = value["b64"].rstrip("=")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgument("Unable to base64 decode") from None


def _is_named(value: Any) -> bool:
    """Whether a value is an object of named tensors rather than a plain value, a list or a binary string."""
    return isinstance(value, dict) and not (value.keys() == {"b64"} and isinstance(value["b64"], str))


def _array(values: list[Any], dtype: str, shape: tuple[int, ...]) -> Array:
    if dtype in _INTEGERS:  # by way of 64 bits: a value that 8 or 16 bits cannot hold wraps, as in the server
        wide = np.array(values, dtype="uint64" if dtype == "DT_UINT64" else "int64")
        return wide.astype(_INTEGERS[dtype][0]).reshape(shape)
    with np.errstate(over="ignore"):
        return np.array(values, dtype=_FLOATS.get(dtype, "bool" if dtype == "DT_BOOL" else object)).reshape(shape)


def answer(request: Request, outputs: Mapping[str, Array]) -> bytes:
    """Return the response body: `predictions` for rows, `outputs` for columns.

    Raises:
        InvalidArgument: rows were asked for, and the outputs have no common first axis.
    """
    alone = len(outputs) == 1
    if request.instances is None:
        columns = {name: _listed(name, array) for name, array in outputs.items()}
        return _body("outputs", next(iter(columns.values())) if alone else columns)
    for name, array in outputs.items():
        if array.ndim == 0:
            raise InvalidArgument(f"Tensor name: {name} has no shape information ")
    for (_, before), (name, array) in pairwise(outputs.items()):
        if len(before) != len(array):
            raise InvalidArgument(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {len(before)}"
            )
    lists = {name: _listed(name, array) for name, array in outputs.items()}
    if alone:
        return _body("predictions", next(iter(lists.values())))
    return _body("predictions", [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)])


def _listed(name: str, array: Array) -> Any:
    """Return an array as JSON values; a 32-bit float is written with the fewest digits that name it."""
    if array.dtype == np.float32:
        return array.astype("U32").astype(np.float64).tolist()
    if array.dtype != object:
        return array.tolist()

    def text(value: bytes) -> Any:
        if name.endswith("_bytes"):
            return {"b64": base64.b64encode(value).decode()}
        return value.decode(errors="surrogateescape")

    def walk(values: Any) -> Any:
        return [walk(value) for value in values] if isinstance(values, list) else text(values)

    return walk(array.tolist())


def _body(key: str, value: Any) -> bytes:
    return json.dumps({key: value}, ensure_ascii=False).encode(errors="surrogateescape")


def _shown(value: Any) -> str:
    return json.dumps(value)[:256]


def _kind(value: Any) -> str:
    if value is None:
        return "Null"
    return {bool: str(value), dict: "Object", list: "Array", str: "String"}.get(type(value), "Number")
