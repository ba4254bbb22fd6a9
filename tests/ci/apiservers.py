"""A small API server over HTTP for tests without a cluster: objects in memory, resourceVersions, and faults on demand.

It speaks the part of the Kubernetes API that the tests need: GET, POST, PUT with resourceVersion, and DELETE.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kubernetes import client

from ci.apiserver import ApiServer


class Store:
    """What the server holds, and what it is to do wrong: statuses to answer next, or `drop` to lose an answer."""

    def __init__(self):
        self.objects, self.version, self.faults, self.lock = {}, 0, [], threading.Lock()
        self.retry_after = None

    def write(self, path, body):
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.objects[path] = body
        return 200, body

    def handle(self, method, path, body):
        with self.lock:
            found = self.objects.get(path)
            if method == "POST":
                path = f"{path}/{body['metadata']['name']}"
                return self.fault(409) if path in self.objects else self.write(path, body)
            if found is None:
                return self.fault(404)
            if method == "GET":
                return 200, found
            if method == "DELETE":
                return 200, self.objects.pop(path)
            stale = body["metadata"].get("resourceVersion") not in (None, found["metadata"]["resourceVersion"])
            return self.fault(409) if stale else self.write(path, body)

    @staticmethod
    def fault(status):
        return status, {"kind": "Status", "code": status, "message": f"told to answer {status}"}


@contextmanager
def serving() -> Iterator[tuple[Store, ApiServer, list[float]]]:
    """Serve a store; yield it, a client of it, and the waits that the client made."""
    store, waits = Store(), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            fault = store.faults.pop(0) if store.faults else None
            if fault is None or fault == "drop":
                status, answer = store.handle(self.command, self.path.split("?")[0], body)
            else:
                status, answer = store.fault(fault)
            if fault == "drop":
                self.close_connection = True
                return
            text = json.dumps(answer).encode()
            self.send_response(status)
            if store.retry_after:
                self.send_header("Retry-After", store.retry_after)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        settings = client.Configuration()
        settings.host = f"http://127.0.0.1:{http.server_port}"
        yield store, ApiServer(client=client.ApiClient(settings), pause=waits.append), waits
        http.shutdown()
