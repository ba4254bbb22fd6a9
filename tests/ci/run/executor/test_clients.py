"""Clients that send the traffic window's requests for as long as a canary is there, and at no other time."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest

from ci.run.executor import clients
from tests import tasks
from tests.ci import apiservers

CANARY = "/apis/apps/v1/namespaces/model-serving/deployments/model-canary"


@contextmanager
def model() -> Iterator[tuple[str, list[dict[str, list[object]]]]]:
    """A server that takes predictions; its address, and what it was asked."""
    asked: list[dict[str, list[object]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/models/tiny", asked
        server.shutdown()


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def traffic(task) -> bytes:
    """The tiny task's rows, one of which lacks a field that cannot be missing."""
    rows = tasks.table()
    rows["c"] = rows["c"].astype(object)
    rows.loc[0, "c"] = None
    content = io.BytesIO()
    rows.to_parquet(content, index=False)
    return content.getvalue()


def test_rows_that_can_be_asked_are_asked_a_few_at_a_time_in_the_fields_of_the_task(traffic):
    bodies = [json.loads(body)["inputs"] for body in clients.requests_of(traffic)]
    assert {*bodies[0]} == {"x", "k", "c"}
    assert sum(len(body["c"]) for body in bodies) == len(pd.read_parquet(io.BytesIO(traffic))) - 1
    assert all(None not in body["c"] and len(body["c"]) <= 4 for body in bodies)


def test_requests_come_while_a_canary_is_there_and_not_before_or_after(traffic):
    with apiservers.serving() as (store, api, *_), model() as (address, asked):
        with clients.clients(api, address, traffic):
            until(lambda: any(path == CANARY for _, path, _ in store.asked))
            assert asked == []
            store.write(CANARY, {"kind": "Deployment", "metadata": {"name": "model-canary"}, "spec": {}})
            until(lambda: len(asked) > 20)
            del store.objects[CANARY]
            before = len(store.asked)
            until(lambda: len(store.asked) > before + 1)
            ended = len(asked)
        assert len(asked) <= ended + 2  # what was under way


def test_traffic_that_cannot_be_read_is_said_and_ends_nothing(capsys):
    said: list[str] = []
    with apiservers.serving() as (store, api, *_):
        store.write(CANARY, {"kind": "Deployment", "metadata": {"name": "model-canary"}, "spec": {}})
        with clients.clients(api, "http://127.0.0.1:9", b"none"):
            until(
                lambda: said.append(capsys.readouterr().out) or "no requests are sent to the canary: " in "".join(said)
            )


def test_a_model_that_does_not_answer_ends_nothing(traffic):
    with apiservers.serving() as (store, api, *_):
        store.write(CANARY, {"kind": "Deployment", "metadata": {"name": "model-canary"}, "spec": {}})
        with clients.clients(api, "http://127.0.0.1:9", traffic):
            until(lambda: sum(path == CANARY for _, path, _ in store.asked) > 1)
