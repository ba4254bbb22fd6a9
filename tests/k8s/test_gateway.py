"""The gateway: a real nginx with its configuration from k8s/, in front of a server that answers what it is told."""

import http.client
import json
import os
import shutil
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import requests

from ci.rollout import traffic
from tests.pods import REPOSITORY

GATEWAY = REPOSITORY / "k8s/server/gateway"
PREDICT = "/v1/models/flights:predict"


class Server:
    """An upstream: answers `{"predictions": [...]}` for each instance, or a status that it is told to answer next."""

    def __init__(self):
        self.statuses, self.seconds = [], 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one packet, or each answer waits for an acknowledgement

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(outer.seconds)
                status = outer.statuses.pop(0) if outer.statuses else 200
                try:
                    answer = {"predictions": [row["x"] / 2 for row in json.loads(body)["instances"]]}
                except ValueError:
                    status, answer = 400, {"error": "no JSON"}
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

    def __init__(self, folder: Path, upstream: int):
        assert shutil.which("nginx"), (
            "nginx with its njs module is needed: apt-get install nginx-light libnginx-mod-http-js"
        )
        ports = free_port(), free_port()
        self.url, self.inside = (f"http://127.0.0.1:{port}" for port in ports)
        self.state = folder / "state"
        self.state.mkdir()
        changed = {
            "server 127.0.0.1:8501;": f"server 127.0.0.1:{upstream};",
            "listen 8080": f"listen 127.0.0.1:{ports[0]}",
            "listen 8081": f"listen 127.0.0.1:{ports[1]}",
            "modules/ngx": "/usr/lib/nginx/modules/ngx",
            "/var/lib/gateway": str(self.state),
            "/dev/stdout": str(folder / "access.log"),
        }
        for name in ("nginx.conf", "capture.js"):
            text = (GATEWAY / name).read_text()
            for before, after in changed.items():
                assert name != "nginx.conf" or before in text
                text = text.replace(before, after)
            (folder / name).write_text(text)
        self.access = folder / "access.log"
        command = ["nginx", "-p", folder, "-c", folder / "nginx.conf"]
        command += ["-g", "user root;"] * (os.getuid() == 0)  # or its worker would be nobody
        self.process = subprocess.Popen(command, stderr=(folder / "error.log").open("w"))
        for _ in range(100):
            try:
                requests.get(f"{self.inside}/traffic", timeout=1)
                return
            except requests.ConnectionError:
                assert self.process.poll() is None, (folder / "error.log").read_text()
                time.sleep(0.05)

    def logged(self) -> dict:
        """The last entry of the access log, which is written when the request is over, so after its answer."""
        for _ in range(100):
            if self.access.exists() and (lines := self.access.read_text().splitlines()):
                return json.loads(lines[-1])
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
def gateway(tmp_path, server):
    found = Gateway(tmp_path, server.port)
    yield found
    found.process.terminate()
    found.process.wait()


def test_a_prediction_goes_through_unchanged_and_is_counted_with_its_time(gateway, server):
    server.seconds = 0.05
    assert gateway.predict(1.0, 3.0).json() == {"predictions": [0.5, 1.5]}
    told = traffic.ask(gateway.inside)
    assert (told["requests"], told["errors"]) == (1, 0)
    [entry] = told["recent"]
    assert entry["status"] == 200
    assert 0.04 < entry["seconds"] < 1


def test_what_is_no_prediction_is_not_counted(gateway):
    requests.get(f"{gateway.url}/v1/models/flights", timeout=5)
    assert traffic.ask(gateway.inside)["requests"] == 0


def test_one_request_of_ten_is_captured_with_its_response(gateway):
    for value in range(25):
        gateway.predict(float(value))
    told = traffic.ask(gateway.inside)
    assert [entry["number"] for entry in told["captured"]] == [1, 11, 21]
    assert [traffic.predictions(entry) for entry in told["captured"]] == [[0.0], [5.0], [10.0]]
    assert json.loads(told["captured"][1]["request"]) == {"instances": [{"x": 10.0}]}


def test_errors_of_the_server_and_those_of_the_client_are_counted_apart(gateway, server):
    server.statuses = [500, 503]
    assert [gateway.predict(1.0).status_code for _ in range(3)] == [500, 503, 200]
    assert requests.post(f"{gateway.url}{PREDICT}", data="{", timeout=5).status_code == 400
    told = traffic.ask(gateway.inside)
    assert (told["requests"], told["errors"], told["refused"]) == (4, 2, 1)


@pytest.mark.parametrize("ending", [False, True])
def test_a_server_that_is_gone_is_answered_in_json_and_counted_as_an_error(gateway, server, ending):
    if ending:
        (gateway.state / "ending").touch()
    server.http.shutdown()
    server.http.server_close()
    answer = gateway.predict(1.0)
    assert (answer.status_code, answer.json()) == (503, {"error": "the model server does not answer"})
    assert traffic.ask(gateway.inside)["errors"] == 1


def test_a_request_that_is_too_large_is_refused_and_a_large_one_is_served_but_not_captured(gateway):
    large = {"instances": [{"x": float(n)} for n in range(100_000)]}
    assert len(requests.post(f"{gateway.url}{PREDICT}", json=large, timeout=20).json()["predictions"]) == 100_000
    refused = requests.post(f"{gateway.url}{PREDICT}", data="x" * (9 << 20), timeout=20)
    assert refused.status_code == 413
    assert "send fewer rows" in refused.json()["error"]
    assert traffic.ask(gateway.inside)["captured"] == []


def test_what_is_kept_has_a_bound(gateway):
    with requests.Session() as session:
        for value in range(6000):
            gateway.predict(float(value), session=session)
    told = traffic.ask(gateway.inside)
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


def test_the_access_log_is_json_and_escapes_what_clients_send(gateway):
    connection = http.client.HTTPConnection(gateway.url.removeprefix("http://"))
    connection.request("GET", '/v1/%22%7D,"x')
    connection.getresponse().read()
    entry = gateway.logged()
    assert entry["status"] == 200
    assert entry["path"].startswith('/v1/"}')


def test_a_meter_counts_from_where_it_began(gateway):
    for value in range(30):
        gateway.predict(float(value))
    meter = traffic.Meter()
    meter.read({"pod": traffic.ask(gateway.inside)})
    assert meter.traffic().requests == 0
    for value in range(20):
        gateway.predict(float(value))
    assert requests.post(f"{gateway.url}{PREDICT}", data="{", timeout=5).status_code == 400
    meter.read({"pod": traffic.ask(gateway.inside)})
    seen = meter.traffic()
    assert (seen.requests, seen.errors, seen.refused, len(seen.seconds)) == (21, 0, 1, 21)
    np.testing.assert_array_equal(seen.predictions, [0.0, 5.0])


def test_a_gateway_that_does_not_count_what_was_refused_is_read_all_the_same():
    older = {"requests": 2, "errors": 1, "recent": [], "captured": [], "refused": None}
    meter = traffic.Meter()
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
    told = traffic.ask(gateway.inside)
    assert (told["requests"], told["errors"]) == (3, 1)
