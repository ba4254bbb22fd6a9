"""Training-serving skew: captured requests against the packaged SavedModel."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.capture import gateways, skew
from ci.errors import StageError
from ci.packaging import package
from ci.registry import layout as image
from ci.results.rollout import SKEW
from ci.serving import offline
from ci.serving.api import Api
from ci.serving.model import Version
from tests.ci.serving.servers import serving
from tests.k8s.test_gateway import Gateway

VERSION = "2013040112345"
MANIFEST = {"model": "demo", "version": VERSION}
PREDICT = "/v1/models/demo:predict"
ROW = {"x": 1.0, "carrier": "AA", "hour": 3}
ROWS, COLUMNS = (
    json.dumps({"instances": [ROW, ROW]}),
    json.dumps({"inputs": {"x": [1.0], "carrier": [""], "hour": [3]}}),
)


@pytest.fixture(scope="module")
def score(plain_model: Path) -> skew.Score:
    version = Version("demo", int(VERSION))
    version.load(plain_model)
    return lambda requests: [offline.answer(version, request) for request in requests]


def entry(request: str, response: str, status: int = 200, path: str = PREDICT, number: int = 1) -> dict[str, Any]:
    """Return a captured request as a gateway tells it."""
    return {
        "pod": "model-stable-7f9c", "number": number, "time": "2013-04-01T12:00:00+00:00", "path": path,
        "status": status, "request": request, "response": response,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        (ROWS, '{"predictions": [5.6, 5.6]}'),
        (ROWS, '{\n    "predictions": [5.60000038, 5.5999999\n    ]\n}'),
        (ROWS, '{"predictions": [5.60005, 5.6]}'),
        (COLUMNS, '{"outputs": [3.6]}'),
        (json.dumps({"signature_name": "serving_default", "instances": [ROW]}), '{"predictions": [5.6]}'),
        ('{"instances": [{"x": NaN, "carrier": "", "hour": 1}]}', '{"predictions": [1.5]}'),
        ('{"instances": [{"x": Infinity, "carrier": "", "hour": 1}]}', '{"predictions": [Infinity]}'),
    ],
)
def test_what_was_served_within_the_tolerance_is_no_skew(score: skew.Score, request_: str, response: str) -> None:
    found = skew.compare([entry(request_, response)], score, MANIFEST, 1e-5)
    assert (found.compared, found.different, found.passed_over) == (1, [], {})
    assert found.largest <= 1e-5


@pytest.mark.parametrize(
    ("request_", "response", "problem"),
    [
        (ROWS, '{"predictions": [5.6, 5.601]}', "predictions[1] was served as 5.601, offline it is 5.6"),
        (ROWS, '{"predictions": [5.6]}', "predictions[1] was served as nothing, offline it is 5.6"),
        (ROWS, '{"predictions": [5.6, 5.6, 5.6]}', "predictions[2] was served as 5.6, offline it is nothing"),
        (ROWS, '{"predictions": [[5.6], [5.6]]}', "predictions[0][0] was served as 5.6, offline it is nothing"),
        (ROWS, '{"predictions": [5.6, NaN]}', "predictions[1] was served as NaN, offline it is 5.6"),
        (ROWS, '{"predictions": [Infinity, 5.6]}', "predictions[0] was served as Infinity, offline it is 5.6"),
        (ROWS, '{"predictions": ["5.6", 5.6]}', 'predictions[0] was served as "5.6", offline it is 5.6'),
        (ROWS, '{"outputs": [5.6, 5.6]}', "outputs[0] was served as 5.6, offline it is nothing"),
        (COLUMNS, '{"outputs": {"late": [3.6]}}', "outputs.late[0] was served as 3.6, offline it is nothing"),
        ('{"instances": [{"x": 1.0}]}', '{"predictions": [5.6]}', "the SavedModel refuses it: Failed to process"),
    ],
)
def test_a_difference_is_named_with_its_request_its_place_and_both_values(
    score: skew.Score, request_: str, response: str, problem: str
) -> None:
    good = entry(ROWS, '{"predictions": [5.6, 5.6]}')
    found = skew.compare([good, entry(request_, response, number=41)], score, MANIFEST, 1e-5)
    assert found.compared == 2
    [different] = found.different
    assert "request 41 of pod model-stable-7f9c at 2013-04-01T12:00:00+00:00: " in different["problem"]
    assert problem in different["problem"]


@pytest.mark.parametrize(
    ("captured", "reason"),
    [
        (entry("{", '{"error": "JSON Parse error"}', status=400), "refused or failed"),
        (entry(ROWS, '{"error": "the model server does not answer"}', status=503), "refused or failed"),
        (entry(ROWS, "{}", path="/v1/models/demo/versions/2013030100000:predict"), "no prediction of this version"),
        (entry(ROWS, "{}", path="/v1/models/demo:classify"), "no prediction of this version"),
        (entry(ROWS[:-5], '{"predictions": [5.6, 5.6]}'), "not captured whole"),
        (entry(ROWS, '{"predictions": [5.6, 5'), "not captured whole"),
        (entry(ROWS, ""), "not captured whole"),
        (entry(ROWS.replace("AA", "\ufffd"), '{"predictions": [5.6, 5.6]}'), "not captured whole"),
    ],
)
def test_what_tells_nothing_about_the_model_is_passed_over_and_counted(captured: dict[str, Any], reason: str) -> None:
    def nobody(requests: list[str]) -> list[offline.Answer]:
        raise AssertionError(f"the SavedModel is asked {requests}")

    found = skew.compare([captured], nobody, MANIFEST, 1e-5)
    assert (found.compared, found.different, found.passed_over) == (0, [], {reason: 1})


def test_a_path_may_name_the_version(score: skew.Score) -> None:
    path = f"/v1/models/demo/versions/{VERSION}:predict"
    found = skew.compare([entry(ROWS, '{"predictions": [9.0, 9.0]}', path=path)], score, MANIFEST, 1e-5)
    assert len(found.different) == 1


@pytest.mark.parametrize(
    ("served", "offline", "apart"),
    [
        (0.3, 0.3, 0.0),
        (1, 1.0, 0.0),
        (0.3, 0.30001, pytest.approx(1e-5)),
        (1000.01, 1000.0, pytest.approx(1e-5)),
        (0, 0.00001, pytest.approx(1e-5)),
        (math.nan, math.nan, 0.0),
        (math.inf, math.inf, 0.0),
        (math.inf, -math.inf, math.inf),
        (math.nan, 0.0, math.inf),
        (0.0, math.nan, math.inf),
        (0.0, math.inf, math.inf),
        (2**53, 2**53 + 1, math.inf),
        (True, 1, math.inf),
        ("a", "a", 0.0),
        ("a", "b", math.inf),
        ([], [], 0.0),
        ([], {}, math.inf),
        (None, 0.0, math.inf),
    ],
)
def test_numbers_are_near_and_all_else_is_equal_or_not(served: Any, offline: Any, apart: Any) -> None:
    assert skew.distance(served, offline) == apart


VALUES = st.one_of(st.floats(), st.integers(-(2**63), 2**63), st.booleans(), st.text(st.characters(codec="ascii")))
NESTED = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab"), inner))


@settings(deadline=None, max_examples=50)
@given(NESTED)
def test_every_answer_equals_itself_and_no_other_shape(answer: Any) -> None:
    captured = [entry(ROWS, json.dumps({"predictions": answer}))]

    def says(text: Any) -> skew.Score:
        return lambda _: [{"response": json.dumps(text), "error": None}]

    assert skew.compare(captured, says({"predictions": answer}), MANIFEST, 1e-5).different == []
    for other in ({"predictions": [answer, answer]}, {"outputs": answer}, {}):
        assert len(skew.compare(captured, says(other), MANIFEST, 1e-5).different) == 1


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(), st.lists(st.integers(), max_size=1000), max_size=13))
def test_the_sample_is_the_newest_of_each_pod_alike(numbers: dict[str, list[int]]) -> None:
    found = skew.sample({pod: [{"number": n} for n in held] for pod, held in numbers.items()})
    assert len(found) <= skew.SAMPLE + len(numbers)
    for pod, held in numbers.items():
        mine = [each["number"] for each in found if each["pod"] == pod]
        assert mine == held[len(held) - len(mine) :]
        assert len(mine) >= min(len(held), skew.SAMPLE // len(numbers))


@pytest.fixture(scope="module")
def packaged(plain_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """Return a package's manifest and its image."""
    layout = tmp_path_factory.mktemp("package") / "image"
    files = package.model_files(plain_model)
    digest = image.build(layout, {f"models/demo/{VERSION}/{name}": path for name, path in files.items()}, {})
    image.index(layout, {digest: "localhost/models/demo:1"})
    digests = {"model": package.model_digest(plain_model), "image": digest}
    return {**MANIFEST, "image": {"digest": digest}, "digests": digests}, layout


@pytest.fixture(scope="module")
def captured(plain_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what a real gateway captured in front of a server of the model."""
    version = Version("demo", int(VERSION))
    version.load(plain_model)
    return list(_captured(version, tmp_path_factory.mktemp("gateway")))


def _captured(version: Version, folder: Path) -> Iterator[dict[str, Any]]:
    for url in serving(Api("demo", version)):
        gateway = Gateway(folder, int(url.rpartition(":")[2]))
        with requests.Session() as session:
            for number in range(400):
                size, named = 1 + number // 10 % 5, f"/versions/{VERSION}" * (number // 10 % 2)
                rows = [
                    {"x": number / (i + 7), "carrier": "Köln"[: number % 5], "hour": number % 24} for i in range(size)
                ]
                body: dict[str, Any] = {"instances": rows}
                if number // 10 % 3 == 0:
                    body = {"inputs": {key: [row[key] for row in rows] for key in ROW}}
                if number % 100 == 50:
                    body = {"instances": [{"x": 1.0}]}
                session.post(f"{gateway.url}/v1/models/demo{named}:predict", json=body, timeout=10)
        yield from gateways.ask(gateway.inside)["captured"]
        gateway.process.terminate()
        gateway.process.wait()


@pytest.mark.slow
def test_what_a_server_of_the_model_answered_through_the_gateway_equals_the_saved_model(
    score: skew.Score, captured: list[dict[str, Any]]
) -> None:
    found = skew.compare(skew.sample({"model-stable-7f9c": captured}), score, MANIFEST, 1e-5)
    assert (found.compared, found.largest, found.different) == (36, 0.0, [])
    assert found.passed_over == {"refused or failed": 4}


@pytest.mark.slow
def test_an_answer_of_another_model_is_found_and_kept_for_who_looks(
    packaged: tuple[dict[str, Any], Path],
    captured: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    other = [*captured, entry(ROWS, '{"predictions": [5.6, 5.85]}', number=401)]
    with pytest.raises(
        StageError, match=r"1 of 37 captured requests .* request 401 .* served as 5.85, offline it is 5.6"
    ):
        skew.check({"model-stable-7f9c": other}, *packaged, 1e-5)
    [kept] = SKEW.plain()
    assert kept["request"] == ROWS
    assert json.loads(kept["offline"]) == {"predictions": [5.6, 5.6]}


@pytest.mark.slow
def test_a_saved_model_that_cannot_be_asked_is_an_error(
    packaged: tuple[dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, layout = packaged
    asked = {"pod": [entry(ROWS, '{"predictions": [5.6, 5.6]}')]}
    with pytest.raises(StageError, match="the packaged SavedModel cannot be asked: it cannot be loaded"):
        skew.check(asked, {**manifest, "version": "1"}, layout, 1e-5)
    monkeypatch.setattr(skew, "_TIMEOUT", 0.1)
    begin = time.monotonic()
    with pytest.raises(StageError, match=r"did not answer in 0\.1 s"):
        skew.check(asked, manifest, layout, 1e-5)
    assert time.monotonic() - begin < 5


def test_without_requests_or_without_a_saved_model_nothing_is_compared_and_it_says_so(
    packaged: tuple[dict[str, Any], Path],
) -> None:
    manifest, layout = packaged
    found = skew.check({"pod": []}, manifest, layout, 1e-5)
    assert (found["compared"], found["reason"]) == (0, "no request was captured yet")
    light = {**manifest, "digests": {"image": manifest["image"]["digest"]}}
    found = skew.check({"pod": [entry(ROWS, '{"predictions": [1.0]}')]}, light, layout, 1e-5)
    assert found == {"compared": 0, "reason": "the package's manifest names no SavedModel"}
