"""Reading the API server: pages, refusals, and patience, against a real HTTP server."""

import json
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import pytest
from kubernetes import client

from ci.errors import InputError, StageError
from ci.kube.api import ApiServer
from ci.kube.context import Context
from ci.placement import cluster
from tests.ci.apiservers import patient


def a_node(number):
    return {"metadata": {"name": f"n{number:04}"}}


def a_pod(number):
    """Return a pod with as much as real ones have that no plan needs."""
    probe = {"httpGet": {"path": f"/{number}", "port": 80}, "periodSeconds": number}
    container = {"name": "c", "resources": {"requests": {"cpu": "100m", "memory": "1Mi"}}}
    container |= {f"{kind}Probe": {**probe, "more": [{"text": f"{number} {i}"} for i in range(30)]} for kind in "ab"}
    metadata = {"name": f"p{number}", "annotations": {f"a{i}": f"{number} {i}" for i in range(30)}}
    return {"metadata": metadata, "spec": {"nodeName": "n0000", "containers": [container]}}


@pytest.fixture
def server():
    """An API server with 1,200 nodes in pages; `failures` are the statuses of its next answers, `pods` how many run."""

    class Handler(BaseHTTPRequestHandler):
        failures: list[int] = []  # noqa: RUF012 - shared with the test on purpose
        pods = 0
        answer = b""

        def do_GET(self):
            if self.failures:
                self.send_response(self.failures.pop(0))
                self.send_header("Retry-After", "7")
                self.end_headers()
                return
            url = urlparse(self.path)
            query = parse_qs(url.query)
            start, size = int(query.get("continue", ["0"])[0]), int(query["limit"][0])
            count, item = (1200, a_node) if url.path.endswith("/nodes") else (self.pods, a_pod)
            page = {
                "items": [item(number) for number in range(start, min(start + size, count))],
                "metadata": {"continue": str(start + size)} if start + size < count else {},
            }
            body = self.answer or json.dumps(page).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        settings = client.Configuration()
        settings.host = f"http://127.0.0.1:{http.server_port}"
        Handler.failures, Handler.pods, Handler.answer = [], 0, b""
        yield Handler, ApiServer(client=client.ApiClient(settings))
        http.shutdown()
        thread.join()


def test_all_pages_are_read(server):
    _, api = server
    assert len(cluster.inventory(api, "test").nodes) == 1200


def test_of_pods_only_what_a_plan_needs_is_kept(server):
    handler, api = server
    handler.pods = 1500
    tracemalloc.start()
    try:
        (first, *_) = cluster.inventory(api, "test").nodes
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(first.running) == 1500
    assert peak < 24 * 2**20, peak  # all pods as they are sent take 33 MiB


@pytest.mark.parametrize("answer", [b'{"items": [1]}', b'{"items": 1}', b'{"metadata": 1}'])
def test_an_answer_that_is_no_list_is_told(server, answer):
    handler, api = server
    handler.answer = answer
    with pytest.raises(StageError, match="test: listing nodes: the answer is no list of objects"):
        cluster.inventory(api, "test")


@pytest.mark.parametrize("answer", [b"<html>", b"[1]", b"3", b"[" * 100_000])
def test_an_answer_that_is_no_object_is_told(server, answer):
    handler, api = server
    handler.answer = answer
    with pytest.raises(StageError, match="test: listing nodes: no answer that can be used"):
        cluster.inventory(api, "test")


def test_what_is_wrong_in_a_pod_is_told_with_its_place(server, monkeypatch):
    handler, api = server
    handler.pods = 600
    monkeypatch.setitem(globals(), "a_pod", lambda _: {"metadata": {"name": "same"}})
    with pytest.raises(InputError, match=r"test: pods\[1\]: Pod default/same appears twice"):
        cluster.inventory(api, "test")


def test_a_busy_server_is_asked_again_after_the_time_it_names(server):
    handler, api = server
    handler.failures += [429, 503]
    with patient() as waits:
        assert len(cluster.inventory(api, "test").nodes) == 1200
    assert waits == [7.0, 7.0]


@pytest.mark.parametrize(
    ("failures", "message"),
    [([403], "give this account `list`"), ([500] * 5, "answers 500"), ([404], "answers 404"), ([410], "run again")],
)
def test_refusals_end_with_what_to_do(server, failures, message):
    handler, api = server
    handler.failures += failures
    with patient(), pytest.raises(StageError, match=message):
        cluster.inventory(api, "test")


def test_a_server_that_is_not_there_is_an_error_not_a_traceback():
    settings = client.Configuration()
    settings.host = "http://127.0.0.1:9"
    with patient(), pytest.raises(StageError, match=r"gives no answer.*give --inventory a recorded one"):
        cluster.inventory(ApiServer(client=client.ApiClient(settings)), "test")


def test_an_unknown_context_is_bad_input(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(InputError, match="kubectl config get-contexts"):
        cluster.read(Context("nowhere"))
