"""A way to the API server on which every so many requests something goes wrong."""

import json
import re
import socket
import ssl
import threading
import time
from collections import Counter
from contextlib import suppress
from itertools import count
from typing import Self
from urllib.parse import urlsplit

import yaml

from tests.cluster.tools import kubectl

FAULTS = ("hang", *("409", "429", "500", "cut") * 3)
"""In turn; `hang` gives no answer for longer than a deployer waits for one: the others come more often."""
HANG = 18.0
_ANSWERS = {
    "409": ("409 Conflict", ""),
    "429": ("429 Too Many Requests", "Retry-After: 1\r\n"),
    "500": ("500 Internal Server Error", ""),
}


class Proxy:
    """Carries requests from plain HTTP to the API server, one on each connection, and every `every`-th nowhere.

    `url` is its address; `injected` counts what went wrong. A conflict is only said of a write that can meet one.
    """

    def __init__(self, every: int):
        found = yaml.safe_load(kubectl("config", "view", "--minify", "--raw", "-o", "yaml"))
        server = urlsplit(found["clusters"][0]["cluster"]["server"])
        self._address = (server.hostname, server.port or 443)
        self._every, self._numbers, self._turn = every, count(1), count()
        self.injected: Counter[str] = Counter()
        self._tls = ssl.create_default_context()
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed: the block is over
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near, suppress(OSError):
            head, rest = _head(near)
            if not head:
                return
            method = head.split(" ", 1)[0]
            upgrade = "upgrade: websocket" in head.lower()
            if not upgrade and next(self._numbers) % self._every == 0:
                fault = FAULTS[next(self._turn) % len(FAULTS)]
                if fault == "409" and method not in ("PUT", "PATCH"):
                    fault = "500"
                self.injected[fault] += 1
                self._fail(near, fault)
                return
            if not upgrade:
                head = re.sub(r"(?im)^connection:.*\r\n", "", head)
                head = head.replace("\r\n", "\r\nConnection: close\r\n", 1)
            with socket.create_connection(self._address) as plain, self._tls.wrap_socket(plain) as far:
                far.sendall(head.encode() + rest)
                thread = threading.Thread(target=_pump, args=(near, far), daemon=True)
                thread.start()
                _pump(far, near)

    def _fail(self, near: socket.socket, fault: str) -> None:
        if fault == "hang":
            time.sleep(HANG)
        elif fault in _ANSWERS:
            status, header = _ANSWERS[fault]
            body = json.dumps({"kind": "Status", "message": "injected by the proxy", "code": int(fault)})
            near.sendall(
                f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{header}Connection: close\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )


def _head(near: socket.socket) -> tuple[str, bytes]:
    """Return a request's head, and what of its body came along."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = near.recv(65536)
        if not part:
            return "", b""
        data += part
    head, rest = data.split(b"\r\n\r\n", 1)
    return head.decode() + "\r\n\r\n", rest


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
