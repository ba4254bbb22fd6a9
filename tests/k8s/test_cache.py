"""The gateway's cache of answers: a real nginx, in front of a server that counts how often it is asked."""

import gzip
import json
from contextlib import contextmanager
from itertools import product

import pytest
import requests

from ci.capture import gateways
from tests.k8s.test_gateway import PREDICT, Gateway, Server, connected, counted, post, server

assert server  # the fixture
ON = {"CACHE_MIB": "8", "CAPTURE_EVERY": "1", "MODEL_VERSION": "1", "RELEASE": "sha256:a"}


@contextmanager
def running(folder, port, **variables):
    folder.mkdir(exist_ok=True)
    found = Gateway(folder, port, **{**ON, **variables})
    try:
        yield found
    finally:
        found.process.terminate()
        found.process.wait()


@pytest.fixture
def gateway(tmp_path, server):
    with running(tmp_path / "gateway", server.port) as found:
        yield found


def ask(gateway, body, path=PREDICT, **headers):
    return requests.post(f"{gateway.url}{path}", data=body, headers=headers, timeout=10)


def kept(gateway):
    """What the cache holds, file by file."""
    return [path.read_bytes() for path in gateway.cache.rglob("*") if path.is_file()]


BODY = b'{"instances": [{"x": 3.0}]}'


def test_what_is_asked_again_is_answered_without_the_server_and_counted_and_captured_as_ever(gateway, server):
    answers = [ask(gateway, BODY, **{"X-Request-Id": f"order-{number}"}) for number in range(5)]
    assert [answer.json() for answer in answers] == [{"predictions": [1.5]}] * 5
    assert [answer.headers["X-Request-Id"] for answer in answers] == [f"order-{number}" for number in range(5)]
    assert server.asked == 1
    want = {"requests": 5, "cached": 4, "errors": 0, "turned_away": 0, "sampled": 5, "failed": 0}
    assert counted(gateway, want) == want
    told = gateways.ask(gateway.inside)
    assert [entry["id"] for entry in told["captured"]] == [f"order-{number}" for number in range(5)]
    assert [gateways.predictions(entry) for entry in told["captured"]] == [[1.5]] * 5
    assert [entry["number"] for entry in told["recent"]] == [1], "an answer from the cache has no time of the version"


def test_a_canary_is_judged_by_what_its_version_was_asked_and_not_by_what_the_cache_answered(gateway, server):
    ask(gateway, BODY)
    assert counted(gateway, {"requests": 1}) == {"requests": 1}
    meter = gateways.Meter()
    meter.read({"pod": gateways.ask(gateway.inside)})
    for body in (BODY, BODY, b'{"instances": [{"x": 5.0}]}'):
        ask(gateway, body)
    server.statuses = [500]
    ask(gateway, b'{"instances": [{"x": 7.0}]}')
    assert counted(gateway, {"requests": 5, "cached": 2}) == {"requests": 5, "cached": 2}
    meter.read({"pod": gateways.ask(gateway.inside)})
    seen = meter.traffic()
    assert (seen.requests, seen.errors, len(seen.seconds)) == (2, 1, 2)


DIFFERENT = [
    (BODY, PREDICT, {}),
    (BODY + b" ", PREDICT, {}),
    (BODY, "/v1/models/demo/versions/1:predict", {}),
    (gzip.compress(BODY, mtime=0), PREDICT, {"Content-Encoding": "gzip"}),
    (gzip.compress(BODY, mtime=0), PREDICT, {}),
    (b'{"x": "\xff", "instances": [{"x": 3.0}]}', PREDICT, {}),
    (b'{"x": "\xfe", "instances": [{"x": 3.0}]}', PREDICT, {}),
]


def test_requests_that_differ_in_a_byte_or_in_their_path_or_packing_share_no_answer(gateway, server):
    for body, path, headers in DIFFERENT:
        ask(gateway, body, path, **headers)
    assert server.asked == len(DIFFERENT)


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_what_was_no_answer_is_asked_again(gateway, server, status):
    server.statuses = [status]
    assert [ask(gateway, BODY).status_code for _ in range(3)] == [status, 200, 200]
    assert server.asked == 2


LARGE = json.dumps({"instances": [{"x": float(number)} for number in range(100_000)]}).encode()
LONG = json.dumps({"instances": [{"x": number / 7} for number in range(300)]}).encode()


@pytest.mark.parametrize(
    ("body", "path"),
    [(LARGE, PREDICT), (LONG, PREDICT), (BODY, "/v1/models/demo:classify"), (BODY, f"{PREDICT}?x")],
    ids=["in a file", "a long answer", "no prediction", "a query"],
)
def test_what_is_too_large_or_no_prediction_is_never_kept(gateway, server, body, path):
    for _ in range(2):
        assert ask(gateway, body, path).ok
    assert server.asked == 2
    assert kept(gateway) == []


def test_what_is_no_post_is_never_kept(gateway):
    for _ in range(2):
        assert requests.get(f"{gateway.url}{PREDICT}", timeout=5).ok
        assert requests.get(f"{gateway.url}/v1/models/demo/metadata", timeout=5).ok
    assert kept(gateway) == []


def test_without_the_setting_every_request_is_the_servers(tmp_path, server):
    with running(tmp_path / "gateway", server.port, CACHE_MIB="") as found:
        for _ in range(3):
            ask(found, BODY)
        assert server.asked == 3
        assert kept(found) == []


def test_during_a_canary_no_version_gives_an_answer_of_the_other(tmp_path):
    """Two pods, as of stable and canary: both are asked the same in turn, and each always answers as its own server."""
    servers = {name: Server() for name in ("1", "2")}
    servers["2"].half = 4.0
    with (
        running(tmp_path / "1", servers["1"].port, MODEL_VERSION="1", RELEASE="sha256:a") as one,
        running(tmp_path / "2", servers["2"].port, MODEL_VERSION="2", RELEASE="sha256:b") as two,
    ):
        for value, _ in product((1.0, 3.0), range(3)):
            body = json.dumps({"instances": [{"x": value}]})
            assert ask(one, body).json() == {"predictions": [value / 2]}
            assert ask(two, body).json() == {"predictions": [value / 4]}
    assert [found.asked for found in servers.values()] == [2, 2]


@pytest.mark.parametrize(
    ("changed", "asked"), [({}, 1), ({"RELEASE": "sha256:b"}, 2), ({"MODEL_VERSION": "2"}, 2)], ids=str
)
def test_the_key_has_release_and_version_whatever_lies_in_the_volume(tmp_path, server, changed, asked):
    """Both gateways share one volume, which pods never do; only with both the same the second finds an answer in it."""
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    with running(first, server.port) as one:
        (second / "cache").symlink_to(one.cache)
        with running(second, server.port, **changed) as two:
            ask(one, BODY)
            assert ask(two, BODY).ok
    assert server.asked == asked


def test_a_gateway_that_is_started_again_begins_with_an_empty_cache(tmp_path, server):
    for asked in (1, 2):
        with running(tmp_path / "gateway", server.port) as found:
            ask(found, BODY)
            assert server.asked == asked


def test_the_cache_holds_no_request(gateway):
    rows = {"instances": [{"x": 1.0, "name": "Ada"}]}
    for _ in range(2):
        assert requests.post(f"{gateway.url}{PREDICT}", json=rows, timeout=5).ok
    [answer] = kept(gateway)
    assert b'{"predictions": [0.5]}' in answer
    assert b"Ada" not in answer


def test_the_cache_has_a_bound_at_every_moment_and_what_is_beyond_is_answered(gateway, server):
    many, most = 1500, 8 * 16 * 8  # MiB, KiB of names for each, names in a KiB
    with connected(gateway) as connection:
        for first in range(0, many, 100):
            connection.sendall(b"".join(post(b'{"instances": [{"x": %d}]}' % n) for n in range(first, first + 100)))
            said = b""
            while said.count(b'{"predictions"') < 100:
                said += connection.recv(1 << 20)
            assert b"HTTP/1.1 500" not in said
            assert len(kept(gateway)) <= most
    assert server.asked == many
    assert 0.5 * most < len(kept(gateway))
    assert ask(gateway, b'{"instances": [{"x": %d}]}' % (many - 1)).ok
    assert server.asked == many


def test_a_pod_that_ends_answers_from_its_cache_and_asks_its_client_to_go(gateway, server):
    ask(gateway, BODY)
    (gateway.state / "ending").touch()
    answer = ask(gateway, BODY)
    assert (answer.json(), answer.headers["Connection"], server.asked) == ({"predictions": [1.5]}, "close", 1)


def test_clients_that_the_gateway_does_not_know_get_no_answer_of_others(tmp_path, server):
    (tmp_path / "clients").mkdir()
    (tmp_path / "clients/one.sha256").write_text("2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683")
    found = Gateway(tmp_path, server.port, edge=True, **ON)
    try:
        assert ask(found, BODY, **{"X-API-Key": "key"}).ok
        assert ask(found, BODY, **{"X-API-Key": "key"}).ok
        assert ask(found, BODY).status_code == 401
        assert server.asked == 1
    finally:
        found.process.terminate()
        found.process.wait()
