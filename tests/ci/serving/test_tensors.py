"""Requests and answers, by the rules of TensorFlow Serving's REST API."""

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.serving import responses, tensors
from ci.serving.tensors import InvalidArgument

TWO = {"a": "DT_FLOAT", "b": "DT_STRING"}


def read(body: str | bytes, dtypes: dict[str, str]) -> dict[str, Any]:
    request = tensors.parse(body if isinstance(body, bytes) else body.encode())
    return {name: array.tolist() for name, array in tensors.arrays(request, dtypes).items()}


def test_rows_of_named_fields_become_one_array_a_field() -> None:
    body = '{"instances": [{"a": 1, "b": "x"}, {"b": {"b64": "/w=="}, "a": 2.5}]}'
    assert read(body, TWO) == {"a": [1.0, 2.5], "b": [b"x", b"\xff"]}


def test_as_many_rows_as_any_batch_has_are_taken() -> None:
    body = '{"instances": [' + ", ".join(["[1]"] * 500_000) + "]}"
    assert len(read(body, {"a": "DT_INT32"})["a"]) == 500_000


def test_rows_of_a_single_input_need_no_name() -> None:
    assert read('{"instances": [[1, 2], [3, 4]]}', {"a": "DT_INT32"}) == {"a": [[1, 2], [3, 4]]}
    assert read('{"instances": [{"b64": "aGk="}, "ho"]}', {"a": "DT_STRING"}) == {"a": [b"hi", b"ho"]}


def test_columns_are_taken_as_they_are() -> None:
    assert read('{"inputs": {"a": [[1.5]], "b": "x"}}', TWO) == {"a": [[1.5]], "b": b"x"}
    assert read('{"inputs": [true, false]}', {"a": "DT_BOOL"}) == {"a": [True, False]}


def test_nan_and_infinity_are_numbers_for_floats_only() -> None:
    found = read('{"instances": [NaN, Infinity, -Infinity]}', {"a": "DT_FLOAT"})["a"]
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, -math.inf]
    with pytest.raises(InvalidArgument, match="JSON Value:  Type: Number is not of expected type: int64"):
        read('{"instances": [NaN]}', {"a": "DT_INT64"})


def test_bytes_that_are_no_utf8_and_text_beyond_ascii_pass_through_unchanged() -> None:
    assert read('{"instances": ["ü€😀"]}', {"a": "DT_STRING"}) == {"a": ["ü€😀".encode()]}
    assert read(b'{"instances": ["\xff\xfe"]}', {"a": "DT_STRING"}) == {"a": [b"\xff\xfe"]}


@pytest.mark.parametrize(
    ("body", "dtypes", "message"),
    [
        ("", TWO, "JSON Parse error: The document is empty"),
        ("instances = [1, 2]", TWO, "JSON Parse error: Invalid value"),
        ("[1]", TWO, "Is not object"),
        ("[" * 100_000, TWO, "JSON Parse error"),
        ('{"instances": [1' + "0" * 5000 + "]}", {"a": "DT_FLOAT"}, "JSON Parse error"),
        ('{"signature_name": 100}', TWO, "'signature_name' key must be a string value"),
        ("{}", TWO, "Missing 'inputs' or 'instances' key"),
        ('{"instances": [1], "inputs": [1]}', TWO, "only one of 'inputs' or 'instances'"),
        ('{"instances": 1}', TWO, "Expecting 'instances' to be an list/array"),
        ('{"instances": []}', TWO, "No values in 'instances' array"),
        ('{"instances": [1]}', TWO, "instances is a plain list, but expecting list of objects"),
        ('{"inputs": [1]}', TWO, "inputs is a plain value/list, but expecting an object"),
        ('{"inputs": {"a": [1]}}', TWO, "Missing named input: b in 'inputs' object"),
        ('{"instances": [{"a": 1}]}', TWO, "keys must be equal to: a,b"),
        ('{"instances": [{"a": 1, "b": "", "c": 1}]}', TWO, "does not have named input: c"),
        ('{"instances": [{"a": "x", "b": "y"}]}', TWO, 'Type: String is not of expected type: float'),
        ('{"instances": [{"a": null, "b": "y"}]}', TWO, "Type: Null is not of expected type: float"),
        ('{"instances": [{"a": true, "b": "y"}]}', TWO, "Type: True is not of expected type: float"),
        ('{"instances": [{"a": 1, "b": 2}]}', TWO, "Type: Number is not of expected type: string"),
        ('{"instances": [{"a": 1, "b": {"b64": "!"}}]}', TWO, "Unable to base64 decode"),
        ('{"instances": [{"a": 1, "b": {"c": "d"}}]}', TWO, "not formatted correctly for base64 data"),
        ('{"instances": [{"a": 1, "b": "\\ud800"}]}', TWO, "surrogate pair"),
        ('{"instances": [{"a": 1, "b": ""}, 2]}', TWO, "Expecting object but got list at item 1"),
        ('{"instances": [1, {"a": 1}]}', {"a": "DT_FLOAT"}, "Expecting value/list but got object at item 1"),
        ('{"instances": [1.0]}', {"a": "DT_INT64"}, "JSON Value: 1.0 Type: Number is not of expected type: int64"),
        ('{"instances": [9223372036854775808]}', {"a": "DT_INT64"}, "is not of expected type: int64"),
        ('{"instances": [-1]}', {"a": "DT_UINT32"}, "is not of expected type: uint32"),
        ('{"instances": [[1, 2], [3]]}', {"a": "DT_FLOAT"}, "Expecting tensor size: 2 but got: 1"),
        ('{"instances": [[[1, 2]], [[1], [2]]]}', {"a": "DT_FLOAT"}, "Expecting shape [1,2] but got: [2,1]"),
        ('{"inputs": [[1, 2], [3]]}', {"a": "DT_FLOAT"}, "Encountered list at unexpected size: 1 at level: 1"),
        ('{"inputs": [[1], 2]}', {"a": "DT_FLOAT"}, "found at incorrect level: 2 in the JSON DOM"),
        ('{"inputs": [1, [2]]}', {"a": "DT_FLOAT"}, "Encountered list at unexpected level: 1 expected < 1"),
    ],
)  # fmt: skip
def test_a_request_that_does_not_fit_is_answered_with_what_is_wrong(
    body: str, dtypes: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidArgument) as error:
        read(body, dtypes)
    assert message in str(error.value)


def answered(outputs: dict[str, Any], key: str) -> Any:
    request = tensors.Request("", {"instances": [1]} if key == "predictions" else {"inputs": [1]})
    return json.loads(responses.answer(request, outputs).decode(errors="surrogateescape"))[key]


def test_a_single_output_drops_its_name_and_several_keep_theirs() -> None:
    one, two = {"y": np.array([1.0, 2.0])}, {"y": np.array([1, 2]), "z": np.array([b"a", b"b"], object)}
    assert answered(one, "predictions") == answered(one, "outputs") == [1.0, 2.0]
    assert answered(two, "predictions") == [{"y": 1, "z": "a"}, {"y": 2, "z": "b"}]
    assert answered(two, "outputs") == {"y": [1, 2], "z": ["a", "b"]}


def test_outputs_named_bytes_are_base64_and_floats_are_short() -> None:
    assert answered({"y_bytes": np.array([b"\xff"], object)}, "outputs") == [{"b64": "/w=="}]
    assert responses.answer(
        tensors.Request("", {"instances": [1]}), {"y": np.array([0.2, 3, np.nan, -np.inf], np.float32)}
    ) == (b'{"predictions": [0.2, 3.0, NaN, -Infinity]}')


def test_rows_need_outputs_with_a_common_first_axis() -> None:
    with pytest.raises(InvalidArgument, match="has no shape information"):
        answered({"y": np.array(1.0)}, "predictions")
    with pytest.raises(InvalidArgument, match="inconsistent batch size: 2 expecting: 1"):
        answered({"y": np.array([1.0]), "z": np.array([1.0, 2.0])}, "predictions")
    assert answered({"y": np.array(1.0)}, "outputs") == 1.0


@given(st.lists(st.floats(width=32), min_size=1))
def test_every_32_bit_float_survives_the_way_out_and_in(values: list[float]) -> None:
    body = responses.answer(tensors.Request("", {"instances": [1]}), {"y": np.array(values, np.float32)})
    again = tensors.arrays(tensors.parse(body.replace(b"predictions", b"instances")), {"y": "DT_FLOAT"})["y"]
    np.testing.assert_array_equal(again, np.array(values, np.float32))


@given(st.binary())
def test_every_binary_string_survives_the_way_in(value: bytes) -> None:
    body = json.dumps({"instances": [{"b64": base64.b64encode(value).decode()}]})
    assert read(body, {"a": "DT_STRING"}) == {"a": [value]}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=8))
def test_whatever_is_sent_is_an_array_or_an_invalid_argument(value: Any) -> None:
    for key in ("instances", "inputs"):
        for dtype in ("DT_FLOAT", "DT_INT8", "DT_UINT64", "DT_BOOL", "DT_STRING"):
            try:
                request = tensors.parse(json.dumps({key: value}).encode())
                arrays = tensors.arrays(request, {"a": dtype})
            except InvalidArgument:
                continue
            assert list(arrays) == ["a"]
