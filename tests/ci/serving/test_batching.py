"""Batches of the stand-in: how many rows, who is computed with whom, and that nobody's fault is another's."""

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.serving.api import Api
from ci.serving.batching import adapted
from ci.serving.model import Version
from ci.serving.tensors import InvalidArgument
from tests.ci.serving.servers import serving

TARGET = 0.05


@pytest.mark.parametrize(
    ("limit", "seconds", "full", "alone", "after"),
    [
        (1, 0.01, True, True, 9),
        (100, 0.01, True, False, 108),
        (100, 0.01, False, False, 100),
        (100, 0.05, True, False, 108),
        (100, 0.06, True, False, 90),
        (100, 0.06, False, False, 90),
        (100, 9.0, True, True, 100),
        (1, 0.06, True, False, 1),
        (9, 0.06, True, False, 8),
    ],
    ids=["begins", "more", "no demand", "just in time", "late", "late and not full", "one request", "least", "few"],
)
def test_the_limit_grows_by_addition_and_shrinks_by_multiplication(limit, seconds, full, alone, after):
    assert adapted(limit, TARGET, seconds, full=full, alone=alone) == after


@given(per_row=st.floats(1e-5, 1e-2), fixed=st.floats(0, 0.03))
@settings(max_examples=30, deadline=None)
def test_the_limit_comes_to_what_takes_as_long_as_the_target_and_stays_there(per_row, fixed):
    limit, fits, seen = 1, (TARGET - fixed) / per_row, []
    for _ in range(2000):
        limit = adapted(limit, TARGET, fixed + per_row * limit, full=True, alone=limit == 1)
        seen.append(limit)
    assert max(seen[-200:]) <= fits + 9
    assert min(seen[-200:]) >= min(0.9 * fits - 1, 16_000)


class Slow(Version):
    """A version without TensorFlow that returns what it is given, and notes how many rows it is given at once."""

    def __init__(self, per_row: float = 0.0) -> None:
        super().__init__("echo", 7, "AVAILABLE")
        self.batches: list[int] = []
        self.per_row, self.go, self.busy = per_row, threading.Event(), False
        self.go.set()

    def inputs(self, signature):
        return {"x": "DT_FLOAT"} if signature == "serving_default" else {"x": "DT_FLOAT", "name": "DT_STRING"}

    def run(self, signature, arrays):  # noqa: ARG002
        self.busy = True
        self.go.wait(60)
        x = arrays["x"]
        self.batches.append(len(x) if x.ndim else 0)
        if (x < 0).any():
            raise InvalidArgument("x is negative")
        time.sleep(self.per_row * x.size)
        return {"y": np.sum(x) if (x == 13).any() else x}


@contextlib.contextmanager
def served(version, **options):
    api = Api("echo", version, threads=1, **{"batch_target": TARGET, **options})
    with contextlib.contextmanager(serving)(api) as url:
        yield f"{url}/v1/models/echo:predict", api


def ask(url, body):
    answer = requests.post(url, json=body, timeout=20)
    return answer.status_code, answer.json()


def until(holds):
    for _ in range(2000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come to that")


def together(version, url, api, bodies):
    """Ask all while the server is busy with another request, so that they meet; give their answers in order."""
    version.go.clear()
    version.busy = False
    with ThreadPoolExecutor(len(bodies) + 1) as pool:
        first = pool.submit(ask, url, {"instances": [0.0]})
        until(lambda: version.busy)
        asked = [pool.submit(ask, url, body) for body in bodies]
        if api._batches:
            until(lambda: len(api._batches._queue) == len(bodies))
        version.go.set()
        assert first.result() == (200, {"predictions": [0.0]})
        return [each.result() for each in asked]


def grown(api, limit=1000):
    api._batches.limit = limit


def test_requests_that_meet_are_computed_together_and_each_gets_its_own_rows():
    version = Slow()
    with served(version) as (url, api):
        grown(api)
        bodies = [{"instances": [float(n)] * (n % 3 + 1)} for n in range(1, 9)]
        found = together(version, url, api, bodies)
    assert found == [(200, {"predictions": body["instances"]}) for body in bodies]
    assert len(version.batches) < len(bodies)
    assert sum(version.batches) == 1 + sum(len(body["instances"]) for body in bodies)


def test_a_batch_has_no_more_rows_than_the_limit_and_a_request_is_never_divided():
    version = Slow()
    with served(version) as (url, api):
        grown(api, 4)
        bodies = [{"instances": [1.0] * rows} for rows in (10, 10, 10)]
        assert [code for code, _ in together(version, url, api, bodies)] == [200] * 3
    assert version.batches[0] == 1
    assert set(version.batches[1:]) == {10}


def test_without_a_target_each_request_is_computed_alone():
    version = Slow()
    with served(version, batch_target=None) as (url, api):
        together(version, url, api, [{"instances": [1.0]}] * 5)
    assert version.batches == [1] * 6


def test_a_request_that_is_refused_is_refused_alone():
    version = Slow()
    with served(version) as (url, api):
        grown(api)
        bodies = [
            {"instances": [1.0, 2.0]},
            {"instances": [-1.0]},
            {"instances": ["no number"]},
            {"instances": [3.0]},
            {"signature_name": "named", "inputs": {"x": [4.0], "name": ["a"]}},
            {"inputs": 5.0},
            {"instances": [[6.0, 7.0]]},
        ]
        found = together(version, url, api, bodies)
    assert [code for code, _ in found] == [200, 400, 400, 200, 200, 200, 200]
    assert found[1][1] == {"error": "x is negative"}
    answers = [answer for code, answer in found if code == 200]
    assert answers == [
        {"predictions": [1.0, 2.0]},
        {"predictions": [3.0]},
        {"outputs": [4.0]},
        {"outputs": 5.0},
        {"predictions": [[6.0, 7.0]]},
    ]


def test_a_model_that_does_not_answer_row_by_row_is_asked_one_by_one():
    version = Slow()
    with served(version) as (url, api):
        grown(api)
        found = together(version, url, api, [{"inputs": [13.0, 1.0]}, {"inputs": [2.0]}])
    assert found == [(200, {"outputs": 14.0}), (200, {"outputs": [2.0]})]


def test_the_limit_follows_the_time_that_batches_take():
    version = Slow(per_row=0.001)
    with served(version) as (url, api):
        assert ask(url, {"instances": [1.0] * 60})[0] == 200  # alone and late: it cannot be smaller
        assert api._batches.limit == 1
        grown(api, 200)
        together(version, url, api, [{"instances": [1.0] * 40}] * 4)
        assert api._batches.limit < 200
        grown(api, 1)
        together(version, url, api, [{"instances": [1.0]}] * 4)
        assert api._batches.limit > 1


def test_a_client_that_is_gone_harms_nobody():
    version = Slow()
    with served(version) as (url, api):
        grown(api)
        version.go.clear()
        with ThreadPoolExecutor(3) as pool:
            first = pool.submit(ask, url, {"instances": [0.0]})
            until(lambda: version.busy)
            with contextlib.suppress(requests.Timeout):
                requests.post(url, json={"instances": [1.0]}, timeout=0.2)
            second = pool.submit(ask, url, {"instances": [2.0]})
            version.go.set()
            assert (first.result()[0], second.result()) == (200, (200, {"predictions": [2.0]}))


def test_a_real_model_answers_in_a_batch_as_it_does_alone(plain_model):
    version = Version("demo", 1)
    version.load(plain_model)
    assert version.state == "AVAILABLE", version.error
    rows = [{"x": n / 7, "carrier": "ab" * (n % 4), "hour": n} for n in range(40)]
    with served(version, batch_target=10.0) as (url, api):
        url = url.replace("echo", "demo")
        api.model = "demo"
        grown(api)
        alone = [ask(url, {"instances": [row]}) for row in rows]
        with ThreadPoolExecutor(40) as pool:
            found = list(pool.map(lambda row: ask(url, {"instances": [row]}), rows))
    assert found == alone
    assert {code for code, _ in found} == {200}
