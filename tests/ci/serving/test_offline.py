"""Answers of a SavedModel with no server, held to responses that were written down by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from ci.serving import offline
from ci.serving.model import Version


@pytest.fixture(scope="module")
def demo(plain_model: Path) -> Version:
    version = Version("demo", 1)
    version.load(plain_model)
    return version


@pytest.fixture(scope="module")
def echo(echo_model: Path) -> Version:
    version = Version("echo", 1)
    version.load(echo_model)
    return version


ROW = {"x": 1.0, "carrier": "AA", "hour": 3}


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        ('{"instances": [{"x": 1, "carrier": "AA", "hour": 3}]}', {"predictions": [5.6]}),
        ('{"instances": [{"x": NaN, "carrier": "", "hour": 0}]}', {"predictions": [0.5]}),
        ('{"inputs": {"x": [1.0, 2.0], "carrier": ["AA", "B"], "hour": [3, 0]}}', {"outputs": [5.6, 1.7]}),
        ('{"instances": [{"x": 0.0, "carrier": {"b64": "QUE="}, "hour": -2}]}', {"predictions": [0.5]}),
    ],
)
def test_rows_and_columns_of_floats_texts_and_integers_are_answered(
    demo: Version, request_: str, response: dict[str, Any]
) -> None:
    answer = offline.answer(demo, request_)
    assert json.loads(answer["response"] or "") == response
    assert answer["error"] is None


def test_the_signature_that_a_request_names_is_run(echo: Version) -> None:
    row = {"flag": True, "small": 7, "large": 2**53 + 1, "image_bytes": {"b64": "QUE="}, "wide": 0.1}
    request = json.dumps({"signature_name": "kinds", "instances": [row]})
    assert json.loads(offline.answer(echo, request)["response"] or "") == {"predictions": [row]}
    assert offline.answer(echo, '{"instances": [NaN, 1e39]}')["response"] == '{"predictions": [NaN, Infinity]}'


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (json.dumps({"instances": [{**ROW, "hour": 3.0}]}), "is not of expected type: int64"),
        (json.dumps({"instances": [{"x": 1.0}]}), "keys must be equal to: carrier,hour,x"),
        (json.dumps({"signature_name": "other", "instances": [ROW]}), 'signature name: "other" not found'),
        ('{"instances": [', "JSON Parse error"),
    ],
)
def test_what_the_model_does_not_take_is_refused_with_the_reason(demo: Version, request_: str, error: str) -> None:
    answer = offline.answer(demo, request_)
    assert answer["response"] is None
    assert error in (answer["error"] or "")
