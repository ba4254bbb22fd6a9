"""The stand-in's REST API, asked over HTTP."""

import json
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from ci.serving.api import Api
from ci.serving.model import Version
from tests.ci.serving.servers import serving


def ask(url: str, path: str, body: Any = None) -> tuple[int, Any]:
    if body is None:
        answer = requests.get(url + path, timeout=10)
    else:
        answer = requests.post(url + path, data=body if isinstance(body, str) else json.dumps(body), timeout=10)
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, answer.json()


@pytest.mark.parametrize("path", ["/v1/models/echo", "/v1/models/echo/versions/7", "/V1/Models/echo/versions/7"])
def test_the_status_names_the_version_as_a_string(url: str, path: str) -> None:
    status = {"error_code": "OK", "error_message": ""}
    expected = {"model_version_status": [{"version": "7", "state": "AVAILABLE", "status": status}]}
    assert ask(url, path) == (200, expected)


def test_the_metadata_give_every_signature(url: str) -> None:
    status, found = ask(url, "/v1/models/echo/metadata")
    definitions = found["metadata"]["signature_def"]["signature_def"]
    assert status == 200
    assert found["model_spec"] == {"name": "echo", "signature_name": "", "version": "7"}
    assert definitions["serving_default"]["method_name"] == "tensorflow/serving/predict"
    assert definitions["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert definitions["serving_default"]["inputs"]["x"]["tensor_shape"] == {"dim": [], "unknown_rank": True}
    assert definitions["kinds"]["inputs"]["large"]["dtype"] == "DT_INT64"


def test_predictions_come_in_the_format_of_the_request(url: str) -> None:
    rows = [{"flag": True, "small": 1, "large": 2**40, "image_bytes": {"b64": "/w=="}, "wide": 0.1}]
    columns = {name: [value] for name, value in rows[0].items()}
    named = "/v1/models/echo/versions/7:predict"
    assert ask(url, "/v1/models/echo:predict", {"instances": [0.2, 3]}) == (200, {"predictions": [0.2, 3.0]})
    assert ask(url, "/v1/models/echo:predict", {"inputs": 0.2}) == (200, {"outputs": 0.2})
    assert ask(url, named, {"signature_name": "kinds", "instances": rows}) == (200, {"predictions": rows})
    assert ask(url, named, {"signature_name": "kinds", "inputs": columns}) == (200, {"outputs": columns})


def test_not_a_number_goes_in_and_comes_out_as_a_token(url: str) -> None:
    answer = requests.post(f"{url}/v1/models/echo:predict", data='{"instances": [NaN, -Infinity]}', timeout=10)
    assert answer.content == b'{"predictions": [NaN, -Infinity]}'


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/models", None, 400, "Missing model name in request."),
        ("/v1/models/echo/x", None, 400, "Malformed request: GET /v1/models/echo/x"),
        ("/v1/models/echo:predict", None, 400, "Malformed request: GET /v1/models/echo:predict"),
        ("/v1/models/echo/metadata", "{}", 400, "Malformed request: POST /v1/models/echo/metadata"),
        ("/v1/models/echo/versions/new:predict", "{}", 400, "Malformed request"),
        (f"/v1/models/echo/versions/{2**64}:predict", "{}", 400, "Failed to convert version"),
        ("/v1/models/echo/labels/canary:predict", "{}", 400, "Unrecognized servable version label: canary"),
        ("/v1/models/other", None, 404, "Could not find any versions of model other"),
        ("/v1/models/echo/versions/8", None, 404, "Could not find version 8 of model echo"),
        ("/v1/models/other/metadata", None, 404, "Servable not found for request: Latest(other)"),
        ("/v1/models/echo/versions/8:predict", "{}", 404, "Servable not found for request: Specific(echo, 8)"),
        ("/v1/models/%C3%BC:predict", "{}", 404, "Servable not found for request: Latest(ü)"),
        ("/v1/models/echo:predict", "", 400, "The document is empty"),
        ("/v1/models/echo:predict", '{"signature_name": "no", "instances": [1]}', 400, '"no" not found in signature'),
        ("/v1/models/echo:predict", '{"instances": ["x"]}', 400, "not of expected type: float"),
        ("/v1/models/echo:classify", '{"examples": [{"x": 1.0}]}', 501, "does not implement :classify"),
        ("/v1/foo", None, 400, "Malformed request: GET /v1/foo"),
        ("/v1/models", "{}", 400, "Malformed request: POST /v1/models"),
        ("/v1/models/echo/version/7:predict", "{}", 400, "Malformed request"),
        ("/v1/models/echo/label/new:predict", "{}", 400, "Malformed request"),
        ("/v1/models/echo/versions/7/labels/new:predict", "{}", 400, "Malformed request"),
        ("/v1/models/echo/more/names", None, 400, "Malformed request"),
        ("/v1/models/echo:PREDICT", '{"instances": [1]}', 400, "Malformed request: POST /v1/models/echo:PREDICT"),
        (f"/v1/models/echo/versions/{2**64 - 1}", None, 400, f"Failed to convert version: {2**64 - 1} to numeric."),
        ("/v1/models/echo/labels/new/metadata", None, 400, "Unrecognized servable version label: new"),
        ("/v1/models/echo/labels/a%2Fb:predict", "{}", 400, "Unrecognized servable version label: a/b"),
        # The body is read before the model is looked for.
        ("/v1/models/other:predict", "", 400, "JSON Parse error: The document is empty"),
        ("/v1/models/other:predict", '{"signature_name": 1}', 400, "'signature_name' key must be a string value."),
        ("/v1/models/other:predict", '{"instances": []}', 404, "Servable not found for request: Latest(other)"),
        ("/v1/models/echo/versions/99:predict", "{}", 404, "Servable not found for request: Specific(echo, 99)"),
        ("/v1/models/a%21%23%2F:predict", "{}", 404, "Servable not found for request: Latest(a!#/)"),
    ],
)  # fmt: skip
def test_an_error_is_a_status_code_and_a_message(
    url: str, path: str, body: str | None, status: int, message: str
) -> None:
    found = ask(url, path, body)
    assert found[0] == status
    assert message in found[1]["error"]
    assert list(found[1]) == ["error"]


def test_what_is_not_the_api_is_not_found(url: str) -> None:
    assert requests.get(url + "/", timeout=10).status_code == 404
    assert requests.get(url + "/v2/models/echo", timeout=10).status_code == 404


def test_metrics_have_the_names_of_tensorflow_serving(url: str) -> None:
    def count() -> dict[str, float]:
        lines = requests.get(f"{url}/monitoring/prometheus/metrics", timeout=10).text.splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    before = count()
    ask(url, "/v1/models/echo:predict", {"instances": [1]})
    ask(url, "/v1/models/echo:predict", "{")
    after = count()
    grown = {name for name, value in after.items() if value - before.get(name, 0) == 1}
    assert ':tensorflow:serving:request_count{model_name="echo",status="OK"}' in grown
    assert ':tensorflow:serving:request_count{model_name="echo",status="INVALID_ARGUMENT"}' in grown
    assert ':tensorflow:serving:request_latency_count{model_name="echo",API="predict",entrypoint="REST"}' in grown
    infinite = ':tensorflow:serving:request_latency_bucket{model_name="echo",API="predict",entrypoint="REST",le="+Inf"}'
    assert infinite in grown


def test_a_model_that_cannot_be_loaded_is_a_state_with_its_reason(tmp_path: Path) -> None:
    version = Version("broken", 1)
    version.load(tmp_path)
    with contextmanager(serving)(Api("broken", version)) as url:
        _, status = ask(url, "/v1/models/broken")
        assert status["model_version_status"][0]["state"] == "END"
        assert "saved_model.pb" in status["model_version_status"][0]["status"]["error_message"]
        assert ask(url, "/v1/models/broken:predict", {"instances": [1]})[0] == 404


def test_requests_at_once_are_all_answered(url: str) -> None:
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(ask(url, "/v1/models/echo:predict", {"instances": [n]})))
        for n in range(32)
    ]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer[1]["predictions"][0] for answer in answers) == [float(n) for n in range(32)]
    assert time.perf_counter() - begin < 30
