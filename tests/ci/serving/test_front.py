"""What clients can take from the stand-in, over real connections: bytes, seconds, and its good name."""

import contextlib
import gzip
import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

from ci.serving.api import BODY, Api
from ci.serving.front import Limits
from ci.serving.model import Version
from tests.ci.serving.servers import serving

QUICK = Limits(connections=8, idle=0.4, body=0.6, unread=0.5)
HEAD = b"POST /v1/models/echo:predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
ASK = b"GET /v1/models/echo HTTP/1.1\r\nHost: x\r\n\r\n"


class Loaded(Version):
    """A version without TensorFlow: it returns what it is given."""

    def __init__(self) -> None:
        super().__init__("echo", 7, "AVAILABLE")

    def inputs(self, signature: str) -> dict[str, str]:  # noqa: ARG002
        return {"x": "DT_FLOAT"}

    def run(self, signature, arrays):  # noqa: ARG002
        return dict(arrays)


@pytest.fixture
def url() -> Iterator[str]:
    yield from serving(Api("echo", Loaded()), QUICK)


def connected(url: str) -> socket.socket:
    found = socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=10)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found


def read(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def statuses(said: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1\.[01] (\d+) ", said)]


def metrics(url: str) -> str:
    return requests.get(f"{url}/monitoring/prometheus/metrics", timeout=10).text


def whole(body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


# What a client does wrong is no failure of the version.


def test_a_client_that_goes_away_in_its_upload_leaves_no_trace(url, caplog):
    for part in (b"", b'{"inst', b"x" * 100_000):
        with connected(url) as connection:
            connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + part)
        with connected(url) as connection:
            connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n" + part)
    for _ in range(20):
        assert requests.post(f"{url}/v1/models/echo:predict", json={"instances": [1]}, timeout=10).ok
    counted = re.findall(r'request_count\{.*?status="(\w+)"\} (\d+)', metrics(url))
    assert counted == [("OK", "20")]
    assert caplog.records == []


def test_a_client_that_closes_its_half_of_the_connection_is_answered(url):
    for requested in (whole(b'{"instances": [1]}'), ASK, whole(b'{"instances": [1]}') * 5):
        for together in (True, False):
            with connected(url) as connection:
                connection.sendall(requested)
                if not together:
                    time.sleep(0.02)
                connection.shutdown(socket.SHUT_WR)
                begin = time.monotonic()
                said = read(connection)
            assert statuses(said) == [200] * requested.count(b"HTTP/1.1")
            assert time.monotonic() - begin < QUICK.idle / 2, "and the connection closed at once"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"no HTTP at all\r\n\r\n", 400),
        (b"GET /v1/models/echo HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/models/echo HTTP/1.1\r\nHo st: x\r\n\r\n", 400),
        (b"GET /v1/models/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /v1/models/" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (ASK[:-2] + b"X: " + b"a" * 10_000 + b"\r\n\r\n", 431),
        (ASK[:-2] + b"".join(b"X-%d: a\r\n" % n for n in range(100)) + b"\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (HEAD + b"Content-Length: %d\r\n\r\n" % (BODY + 1), 413),
        (HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (BODY + 1), 413),
        (b"GET /v1/models/echo/versions/" + b"9" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /v1/models/echo/versions/" + b"9" * 5000 + b"/metadata HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (HEAD.replace(b"echo", b"echo/versions/" + b"9" * 5000) + b"Content-Length: 2\r\n\r\n{}", 400),
        (b"TRACE /v1/models/echo HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"GET http://x/v1/models/echo HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (ASK[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 200),
        (b"GET /v1/models/echo HTTP/1.0\r\nHost: x\r\n\r\n", 200),
    ],
)  # fmt: skip
def test_what_is_no_good_request_is_answered_so_and_nothing_is_logged(url, caplog, sent, status):
    with connected(url) as connection:
        connection.sendall(sent)
        said = read(connection)
    assert statuses(said) == [status]
    if status in (400, 413, 431):
        assert list(json.loads(said.partition(b"\r\n\r\n")[2])) == ["error"]
    assert caplog.records == []
    assert requests.get(f"{url}/v1/models/echo", timeout=10).ok
    assert "INTERNAL" not in metrics(url)


def test_a_fault_of_ours_is_an_internal_error_with_a_traceback(url, caplog, monkeypatch):
    monkeypatch.setattr(Loaded, "run", lambda *_: 1 / 0)
    answer = requests.post(f"{url}/v1/models/echo:predict", json={"instances": [1]}, timeout=10)
    assert (answer.status_code, answer.json()) == (500, {"error": "ZeroDivisionError: division by zero"})
    assert 'status="INTERNAL"} 1' in metrics(url)
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info


# What clients can take.


def test_a_client_that_reads_no_answers_can_send_no_more_and_is_ended(url):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        connection.connect((urlsplit(url).hostname, urlsplit(url).port))
        with pytest.raises(ConnectionError):  # it reads no further, and then ends the connection
            flood(connection)
    assert requests.get(f"{url}/v1/models/echo", timeout=10).ok


def flood(connection: socket.socket) -> None:
    sent, many = 0, ASK * 5000
    while sent < 64 << 20:  # more than all the buffers between us
        sent += connection.send(many)


def test_pipelined_requests_are_answered_in_order(url):
    with connected(url) as connection:
        connection.sendall(b"".join(whole(b'{"instances": [%d]}' % n) for n in range(300)))
        connection.shutdown(socket.SHUT_WR)
        said = read(connection)
    assert [float(n) for n in re.findall(rb'"predictions": \[([\d.]+)\]', said)] == [float(n) for n in range(300)]


@pytest.mark.parametrize("sent", [b"", b"G", ASK[:-2], ASK[:-2] + b"X: "])
def test_a_head_that_does_not_come_ends_the_connection(url, sent):
    with connected(url) as connection:
        begin = time.monotonic()
        connection.sendall(sent)
        assert read(connection) == b""
        assert 0.5 * QUICK.idle < time.monotonic() - begin < 10 * QUICK.idle


def test_a_head_that_comes_byte_by_byte_has_no_more_time(url):
    with connected(url) as connection:
        begin = time.monotonic()
        with pytest.raises(ConnectionError):  # noqa: PT012 - whichever byte it is
            while time.monotonic() - begin < 5:
                connection.sendall(b"x")
                time.sleep(0.02)
        assert time.monotonic() - begin < 5


def test_an_answered_connection_may_ask_again_and_is_ended_when_it_does_not(url):
    with connected(url) as connection:
        for _ in range(3):
            time.sleep(QUICK.idle / 2)
            connection.sendall(ASK)
            assert statuses(connection.recv(65536)) == [200]
        begin = time.monotonic()
        assert read(connection) == b""
        assert time.monotonic() - begin < 10 * QUICK.idle


def test_a_body_that_does_not_come_is_a_timeout(url):
    with connected(url) as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        assert statuses(read(connection)) == [408]
    with connected(url) as connection:  # more slowly than the time for a head is no matter
        connection.sendall(HEAD + b"Content-Length: 18\r\n\r\n")
        time.sleep(QUICK.idle * 1.2)
        connection.sendall(b'{"instances": [1]}')
        assert statuses(connection.recv(65536)) == [200]


def test_a_body_without_a_length_is_bounded_too(url):
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    with connected(url) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range((BODY >> 20) + 1):
            connection.sendall(chunk)
        assert statuses(connection.recv(65536)) == [413]


def test_all_bodies_together_are_bounded():
    with contextlib.contextmanager(serving)(Api("echo", Loaded()), Limits(body=0.5, bodies=1000)) as found:
        with connected(found) as first, connected(found) as second:
            first.sendall(HEAD + b"Content-Length: 900\r\n\r\n" + b"x" * 800)
            time.sleep(0.1)
            second.sendall(HEAD + b"Content-Length: 900\r\n\r\n" + b"x" * 800)
            assert statuses(read(second)) == [503]
        assert requests.post(f"{found}/v1/models/echo:predict", json={"instances": [1]}, timeout=10).ok


def test_connections_beyond_the_limit_are_told_so_and_those_there_are_served(url):
    with contextlib.ExitStack() as stack:
        some = [stack.enter_context(connected(url)) for _ in range(QUICK.connections)]
        for connection in some:
            connection.sendall(ASK)
            assert statuses(connection.recv(65536)) == [200]
        for _ in range(3):
            with connected(url) as refused:
                said = read(refused)
            assert statuses(said) == [503]
            assert b"too many connections" in said
        some[0].sendall(ASK)
        assert statuses(some[0].recv(65536)) == [200]
    for _ in range(100):  # as soon as the server has seen them go
        if requests.get(f"{url}/v1/models/echo", timeout=10).ok:
            return
    raise AssertionError("still full")


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(url):
    body = b'{"instances": [2]}'
    with connected(url) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        said = connection.recv(65536)
    assert statuses(said) == [200]
    assert said.endswith(b'{"predictions": [2.0]}')


def test_an_old_client_is_told_nothing_before_its_answer(url):
    body = b'{"instances": [1.0]}'
    with connected(url) as connection:
        asks = b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + asks + body)
        said = read(connection)
    assert statuses(said) == [200]
    assert said.endswith(b'{"predictions": [1.0]}')


# Packed bodies.


def packed(url: str, body: bytes, encoding: str = "gzip") -> tuple[int, str]:
    answer = requests.post(
        f"{url}/v1/models/echo:predict", data=body, headers={"Content-Encoding": encoding}, timeout=20
    )
    return answer.status_code, answer.text


def test_a_gzip_body_is_unpacked(url):
    for encoding in ("gzip", "x-gzip"):
        assert packed(url, gzip.compress(b'{"instances": [1, 2]}'), encoding) == (200, '{"predictions": [1.0, 2.0]}')


GZIP = gzip.compress(b'{"instances": [1]}', mtime=0)


@pytest.mark.parametrize(
    ("body", "encoding", "why"),
    [
        pytest.param(b'{"instances": [1]}', "gzip", "incorrect header check", id="no gzip"),
        pytest.param(GZIP[:-9], "gzip", "it ends too early", id="half"),
        pytest.param(b"", "gzip", "it ends too early", id="nothing"),
        pytest.param(GZIP + b"more", "gzip", "something follows it", id="more"),
        pytest.param(gzip.compress(b" " * (100 << 20), 1, mtime=0), "gzip", "more than 32 MiB unpacked", id="bomb"),
        pytest.param(gzip.compress(b"[" * (2 << 20), 1, mtime=0), "gzip", "1,000,000 arrays and objects", id="deep"),
        pytest.param(gzip.compress(b"[{}," * (1 << 20), 1, mtime=0), "gzip", "send fewer rows at once", id="many"),
        pytest.param(GZIP, "deflate", "Invalid value. at offset: 0", id="called deflate"),
        pytest.param(GZIP, "br", "Invalid value. at offset: 0", id="called br"),
    ],
)
def test_a_body_that_cannot_be_unpacked_is_an_invalid_argument(url, body, encoding, why):
    status, said = packed(url, body, encoding)
    assert status == 400
    assert "JSON Parse error: " in said
    assert why in said


# Metrics.


def test_a_name_that_clients_invent_cannot_write_metrics_nor_fill_them(url):
    before = metrics(url)
    names = [
        "a%0Aevil_metric%20666%0A",
        "a%22%7D%201%0D",
        "%5C",
        "%E2%80%A8x",
        *("n" * 20_000 + str(n) for n in range(50)),
    ]
    with requests.Session() as session:
        for name in names:
            assert session.get(f"{url}/v1/models/{name}", timeout=10).status_code == 404
            assert session.post(f"{url}/v1/models/{name}:predict", data="{", timeout=10).status_code == 400
    page = metrics(url)
    assert len(page) < len(before) + 300
    assert "evil" not in page
    prefix = ":tensorflow:serving:request_count"
    assert f'{prefix}{{model_name="(unknown)",status="NOT_FOUND"}} {len(names)}\n' in page
    assert f'{prefix}{{model_name="(unknown)",status="INVALID_ARGUMENT"}} {len(names)}\n' in page


def test_the_served_models_own_name_is_escaped():
    version = Loaded()
    version.model = 'a"b\\c\nd'
    with contextlib.contextmanager(serving)(Api('a"b\\c\nd', version)) as found:
        assert requests.get(f"{found}/v1/models/a%22b%5Cc%0Ad", timeout=10).ok
        page = metrics(found)
    assert ':tensorflow:serving:request_count{model_name="a\\"b\\\\c\\nd",status="OK"} 1\n' in page
    for line in page.split("\n")[:-1]:
        assert re.fullmatch(r'# TYPE :[\w:]+ \w+|:[\w:]+\{(?:\w+="(?:[^"\\\n]|\\[\\"n])*",?)*\} [\d.e+]+', line)
