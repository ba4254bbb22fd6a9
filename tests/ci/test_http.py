"""Which requests go through the environment's proxy."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from ci import http


@pytest.fixture
def proxy(monkeypatch):
    """Serve here, and be the environment's proxy too; yields the port and the paths or URLs that were asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path == "/away":
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.1:{server.server_port}/back")
            else:
                self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "example.org")
        yield server.server_port, asked
        server.shutdown()


def test_this_machine_is_asked_without_a_proxy_also_where_it_redirects_to(proxy):
    port, asked = proxy
    assert http.session().get(f"http://localhost:{port}/away", timeout=5).status_code == 200
    assert asked == ["/away", "/back"]


def test_an_address_of_this_machine_that_nobody_listens_on_is_not_asked_for_at_the_proxy(proxy):
    port, asked = proxy
    with pytest.raises(requests.ConnectionError):
        http.session().get(f"http://127.8.9.1:{port}/x", timeout=5)
    assert asked == []


def test_the_network_outside_is_asked_through_the_proxy(proxy):
    _, asked = proxy
    assert http.session().get("http://example.com/x", timeout=5).status_code == 200
    assert asked == ["http://example.com/x"]


@pytest.mark.parametrize("host", ["ci..example.com", f"{'a' * 64}.example.com"])
def test_a_name_that_no_host_can_have_is_an_error_as_those_of_all_requests(monkeypatch, host):
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(requests.RequestException, match=host):
        http.session().get(f"https://{host}/x", timeout=5)


@pytest.mark.parametrize(
    ("url", "here"),
    {
        "http://localhost": True,
        "http://LOCALHOST:5001/v2/": True,
        "http://registry.localhost:5001": True,
        "http://127.0.0.1:8501/": True,
        "http://[::1]:8501/": True,
        "http://[::ffff:127.0.0.1]:8501/": True,
        "http://0.0.0.0:8501/": True,
        "http://[::]:8501/": True,
        "http://localhost.:8501/": True,
        "http://[::ffff:10.0.0.1]:8501/": False,
        "http://localhost.example.com": False,
        "http://127.0.0.1.example.com": False,
        "http://127.0.0.1@example.com/": False,
        "http://10.0.0.1": False,
        "http://kind-registry:5000": False,
        "": False,
    }.items(),
)
def test_what_counts_as_this_machine(url, here):
    assert http.loopback(url) is here
