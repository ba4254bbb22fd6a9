"""What a server may answer to traffic that is sent again: one number a row, and nothing else."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ci.capture import replay
from ci.errors import StageError
from ci.task import Field, Output

TABLE = pd.DataFrame({"x": [0.5, 1.5, np.nan], "c": ["a", "b", "c"]})
FEATURES = {"x": Field("float32"), "c": Field("string")}
OUTPUTS = (Output("y", "binary", ("y",)),)


class Server:
    """Gives one answer to all, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.asked: list[Any] = []

    def serve(self) -> Iterator[str]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server.asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                body = server.answer if isinstance(server.answer, bytes) else json.dumps(server.answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
            threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            yield f"http://127.0.0.1:{listening.server_port}/v1/models/m"
            listening.shutdown()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    yield from server.serve()


def test_each_row_gets_its_answer(server: Server, url: str) -> None:
    server.answer = {"outputs": [0.1, 0.2, 0.3]}
    assert replay.send(url, TABLE, FEATURES, OUTPUTS)["y"].tolist() == [0.1, 0.2, 0.3]
    [(path, body)] = server.asked
    assert path == "/v1/models/m:predict"
    assert body["inputs"]["c"] == ["a", "b", "c"]
    assert body["inputs"]["x"][:2] == [0.5, 1.5]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"outputs": [0.1]}, r"predictions of shape \(1,\) for 3 rows"),
        ({"outputs": [0.1, 0.2]}, r"predictions of shape \(2,\) for 3 rows"),
        ({"outputs": [0.1, 0.2, 0.3, 0.4]}, r"predictions of shape \(4,\) for 3 rows"),
        ({"outputs": [[0.1], [0.2], [0.3]]}, r"predictions of shape \(3, 1\) for 3 rows"),
        ({"outputs": 0.5}, r"predictions of shape \(\) for 3 rows"),
        ({"outputs": ["a", "b", "c"]}, "no predictions: the server answered: "),
        ({"outputs": [[0.1], [0.2, 0.3], []]}, "no predictions: the server answered: "),
        ({"error": "no such input"}, "no predictions: the server answered: no such input"),
        ([], r"no predictions: the server answered: \[\]"),
        (b"<html>", "no predictions: "),
    ],
    ids=str,
)
def test_anything_but_one_number_a_row_is_told(server: Server, url: str, answer: Any, said: str) -> None:
    server.answer = answer
    with pytest.raises(StageError, match=said):
        replay.send(url, TABLE, FEATURES, OUTPUTS)


def test_many_rows_are_sent_in_batches_and_come_back_in_their_places(
    server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "BATCH", 1)
    server.answer = {"outputs": [0.5]}
    rows = TABLE.assign(c=["a", None, "c"])
    assert np.array_equal(replay.send(url, rows, FEATURES, OUTPUTS)["y"], [0.5, np.nan, 0.5], equal_nan=True)
    assert [body["inputs"]["c"] for _, body in server.asked] == [["a"], ["c"]]
