"""The gateway: a real nginx with its configuration from k8s/, in front of a server that answers what it is told."""

import contextlib
import gzip
import http.client
import json
import os
import socket
import subprocess
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests

from ci import configuration
from ci.capture import gateways
from ci.monitoring import known
from tests.pods import REPOSITORY
from tests.programs import needed

GATEWAY = REPOSITORY / "k8s/server/gateway"
EDGE = REPOSITORY / "k8s/components/edge/clients"
MODULE = Path("/usr/lib/nginx/modules/ngx_http_js_module.so")
PREDICT = "/v1/models/demo:predict"


class Server:
    """An upstream: answers `{"predictions": [...]}` for each instance, or a status that it is told to answer next."""

    def __init__(self):
        self.statuses, self.seconds, self.headers, self.asked, self.half = [], 0.0, {}, 0, 2
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one packet, or each answer waits for an acknowledgement

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.headers = dict(self.headers)
                outer.asked += 1
                time.sleep(outer.seconds)
                status = outer.statuses.pop(0) if outer.statuses else 200
                try:
                    answer = {"predictions": [row["x"] / outer.half for row in json.loads(body)["instances"]]}
                except ValueError:
                    status, answer = 400, {"error": "no JSON"}
                if not self.headers["Host"]:
                    status, answer = 400, {"error": "no host"}
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_port
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


def free_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as probe:
        return probe.server_port


class Gateway:
    """An nginx of its own; `url` for clients, `inside` for the deployer and the monitor."""

    def __init__(self, folder: Path, upstream: int, *, ipv6: bool = True, edge: bool = False, **variables: str):
        needed("nginx", "apt-get install nginx-light libnginx-mod-http-js", MODULE)
        ports = free_port(), free_port()
        self.url, self.inside = (f"http://127.0.0.1:{port}" for port in ports)
        self.url6, self.inside6 = (f"http://[::1]:{port}" for port in ports)
        self.state = folder / "state"
        self.cache = folder / "cache"
        self.state.mkdir(exist_ok=True)
        self.cache.mkdir(exist_ok=True)
        user = " -g 'user root;'" if os.getuid() == 0 else ""  # or its worker would be nobody
        changed = {
            "server 127.0.0.1:8501;": f"server 127.0.0.1:{upstream};",
            "listen 8080": f"listen 127.0.0.1:{ports[0]}",
            "listen 8081": f"listen 127.0.0.1:{ports[1]}",
            "listen [::]:8080": f"listen [::]:{ports[0]}",
            "listen [::]:8081": f"listen [::]:{ports[1]}",
            "modules/ngx": "/usr/lib/nginx/modules/ngx",
            "/var/lib/gateway": str(self.state),
            "/var/cache/gateway": str(self.cache),
            "/dev/stdout": str(folder / "access.log"),
            "/etc/gateway": str(folder),
            "exec nginx": f"exec nginx -p {folder}{user}",
            "/proc/net/if_inet6": "/proc/net/if_inet6" if ipv6 else "/proc/net/none",
            "client_body_timeout 10s": "client_body_timeout 1s",
            "client_header_timeout 10s": "client_header_timeout 1s",
        }
        texts = {path.name: path.read_text() for path in GATEWAY.iterdir()}
        if edge:  # its Secret is mounted at `clients`
            texts |= {name: (EDGE / name).read_text() for name in ("http.conf", "server.conf", "edge.js")}
            changed = {"/etc/edge-clients": str(folder / "clients"), "/etc/edge": str(folder), **changed}
        for before, after in changed.items():
            assert any(before in text for text in texts.values()), before
            texts = {name: text.replace(before, after) for name, text in texts.items()}
        for name, text in texts.items():
            (folder / name).write_text(text)
        self.access = folder / "access.log"
        error = (folder / "error.log").open("w")
        self.process = subprocess.Popen(["sh", folder / "start.sh"], stderr=error, env={**os.environ, **variables})
        for _ in range(100):
            try:
                requests.get(f"{self.inside}/traffic", timeout=1)
                return
            except requests.ConnectionError:
                assert self.process.poll() is None, (folder / "error.log").read_text()
                time.sleep(0.05)

    def logged(self, method: str = "") -> dict:
        """The last entry of the access log, which is written when the request is over, so after its answer."""
        for _ in range(100):
            if self.access.exists() and (lines := self.access.read_bytes().splitlines()):
                entry = json.loads(lines[-1])
                if method in ("", entry["method"]):
                    return entry
            time.sleep(0.02)
        raise AssertionError("the access log stays empty")

    def predict(self, *values, session=requests):
        return session.post(f"{self.url}{PREDICT}", json={"instances": [{"x": value} for value in values]}, timeout=10)


@pytest.fixture
def server():
    found = Server()
    yield found
    found.http.shutdown()


@pytest.fixture
def gateway(tmp_path, server, request):
    found = Gateway(tmp_path, server.port, **getattr(request, "param", {}))
    yield found
    found.process.terminate()
    found.process.wait()


def test_a_prediction_goes_through_unchanged_and_is_counted_with_its_time(gateway, server):
    server.seconds = 0.05
    assert gateway.predict(1.0, 3.0).json() == {"predictions": [0.5, 1.5]}
    told = gateways.ask(gateway.inside)
    assert (told["requests"], told["errors"]) == (1, 0)
    [entry] = told["recent"]
    assert entry["status"] == 200
    assert 0.04 < entry["seconds"] < 1


def test_what_is_no_prediction_is_not_counted(gateway):
    requests.get(f"{gateway.url}/v1/models/demo", timeout=5)
    assert gateways.ask(gateway.inside)["requests"] == 0


def test_one_request_of_ten_is_captured_with_its_response(gateway):
    for value in range(25):
        gateway.predict(float(value))
    told = gateways.ask(gateway.inside)
    assert [entry["number"] for entry in told["captured"]] == [1, 11, 21]
    assert [gateways.predictions(entry) for entry in told["captured"]] == [[0.0], [5.0], [10.0]]
    assert json.loads(told["captured"][1]["request"]) == {"instances": [{"x": 10.0}]}


def test_a_request_has_the_clients_name_or_one_that_the_client_is_told(gateway):
    names = ["order-7:a.b_c", None, "a b", "-x", "x" * 129]
    told = []
    for name in names:
        headers = {} if name is None else {"X-Request-Id": name}
        answer = requests.post(f"{gateway.url}{PREDICT}", json={"instances": [{"x": 1}]}, headers=headers, timeout=5)
        told.append(answer.headers["X-Request-Id"])
    assert told[0] == "order-7:a.b_c"
    assert all(len(name) == 32 for name in told[1:])
    assert len(set(told)) == 5
    for _ in range(6):
        gateway.predict(1.0)
    captured = gateways.ask(gateway.inside)["captured"]
    assert [entry["number"] for entry in captured] == [1, 11]
    assert captured[0]["id"] == "order-7:a.b_c"
    assert gateway.logged()["id"] == captured[1]["id"]


SET = {"CAPTURE_DROP": "name,secret", "CAPTURE_EVERY": "1", "MODEL_VERSION": "7", "RELEASE": "sha256:ab"}


@pytest.mark.parametrize("gateway", [SET], indirect=True)
def test_fields_are_dropped_before_anything_is_written(gateway, server):
    rows = [{"x": 1.0, "name": "Ada", "more": {"secret": ["Bea"]}}]
    answer = requests.post(f"{gateway.url}{PREDICT}", json={"instances": rows}, timeout=5)
    assert answer.json() == {"predictions": [0.5]}
    requests.post(f"{gateway.url}{PREDICT}", data='{"instances": [{"name": "Ada", "x": 1', timeout=5)
    server.statuses = [400]
    requests.post(f"{gateway.url}{PREDICT}", json={"instances": rows}, timeout=5)
    assert counted(gateway, {"requests": 3}) == {"requests": 3}
    first, refused = gateways.ask(gateway.inside)["captured"]
    assert json.loads(first["request"]) == {"instances": [{"x": 1.0, "more": {}}]}
    assert json.loads(first["response"]) == {"predictions": [0.5]}
    assert (first["version"], first["release"], first["dropped"]) == ("7", "sha256:ab", ["name", "secret"])
    assert refused["response"] == "{}"
    want = {"sampled": 3, "unread": 1, "failed": 0}
    assert counted(gateway, want) == want
    written = [path for path in gateway.state.rglob("*") if path.is_file()] + [gateway.access]
    for secret in (b"Ada", b"Bea"):
        assert not [path for path in written if secret in path.read_bytes()]


def test_errors_of_the_server_and_those_of_the_client_are_counted_apart(gateway, server):
    server.statuses = [500, 503]
    assert [gateway.predict(1.0).status_code for _ in range(3)] == [500, 503, 200]
    assert requests.post(f"{gateway.url}{PREDICT}", data="{", timeout=5).status_code == 400
    told = gateways.ask(gateway.inside)
    assert (told["requests"], told["errors"], told["refused"]) == (4, 2, 1)


@contextlib.contextmanager
def connected(gateway):
    url = urlsplit(gateway.url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as found:
        yield found


def read(connection):
    """Everything until the gateway closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def counted(gateway, want):
    """The counters, as soon as they are what a test expects: a request is counted after its answer."""
    for _ in range(100):
        told = requests.get(f"{gateway.inside}/traffic", timeout=10).json()
        found = {key: told[key] for key in want}
        if found == want:
            break
        time.sleep(0.05)
    return found


def post(body, length=None, path=PREDICT, head=""):
    length = len(body) if length is None else length
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {length}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (post(b"", length=9 << 20), 413),
        (post(b"{", length=100), 408),
        (post(b"", path="/" + "a" * 10_000), 414),
        (post(b"", head="X: " + "a" * 10_000 + "\r\n"), 400),
        (post(b"", head="Content-Length: 3\r\n"), 400),
    ],
)
def test_what_the_gateway_turns_away_is_no_request_of_the_version(gateway, sent, status):
    with connected(gateway) as connection:
        connection.sendall(sent)
        said = read(connection) if status == 408 else connection.recv(65536)
    assert said.startswith(f"HTTP/1.1 {status} ".encode()) or (status, said) == (408, b"")
    gateway.predict(1.0)
    nothing = {"requests": 1, "errors": 0, "refused": 0}
    assert counted(gateway, nothing) == nothing


def test_an_upload_that_is_broken_off_is_no_request_of_the_version(gateway):
    for part in (b"", b'{"instances"', b"x" * 500_000):
        with connected(gateway) as connection:
            connection.sendall(post(part, length=2_000_000))
    gateway.predict(1.0)
    want = {"requests": 1, "errors": 0, "refused": 0, "turned_away": 3}
    assert counted(gateway, want) == want


def test_a_client_that_gives_up_counts_as_what_the_version_did(gateway, server):
    body = b'{"instances": [{"x": 1.0}]}'
    server.seconds = 0.3
    for status in (200, 500):
        server.statuses = [status]
        with connected(gateway) as connection:
            connection.sendall(post(body))
            time.sleep(0.1)
    want = {"requests": 2, "errors": 1, "refused": 0, "turned_away": 0}
    assert counted(gateway, want) == want
    assert all(entry["seconds"] > 0.25 for entry in gateways.ask(gateway.inside)["recent"])


def test_a_client_that_closes_its_half_of_the_connection_is_answered(gateway, server):
    server.seconds = 0.1
    with connected(gateway) as connection:
        connection.sendall(post(b'{"instances": [{"x": 3.0}]}'))
        connection.shutdown(socket.SHUT_WR)
        said = read(connection)
    assert said.endswith(b'{"predictions": [1.5]}')
    assert counted(gateway, {"requests": 1, "errors": 0}) == {"requests": 1, "errors": 0}


def test_an_old_client_that_names_no_host_is_answered(gateway):
    with connected(gateway) as connection:
        connection.sendall(post(b'{"instances": [{"x": 3.0}]}').replace(b"HTTP/1.1\r\nHost: x", b"HTTP/1.0"))
        assert read(connection).endswith(b'{"predictions": [1.5]}')


@pytest.mark.parametrize("ending", [False, True])
def test_a_server_that_is_gone_is_answered_in_json_and_counted_as_an_error(gateway, server, ending):
    if ending:
        (gateway.state / "ending").touch()
    server.http.shutdown()
    server.http.server_close()
    answer = gateway.predict(1.0)
    assert (answer.status_code, answer.json()) == (503, {"error": "the model server does not answer"})
    assert gateways.ask(gateway.inside)["errors"] == 1


def test_a_request_that_is_too_large_is_refused_and_a_large_one_is_served_but_not_captured(gateway):
    large = {"instances": [{"x": float(n)} for n in range(100_000)]}
    assert len(requests.post(f"{gateway.url}{PREDICT}", json=large, timeout=20).json()["predictions"]) == 100_000
    refused = requests.post(f"{gateway.url}{PREDICT}", data="x" * (9 << 20), timeout=20)
    assert refused.status_code == 413
    assert "send fewer rows" in refused.json()["error"]
    assert gateways.ask(gateway.inside)["captured"] == []


def test_what_is_kept_has_a_bound(gateway):
    with connected(gateway) as connection:
        for first in range(0, 6000, 200):
            sent = [post(b'{"instances": [{"x": %d}]}' % value) for value in range(first, first + 200)]
            connection.sendall(b"".join(sent))
            said = b""
            while said.count(b'{"predictions"') < len(sent):
                said += connection.recv(1 << 20)
    assert counted(gateway, {"requests": 6000}) == {"requests": 6000}
    told = gateways.ask(gateway.inside)
    assert told["requests"] == 6000
    assert 15 * 256 <= len(told["recent"]) <= 16 * 256
    assert 31 * 16 <= len(told["captured"]) <= 32 * 16
    assert told["recent"][-1]["number"] == 6000
    assert sum(path.stat().st_size for path in gateway.state.glob("*-*")) < 20 << 20


def test_a_capture_that_fails_is_no_concern_of_the_client(gateway):
    gateway.predict(1.0)
    for path in gateway.state.glob("*"):
        if path.name.startswith(("counts", "recent", "captured")):
            path.unlink()
    (gateway.state / "counts").mkdir()
    assert gateway.predict(3.0).json() == {"predictions": [1.5]}
    time.sleep(0.2)
    assert gateway.logged()["kept"] == "failed"


def test_a_volume_that_is_full_is_no_concern_of_the_client_and_is_watched(gateway, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gateway.predict(1.0)
    assert counted(gateway, {"requests": 1}) == {"requests": 1}  # which is done after the answer
    for ring, files in (("recent", 16), ("captured", 32)):
        for number in range(files):
            path = gateway.state / f"{ring}-{number}"
            path.unlink(missing_ok=True)
            path.symlink_to("/dev/full")  # no space left on device
    answers = [gateway.predict(float(number)) for number in range(20)]
    assert [answer.json()["predictions"] for answer in answers] == [[number / 2] for number in range(20)]
    assert counted(gateway, {"requests": 21, "failed": 20}) == {"requests": 21, "failed": 20}
    settings = configuration.read(REPOSITORY / "tests/pipeline.yaml")
    found = known.service(settings, {"pod": gateways.ask(gateway.inside)}, datetime.now(UTC))
    [check] = [each for each in found if each.name == "capture"]
    assert check.verdict == "watch"
    assert check.sentence.startswith("20 of 21 requests could not be recorded")


def test_the_access_log_is_json_and_escapes_what_clients_send(gateway):
    connection = http.client.HTTPConnection(gateway.url.removeprefix("http://"))
    connection.request("GET", '/v1/%22%7D,"x')
    connection.getresponse().read()
    entry = gateway.logged()
    assert entry["status"] == 200
    assert entry["path"].startswith('/v1/"}')


def test_whatever_is_sent_each_line_of_the_access_log_is_json(gateway):
    end = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    lines = [
        b"GET /v1/%FF%fe" + end,
        b"GET /v1/\xff\xfe" + end,
        b"GET /v1/%C3%BC%E2%80%A8" + end,
        b"GET /v1/%0A%0D%00%1B%22%5C" + end.replace(b"%00", b""),
        b'GET /v1/"\\' + end,
        b"P\xff\xff /v1/" + end,
        b'G"{} /' + end,
        b"GET /v1/models/demo\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"no HTTP\r\n\r\n",
    ]
    for line in lines:
        with connected(gateway) as connection:
            connection.sendall(line)
            read(connection)
    gateway.predict(1.0)
    assert gateway.logged("POST")["path"] == PREDICT
    entries = [json.loads(line) for line in gateway.access.read_bytes().decode().splitlines()]
    assert len(entries) == len(lines) + 1
    assert [entries[0]["path"], entries[1]["path"], entries[2]["path"]] == [
        "/v1/%FF%fe",
        "not ASCII",
        "/v1/%C3%BC%E2%80%A8",
    ]
    assert all(isinstance(entry["status"], int) for entry in entries)


@pytest.mark.parametrize(
    "damage", ["", "{", '{"requests": 1', '{"requests": 5, "errors": null, "refused": 0}', "[]", "null", "{" * 500]
)
def test_counters_that_were_half_written_are_begun_anew(gateway, damage):
    for value in range(12):
        gateway.predict(float(value))
    assert counted(gateway, {"requests": 12}) == {"requests": 12}
    (gateway.state / "counts").write_text(damage)
    assert gateways.ask(gateway.inside)["requests"] == 0
    gateway.predict(3.0)
    assert counted(gateway, {"requests": 1}) == {"requests": 1}
    told = gateways.ask(gateway.inside)
    assert (told["requests"], [entry["number"] for entry in told["recent"]]) == (1, [1])
    assert [gateways.predictions(entry) for entry in told["captured"]] == [[1.5]]
    gateway.predict(3.0)
    assert counted(gateway, {"requests": 2}) == {"requests": 2}


@pytest.mark.parametrize("damage", ['\n{"number": 3, "sta', "\nnull", '\n{"status": 200}', "\n7", "\n\x00\x00"])
def test_entries_that_were_half_written_are_passed_over(gateway, damage):
    gateway.predict(1.0)
    assert counted(gateway, {"requests": 1}) == {"requests": 1}
    for name in ("recent-0", "captured-0"):
        with (gateway.state / name).open("a") as file:
            file.write(damage)
    for value in range(11):
        gateway.predict(float(value))
    assert counted(gateway, {"requests": 12}) == {"requests": 12}
    told = gateways.ask(gateway.inside)
    assert [entry["number"] for entry in told["recent"]] == list(range(1, 13))
    assert [entry["number"] for entry in told["captured"]] == [1, 11]


def test_counters_are_whole_at_every_moment(gateway):
    seen, stop = [], threading.Event()
    gateway.predict(0.0)  # the file is made, and then only written to
    assert counted(gateway, {"requests": 1}) == {"requests": 1}

    def look():
        while not stop.is_set():
            seen.append((gateway.state / "counts").read_text())

    watching = threading.Thread(target=look)
    watching.start()
    with requests.Session() as session:
        for value in range(300):
            gateway.predict(float(value), session=session)
    stop.set()
    watching.join()
    assert {json.loads(text)["errors"] for text in seen} == {0}


def test_what_is_no_text_is_not_captured_as_if_it_were(gateway):
    gateway.predict(1.0)
    for _ in range(9):
        gateway.predict(2.0)
    body = gzip.compress(b'{"instances": [{"x": 1.0}]}')
    requests.post(f"{gateway.url}{PREDICT}", data=body, headers={"Content-Encoding": "gzip"}, timeout=5)
    assert counted(gateway, {"requests": 11}) == {"requests": 11}
    assert [entry["number"] for entry in gateways.ask(gateway.inside)["captured"]] == [1]


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/models/%FF:predict", b'{"instances": []}'), (PREDICT, b'{"note": "\xff\x00", "instances": []}')],
    ids=["path", "body"],
)
def test_what_is_captured_is_json_whatever_was_sent(gateway, path, body):
    requests.post(f"{gateway.url}{path}", data=body, timeout=5)
    assert counted(gateway, {"requests": 1}) == {"requests": 1}
    assert len(requests.get(f"{gateway.inside}/captured", timeout=5).content.decode()) < 1000
    assert gateways.ask(gateway.inside)["requests"] == 1


def reached(url):
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


def has_ipv6():
    """Whether this machine has any IPv6 address: containers often have none, though they have the protocol."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_the_gateway_listens_on_both_families_of_addresses(gateway):
    there = has_ipv6()
    for url in (f"{gateway.url6}/v1/models/demo", f"{gateway.inside6}/traffic"):
        assert reached(url) is there
    for url in (f"{gateway.url}/v1/models/demo", f"{gateway.inside}/traffic"):
        assert reached(url)


def test_on_a_node_without_ipv6_it_starts_all_the_same(tmp_path, server):
    (tmp_path / "state").mkdir()
    (tmp_path / "state/ipv6-clients").write_text("listen [::1]:1;")  # left by a container that was started before
    found = Gateway(tmp_path, server.port, ipv6=False)
    try:
        assert reached(f"{found.url}/v1/models/demo")
        assert not reached(f"{found.url6}/v1/models/demo")
        assert not reached(f"{found.inside6}/traffic")
    finally:
        found.process.terminate()
        found.process.wait()


def test_a_meter_counts_from_where_it_began(gateway):
    for value in range(30):
        gateway.predict(float(value))
    meter = gateways.Meter()
    meter.read({"pod": gateways.ask(gateway.inside)})
    assert meter.traffic().requests == 0
    for value in range(20):
        gateway.predict(float(value))
    assert requests.post(f"{gateway.url}{PREDICT}", data="{", timeout=5).status_code == 400
    meter.read({"pod": gateways.ask(gateway.inside)})
    seen = meter.traffic()
    assert (seen.requests, seen.errors, seen.refused, len(seen.seconds)) == (21, 0, 1, 21)
    np.testing.assert_array_equal(seen.predictions, [0.0, 5.0])


def test_a_gateway_that_does_not_count_what_was_refused_is_read_all_the_same():
    older = {"requests": 2, "errors": 1, "recent": [], "captured": [], "refused": None}
    meter = gateways.Meter()
    for told in ({**older, "requests": 0, "errors": 0}, older):
        meter.read({"older": told, "newer": {**told, "refused": told["requests"]}})
    assert (meter.traffic().requests, meter.traffic().refused) == (4, None)


def test_before_its_end_each_answer_asks_its_client_to_connect_anew_and_is_counted_as_ever(gateway, server):
    with requests.Session() as session:
        assert "close" not in gateway.predict(1.0, session=session).headers.get("Connection", "")
        (gateway.state / "ending").touch()  # as preStop does
        answer = gateway.predict(3.0, session=session)
    assert (answer.json(), answer.headers["Connection"]) == ({"predictions": [1.5]}, "close")
    server.statuses = [500]
    assert gateway.predict(1.0).status_code == 500
    told = gateways.ask(gateway.inside)
    assert (told["requests"], told["errors"]) == (3, 1)
