"""Requests to the stand-in: targets, headers and bodies of every shape, answered by its API around a real model."""

import asyncio
import gc
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.serving.api import Api
from ci.serving.model import Version
from tests import saved_models
from tests.fuzz.harness import Surface, examples
from tests.fuzz.mutations import TEXTS, broken, json_text, mutated

pytestmark = pytest.mark.fuzz

BODIES: tuple[Any, ...] = (
    {"instances": [{"x": 1.5, "carrier": "UA", "hour": 3}, {"x": None, "carrier": "", "hour": 0}]},
    {"inputs": {"x": [1.5], "carrier": [{"b64": "VUE="}], "hour": [3]}, "signature_name": "serving_default"},
    {"signature_name": "x", "instances": [1.0]},
    {"examples": [{"x": 1}], "context": {}},
)
TARGETS = (
    "/v1/models/m:predict", "/v1/models/m/versions/7:predict", "/v1/models/m:classify", "/v1/models/m:regress",
    "/v1/models/m", "/v1/models/m/versions/7", "/v1/models/m/metadata", "/v1/models/m/labels/x:predict",
    "/v1/models/n:predict", "/v1/models", "/monitoring/prometheus/metrics", "/v1/models/m/versions/" + "9" * 5000,
    "/v1/models/%0Ax%00%FF:predict", "/", "*", "",
)  # fmt: skip
METHODS = ("GET", "POST", "HEAD", "PUT", "OPTIONS", "TRACE", "", "get")


@st.composite
def targets(draw: st.DrawFn) -> str:
    found = draw(st.sampled_from(TARGETS[:1]) | st.sampled_from(TARGETS))
    if draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(0, len(found)))
        found = found[:place] + draw(st.sampled_from(TEXTS) | st.text(max_size=5)) + found[place:]
    return found


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, dict[str, str]]:
    content = draw(broken(json_text(draw(mutated(draw(st.sampled_from(BODIES)))))))
    if draw(st.integers(0, 5)) == 0:
        return draw(broken(gzip.compress(content, mtime=0))), {"Content-Encoding": "gzip"}
    return content, draw(st.sampled_from([{}, {"Content-Encoding": "gzip"}, {"Origin": "http://x"}]))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Api:
    version = Version("m", 7)
    version.load(saved_models.save(tmp_path_factory.mktemp("model") / "7"))
    assert version.state == "AVAILABLE", version.error
    found = Api("m", version)
    for body in BODIES[:1]:  # TensorFlow takes its memory with the first request
        asyncio.run(found.answer("POST", TARGETS[0], {}, json.dumps(body).encode()))
    return found


def test_requests(api: Api, surface: Surface, caplog: pytest.LogCaptureFixture) -> None:
    @given(st.sampled_from(("POST", "POST", "POST", *METHODS)), targets(), bodies())
    @examples(400)
    def each(method: str, target: str, sent: tuple[bytes, dict[str, str]]) -> None:
        body, headers = sent
        with surface.bounded():
            answer = asyncio.run(api.answer(method, target, headers, body))
        surface.codes[answer.status] = surface.codes.get(answer.status, 0) + 1
        assert answer.status in (200, 400, 404, 501), (answer.status, answer.body[:500])
        if answer.content_type == "application/json":
            assert isinstance(json.loads(answer.body), dict)

    gc.collect()  # what other tests left of TensorFlow complains when it goes
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        each()
    assert caplog.text == ""
    page = asyncio.run(api.answer("GET", "/monitoring/prometheus/metrics", {}, b"")).body.decode()
    assert all(line.startswith(("#", ":")) for line in page.splitlines())
    assert len(page) < 20_000
    assert not Path("escaped").exists()
