"""Reading the API server: pages, refusals, and patience, against a real HTTP server."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import pytest
from kubernetes import client

from ci.errors import InputError, StageError
from ci.placement import cluster


@pytest.fixture
def server():
    """An API server with 1,200 nodes in pages; `failures` are the statuses of its next answers."""

    class Handler(BaseHTTPRequestHandler):
        failures: list[int] = []  # noqa: RUF012 - shared with the test on purpose

        def do_GET(self):
            if self.failures:
                self.send_response(self.failures.pop(0))
                self.send_header("Retry-After", "7")
                self.end_headers()
                return
            url = urlparse(self.path)
            query = parse_qs(url.query)
            start, size = int(query.get("continue", ["0"])[0]), int(query["limit"][0])
            names = [f"n{i:04}" for i in range(1200)] if url.path.endswith("/nodes") else []
            page = {
                "items": [{"metadata": {"name": name}} for name in names[start : start + size]],
                "metadata": {"continue": str(start + size)} if start + size < len(names) else {},
            }
            body = json.dumps(page).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        settings = client.Configuration()
        settings.host, settings.retries = f"http://127.0.0.1:{http.server_port}", False
        api = client.CoreV1Api(client.ApiClient(settings))
        Handler.failures = []
        yield Handler, api
        http.shutdown()
        thread.join()


def test_all_pages_are_read(server):
    _, api = server
    assert len(cluster.inventory(api, "test").nodes) == 1200


def test_a_busy_server_is_asked_again_after_the_time_it_names(server):
    handler, api = server
    handler.failures += [429, 503]
    waits: list[float] = []
    assert len(cluster.inventory(api, "test", waits.append).nodes) == 1200
    assert waits == [7.0, 7.0]


@pytest.mark.parametrize(
    ("failures", "message"),
    [([403], "give this account `list`"), ([500] * 4, "answers 500"), ([404], "answers 404"), ([410], "run again")],
)
def test_refusals_end_with_what_to_do(server, failures, message):
    handler, api = server
    handler.failures += failures
    with pytest.raises(StageError, match=message):
        cluster.inventory(api, "test", lambda _: None)


def test_a_server_that_is_not_there_is_an_error_not_a_traceback():
    settings = client.Configuration()
    settings.host, settings.retries = "http://127.0.0.1:9", False
    with pytest.raises(StageError, match="no answer that can be used"):
        cluster.inventory(client.CoreV1Api(client.ApiClient(settings)), "test", lambda _: None)


def test_an_unknown_context_is_bad_input(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(InputError, match="kubectl config get-contexts"):
        cluster.read("nowhere")
