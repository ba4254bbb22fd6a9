"""Predict answers: arrays to JSON, by the rules of TensorFlow Serving's REST API."""

import base64
import json
import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from ci.serving.tensors import Array, InvalidArgument, Request

_DIGITS = {"float32": 9, "float64": 17}
"""Float type to the significant digits that name every number of it."""
_WRITTEN = {*_DIGITS, "int8", "int16", "uint8", "int32", "int64", "uint32", "uint64", "bool", "object"}
"""Types of outputs that have a form in JSON."""


def answer(request: Request, outputs: Mapping[str, Array]) -> bytes:
    """Return the response body: `predictions` for rows, `outputs` for columns.

    Raises:
        InvalidArgument: an output's type has no form in JSON, or rows were asked for, and the outputs have no common
            first axis.
    """
    alone = len(outputs) == 1
    if not request.rows:
        columns = {name: _nested(_tokens(name, array), array.shape)[0] for name, array in outputs.items()}
        return _body("outputs", next(iter(columns.values())) if alone else _object(columns))
    for name, array in outputs.items():
        if array.ndim == 0:
            raise InvalidArgument(f"Tensor name: {name} has no shape information ")
    for (_, before), (name, array) in pairwise(outputs.items()):
        if len(before) != len(array):
            raise InvalidArgument(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {len(before)}"
            )
    lists = {name: _nested(_tokens(name, array), array.shape, 1) for name, array in outputs.items()}
    if alone:
        return _body("predictions", f"[{', '.join(next(iter(lists.values())))}]")
    rows = (_object(dict(zip(lists, row, strict=True))) for row in zip(*lists.values(), strict=True))
    return _body("predictions", f"[{', '.join(rows)}]")


def _tokens(name: str, array: Array) -> list[str]:
    """Return each value of an array as JSON text, in row-major order."""
    kind = str(array.dtype)
    if kind not in _WRITTEN:
        raise InvalidArgument(f"Failed to write JSON value for tensor type: {kind.replace('float16', 'half')}")
    flat = array.reshape(-1).tolist()
    if kind in _DIGITS:
        short = [f"{value:.6g}" for value in flat]
        with np.errstate(over="ignore"):
            same = np.array(short, dtype="float64").astype(kind) == array.reshape(-1)
        return [_decimal(v, s, yes, _DIGITS[kind]) for v, s, yes in zip(flat, short, same.tolist(), strict=True)]
    if kind != "object":
        return [json.dumps(value) for value in flat]
    if name.endswith("_bytes"):
        return [_object({"b64": json.dumps(base64.b64encode(value).decode())}) for value in flat]
    return [json.dumps(value.decode(errors="surrogateescape"), ensure_ascii=False) for value in flat]


def _decimal(value: float, short: str, same: bool, digits: int) -> str:
    """Return a float as the server writes it: by six digits if they name it, else by all, and never as an integer."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = short if same else f"{value:.{digits}g}"
    return text if "." in text or "e" in text else f"{text}.0"


def _nested(tokens: list[str], shape: tuple[int, ...], until: int = 0) -> list[str]:
    """Join the innermost values to lists, those to lists of lists, down to the axis `until`."""
    for axis in range(len(shape) - 1, until - 1, -1):
        size, count = shape[axis], math.prod(shape[:axis])
        tokens = [f"[{', '.join(tokens[at * size : (at + 1) * size])}]" for at in range(count)]
    return tokens


def _object(members: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'{json.dumps(name)}: {text}' for name, text in members.items())}}}"


def _body(key: str, text: str) -> bytes:
    return _object({key: text}).encode(errors="surrogateescape")
