"""The stand-in held to TensorFlow Serving's contract, case by case, over HTTP.

The cases are those of https://www.tensorflow.org/tfx/serving/api_rest and of the server's own tests
(util/json_tensor_test.cc, model_servers/http_rest_api_handler_test.cc, http_rest_api_util_test.cc), for this model.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from ci.serving import responses, tensors
from ci.serving.api import Api
from ci.serving.model import Version
from tests.ci.serving.servers import serving
from tests.ci.serving.test_api import ask

PREDICT = "/v1/models/echo:predict"
KINDS = {"flag": True, "small": 1, "large": 2, "image_bytes": "x", "wide": 1.5}
DEEP = "[" * 500_000 + "]" * 500_000


def kinds(**changes: Any) -> dict[str, Any]:
    return {"signature_name": "kinds", "instances": [{**KINDS, **changes}]}


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        # Rows: whole numbers are floats to a float input, and rows of any one shape are stacked.
        ('{"instances": [1, 2.0, 5.003, 0.007, 0.0]}', {"predictions": [1.0, 2.0, 5.003, 0.007, 0.0]}),
        ('{"instances": [[[1, 2]], [[3, 4]]]}', {"predictions": [[[1.0, 2.0]], [[3.0, 4.0]]]}),
        ('{"instances": [{"x": 1}, {"x": 2}]}', {"predictions": [1.0, 2.0]}),
        ('{"instances": [{"x": [1, 2]}]}', {"predictions": [[1.0, 2.0]]}),
        ('{"instances": [[], []]}', {"predictions": [[], []]}),
        # A number that no 32-bit float names becomes the nearest one (here 1435774336, written with nine digits); too
        # large ones become infinite, too small ones 0.
        ('{"instances": [1435774380]}', {"predictions": [1.43577434e09]}),
        ('{"instances": [1.7976931348623157e308, -1e300]}', {"predictions": [math.inf, -math.inf]}),
        ('{"instances": [2.2250738585072014e-308]}', {"predictions": [0.0]}),
        # Tokens that JSON does not have.
        ('{"instances": [Infinity, -Infinity, Inf, -Inf]}', {"predictions": [math.inf, -math.inf] * 2}),
        # Columns, with and without the input's name.
        ('{"inputs": {"x": [[1, 2], [3, 4]]}}', {"outputs": [[1.0, 2.0], [3.0, 4.0]]}),
        ('{"inputs": [[1, 2], [3, 4]]}', {"outputs": [[1.0, 2.0], [3.0, 4.0]]}),
        ('{"inputs": 3}', {"outputs": 3.0}),
        ('{"inputs": {"x": 3, "unknown": 1}}', {"outputs": 3.0}),
        # Of two equal keys the first counts, in the fast parser (which the others go through) and in the thorough one.
        ('{"instances": [1], "instances": [2, 3]}', {"predictions": [1.0]}),
        ('{"inputs": {"x": 1, "x": "text"}}', {"outputs": 1.0}),
        ('{"instances": [{"x": 1, "x": 2}, {"x": 3}]}', {"predictions": [1.0, 3.0]}),
        ('{"signature_name": "serving_default", "signature_name": 5, "instances": [1]}', {"predictions": [1.0]}),
        ('{"instances": [1], "instances": [Inf]}', {"predictions": [1.0]}),
        # The document: what follows it, and keys that nobody asks for, do not matter, however deep they are.
        ('{"instances": [1]} trailing', {"predictions": [1.0]}),
        ('\ufeff{"instances": [1]}', {"predictions": [1.0]}),
        (f'{{"instances": [1], "nested": {DEEP}}}', {"predictions": [1.0]}),
        ('{"signature_name": "", "instances": [1]}', {"predictions": [1.0]}),
        ('{"signature_name": "serving_default", "inputs": [1]}', {"outputs": [1.0]}),
    ],
)
def test_a_request_in_this_form_is_answered(url: str, body: str, answer: Any) -> None:
    assert ask(url, PREDICT, body) == (200, answer)


def test_every_type_goes_in_and_comes_out_and_bytes_are_base64(url: str) -> None:
    said = {**KINDS, "image_bytes": {"b64": "eA=="}}
    assert ask(url, PREDICT, kinds()) == (200, {"predictions": [said]})
    for text, value in (("aGVsbG8=", "aGVsbG8="), ("aGVsbG8", "aGVsbG8="), ("aGVs\nbG8=", "aGVsbG8=")):
        answer = ask(url, PREDICT, kinds(image_bytes={"b64": text}))
        assert answer == (200, {"predictions": [{**KINDS, "image_bytes": {"b64": value}}]})
    columns = {name: [[value]] for name, value in KINDS.items()} | {"image_bytes": {"b64": "aGVsbG8="}}
    status, answer = ask(url, PREDICT, {"signature_name": "kinds", "inputs": columns})
    assert (status, answer["outputs"]["image_bytes"]) == (200, {"b64": "aGVsbG8="})
    assert answer["outputs"]["large"] == [[2]]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"small": 1.0}, "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ({"small": 2**31}, "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        ({"large": 2**63}, "JSON Value: 9223372036854775808 Type: Number is not of expected type: int64"),
        ({"large": "1"}, 'JSON Value: "1" Type: String is not of expected type: int64'),
        ({"large": None}, "JSON Value: null Type: Null is not of expected type: int64"),
        ({"large": {"b64": "eA=="}}, "Type: Object is not of expected type: int64"),
        ({"flag": 1}, "JSON Value: 1 Type: Number is not of expected type: bool"),
        ({"wide": True}, "JSON Value: true Type: True is not of expected type: double"),
        ({"wide": False}, "JSON Value: false Type: False is not of expected type: double"),
        ({"image_bytes": 1}, "JSON Value: 1 Type: Number is not of expected type: string"),
        ({"image_bytes": {"b64": "a"}}, "Unable to base64 decode"),
        ({"image_bytes": {"b64": "aGVsbG8=="}}, "Unable to base64 decode"),
        ({"image_bytes": {"b64": 5}}, "not formatted correctly for base64 data"),
        ({"image_bytes": {"b64": "eA==", "more": 1}}, "not formatted correctly for base64 data"),
    ],
)
def test_a_value_of_another_type_is_named_with_its_element_key_and_type(url: str, changes: Any, problem: str) -> None:
    status, answer = ask(url, PREDICT, kinds(**changes))
    [key] = changes
    assert status == 400
    where = f"Failed to process element: 0 key: {key} of 'instances' list. Error: INVALID_ARGUMENT: "
    assert answer["error"].startswith(where)
    assert problem in answer["error"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('{"instances": [[1, 2], [3, 4], [5, 6, 7]]}', "Expecting tensor size: 2 but got: 3"),
        ('{"instances": [[1, 2], [3, 4], [[5, 6]]]}', "Expecting shape [2] but got: [1,2]"),
        ('{"instances": [1, [1]]}', "Expecting shape [] but got: [1]"),
        ('{"instances": [[1, 2], ["a", "b"]]}', "not of expected type: float"),
        ('{"instances": [{"x": 1}, [2]]}', "Expecting object but got list at item 1 of input list"),
        ('{"instances": [[1], {"x": 1}]}', "Expecting value/list but got object at item 1 of input list"),
        ('{"instances": [{"y": 1}]}', "JSON object: does not have named input: y"),
        ('{"instances": [{}]}', "keys must be equal to: x"),
        ('{"instances": {"x": 1}}', "Expecting 'instances' to be an list/array"),
        ('{"instances": []}', "No values in 'instances' array"),
        ('{"instances": [1], "inputs": [1]}', "expecting only one of 'inputs' or 'instances' keys to exist"),
        ('{"inputs": {"y": 1}}', "Missing named input: x in 'inputs' object."),
        ('{"inputs": [[1, 2], [3]]}', "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        (
            '{"instances": [1], "note": "\\ud800"}',
            "JSON Parse error: The surrogate pair in string is invalid. at offset: 28",
        ),
        ('{"instances": [1], "\\udc00\\ud800": 1}', "JSON Parse error: The surrogate pair in string is invalid."),
        ("[1]", "JSON Value: [1] Is not object"),
        ("instances = [1, 2]", "JSON Parse error: Invalid value. at offset: 0"),
        ('{"instances": [1}', "JSON Parse error: Missing a comma or ] after an array element. at offset: 16"),
        ('{"instances": [1e999]}', "JSON Parse error: Number too big to be stored in double."),
        (f'{{"signature_name": {DEEP}}}', "'signature_name' key must be a string value."),
        # What is wrong with the signature is said before what is wrong with the rows.
        ('{"signature_name": 5, "instances": 1}', "'signature_name' key must be a string value."),
        ('{"signature_name": "no"}', 'Serving signature name: "no" not found in signature def'),
        ('{"signature_name": "kinds", "instances": [1]}', "instances is a plain list, but expecting list of objects"),
        ('{"signature_name": "kinds", "inputs": [1]}', "inputs is a plain value/list, but expecting an object"),
        ('{"signature_name": "kinds", "instances": [{"flag": true}]}', "keys must be equal to: flag,"),
        ('{"signature_name": "kinds", "inputs": {"flag": true}}', "Missing named input:"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_with_the_servers_words(url: str, body: str, problem: str) -> None:
    status, answer = ask(url, PREDICT, body)
    assert status == 400
    assert problem in answer["error"]


def test_a_status_takes_no_notice_of_labels_nor_of_metadata_in_capitals(url: str) -> None:
    plain = ask(url, "/v1/models/echo")
    assert plain[0] == 200
    assert ask(url, "/v1/models/echo/labels/any") == ask(url, "/v1/models/echo/METADATA") == plain


@pytest.mark.parametrize("method", ["classify", "regress"])
@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ("{}", 400, "When method is classify, key 'examples' is expected and was not found"),
        ('{"instances": [1]}', 400, "key 'examples' is expected"),
        ('{"examples": 5}', 400, "Expecting 'examples' value to be an list/array"),
        ('{"examples": []}', 400, "'examples' value is an empty array"),
        ('{"examples": [1]}', 400, "Example must be JSON object but got JSON Number"),
        ('{"context": [], "examples": [{}]}', 400, "Example must be JSON object but got JSON Array"),
        ('{"examples": [{"x": null}]}', 400, "Feature: x has element with unexpected JSON type: Null"),
        ('{"examples": [{"x": [[1]]}]}', 400, "Feature: x has element with unexpected JSON type: Array"),
        ('{"examples": [{"x": {"c": 1}}]}', 400, "Feature: x has element with unexpected JSON type: Object"),
        ('{"examples": [{"x": [1, 1.5]}]}', 400, "Unexpected element type in feature: x expecting type: int64"),
        ('{"examples": [{"x": ["a", true]}]}', 400, "Unexpected element type in feature: x expecting type: bytes"),
        ('{"examples": [{"x": 9223372036854775808}]}', 400, "has uint64_t element. Only int64_t is supported."),
        ('{"examples": [{"x": {"b64": "a"}}]}', 400, "Unable to base64 decode"),
        ("[1]", 400, "JSON Value: [1] Is not object"),
        ("", 400, "JSON Parse error: The document is empty"),
        ('{"signature_name": 1, "examples": [{}]}', 400, "'signature_name' key must be a string value."),
        ('{"examples": [{"x": [1, true], "y": [1.5, 1e30], "z": ["a", {"b64": "eA=="}]}]}', 501, "not implement :"),
    ],
)
def test_examples_are_checked_as_the_server_does_before_they_are_refused(
    url: str, method: str, body: str, status: int, problem: str
) -> None:
    found, answer = ask(url, f"/v1/models/echo:{method}", body)
    assert found == status
    assert problem in answer["error"]
    assert ask(url, f"/v1/models/absent:{method}", body)[0] == (404 if status == 501 else 400)


@pytest.mark.parametrize(
    ("path", "body", "status", "problem"),
    [
        ("/v1/models/echo:predict?x=1", "{}", 400, "Malformed request: POST /v1/models/echo:predict?x=1"),
        ("/v1/models/echo:predict/", "{}", 400, "Malformed request: POST /v1/models/echo:predict/"),
        ("/v1/models/echo/", None, 400, "Malformed request: GET /v1/models/echo/"),
        ("/v1/models/", None, 400, "Malformed request: GET /v1/models/"),
        ("/v1/models?x=1", None, 400, "Malformed request: GET /v1/models?x=1"),
        ("/v1/models/echo?x=1", None, 404, "Could not find any versions of model echo?x=1"),
        ("/v1/models/echo/versions/7?x=1", None, 400, "Malformed request: GET /v1/models/echo/versions/7?x=1"),
        ("/v1/models/echo/metadata?x=1", None, 400, "Malformed request: GET /v1/models/echo/metadata?x=1"),
        ("/v1/models/echo/versions/", None, 400, "Malformed request"),
        ("/v1/models/echo/versions/-7", None, 400, "Malformed request"),
        (f"/v1/models/echo/versions/{2**63}", None, 400, f"Failed to convert version: {2**63} to numeric."),
        (f"/v1/models/echo/versions/{2**63 - 1}", None, 404, f"Could not find version {2**63 - 1} of model echo"),
        (f"/v1/models/echo/versions/{'7' * 5000}:predict", "{}", 400, f"Failed to convert version: {'7' * 5000} to"),
        ("/v1/models/echo/versions/8:predict", '{"instances": [1]}', 404, "Specific(echo, 8)"),
    ],
)  # fmt: skip
def test_a_query_is_a_part_of_the_path_and_versions_are_64_bits(
    url: str, path: str, body: str | None, status: int, problem: str
) -> None:
    found, answer = ask(url, path, body)
    assert found == status
    assert problem in answer["error"]


def test_zeros_before_a_version_do_not_matter(url: str) -> None:
    assert ask(url, f"/v1/models/echo/versions/{'0' * 5000}7")[0] == 200
    assert ask(url, "/v1/models/echo/versions/007:predict", {"instances": [1]}) == (200, {"predictions": [1.0]})


def test_metrics_have_no_query(url: str) -> None:
    answer = requests.get(f"{url}/monitoring/prometheus/metrics?x=1", timeout=10)
    said = "Unexpected path: /monitoring/prometheus/metrics?x=1. Should be /monitoring/prometheus/metrics"
    assert (answer.status_code, answer.text) == (400, said)


def test_a_browser_that_asks_whether_it_may_ask_must_say_where_it_comes_from(url: str) -> None:
    for headers, status in (({"Origin": "https://example.com"}, 200), ({"Origin": "null"}, 400), ({}, 400)):
        answer = requests.options(f"{url}/v1/models/echo:predict", headers=headers, timeout=10)
        assert (answer.status_code, answer.content) == (status, b"")
    assert requests.options(f"{url}/other", timeout=10).status_code == 404


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('{"instances": [{"x": [1, 2], "c": "a"}]}', "input x has shape [1,2], the signature says [-1,3]; Matrix "),
        ('{"instances": [{"x": 1, "c": "a"}]}', "input x has shape [1], the signature says [-1,3]; In[0] "),
        ('{"instances": [{"x": [[1, 2, 3]], "c": "a"}]}', "input x has shape [1,1,3], the signature says [-1,3]; "),
        ('{"inputs": {"x": [], "c": []}}', "input x has shape [0], the signature says [-1,3]; "),
        ('{"inputs": {"x": [[1, 2, 3], [1, 2, 3]], "c": ["a", "b", "c"]}}', "Incompatible shapes: [2,2] vs. [3,1]"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_named_with_tensorflows_reason(wide: str, body: str, problem: str) -> None:
    status, answer = ask(wide, "/v1/models/wide:predict", body)
    assert status == 400
    assert answer["error"].startswith(problem)
    assert "\n" not in answer["error"]


@pytest.fixture(scope="module")
def wide(wide_model: Path) -> Iterator[str]:
    version = Version("wide", 1)
    version.load(wide_model)
    assert version.state == "AVAILABLE", version.error
    yield from serving(Api("wide", version))


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_malformed_requests(url: str, method: str) -> None:
    answer = requests.request(method, f"{url}/v1/models/echo", timeout=10)
    assert answer.status_code == 400
    if method != "HEAD":
        assert answer.json() == {"error": f"Malformed request: {method} /v1/models/echo"}


def test_a_type_without_a_form_in_json_is_unimplemented_in_columns_and_invalid_in_rows() -> None:
    with pytest.raises(tensors.Unimplemented, match="Conversion of JSON Value: 1 to type: half"):
        tensors.arrays(tensors.parse(b'{"inputs": [1]}'), {"x": "DT_HALF"})
    with pytest.raises(
        tensors.InvalidArgument, match="Error: UNIMPLEMENTED: Conversion of JSON Value: 1 to type: half"
    ):
        tensors.arrays(tensors.parse(b'{"instances": [1]}'), {"x": "DT_HALF"})
    request = tensors.parse(b'{"inputs": [1]}')
    for dtype, name in (("float16", "half"), ("complex64", "complex64")):
        with pytest.raises(tensors.InvalidArgument, match=f"Failed to write JSON value for tensor type: {name}"):
            responses.answer(request, {"y": np.zeros(1, dtype)})


def test_a_signature_without_inputs_and_rows_that_name_none_of_several_are_refused() -> None:
    request = tensors.parse(b'{"instances": [{"b64": "eA=="}]}')
    with pytest.raises(tensors.InvalidArgument, match="Failed to get input map for signature: DEFAULT"):
        tensors.arrays(request, {})
    with pytest.raises(tensors.InvalidArgument, match=r"input size does not match signature: 1!=2 .*required: {b}\."):
        tensors.arrays(request, {"a": "DT_STRING", "b": "DT_STRING"})


@pytest.mark.parametrize(
    ("dtype", "values", "written"),
    [
        (
            "float32",
            [[9e6, 999999, 0.5], [0.0003, 0.00003, 555557.5]],
            "[[9e+06, 999999.0, 0.5], [0.0003, 3e-05, 555557.5]]",
        ),
        ("float32", [0.2, 1 / 3, 16777217], "[0.2, 0.333333343, 16777216.0]"),
        ("float64", [0.2, 1 / 3, 1e300], "[0.2, 0.33333333333333331, 1e+300]"),
        ("float32", [math.nan, math.inf, 3, -math.inf], "[NaN, Infinity, 3.0, -Infinity]"),
        ("int64", [[2**62], [-1]], "[[4611686018427387904], [-1]]"),
        ("bool", [True, False], "[true, false]"),
    ],
)
def test_numbers_are_written_with_the_digits_of_the_server(dtype: str, values: Any, written: str) -> None:
    for body, key in ((b'{"instances": [1]}', "predictions"), (b'{"inputs": [1]}', "outputs")):
        answer = responses.answer(tensors.parse(body), {"y": np.array(values, dtype)})
        assert answer.decode() == f'{{"{key}": {written}}}'


def test_metrics_tell_predictions_from_looks_at_the_model_by_their_api(url: str) -> None:
    def counts() -> dict[str, float]:
        lines = requests.get(f"{url}/monitoring/prometheus/metrics", timeout=10).text.splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    before = counts()
    ask(url, PREDICT, {"instances": [1]})
    ask(url, "/v1/models/echo/versions/7/metadata")
    ask(url, "/v1/models/absent:predict", {"instances": [1]})
    after, prefix = counts(), ":tensorflow:serving:"
    grown = {
        name: after[name] - before.get(name, 0)
        for name in after
        if "_count{" in name and after[name] != before.get(name)
    }
    assert grown == {
        prefix + 'request_count{model_name="echo",status="OK"}': 2,
        prefix + 'request_count{model_name="(unknown)",status="NOT_FOUND"}': 1,
        prefix + 'request_latency_count{model_name="echo",API="predict",entrypoint="REST"}': 1,
        prefix + 'request_latency_count{model_name="echo",API="",entrypoint="REST"}': 1,
        prefix + 'runtime_latency_count{model_name="echo",API="Predict",runtime="TF1"}': 1,
    }
