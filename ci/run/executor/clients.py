"""Clients of a model that has none yet: while a canary is watched they send it the requests of the traffic window."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ci import http
from ci.errors import InputError, StageError
from ci.kube.api import ApiServer
from ci.rollout.cluster.manifests import CANARY
from ci.run.executor.asking import NAMESPACE

_ROWS = 4
"""Rows of a request."""
_PAUSE = 0.01
"""Time between two requests of a client; seconds."""
_CLIENTS = 2
"""Clients at the same time."""
_CANARY = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{CANARY}"


@contextmanager
def clients(api: ApiServer, address: str, traffic: bytes) -> Iterator[None]:
    """Send requests while the block runs and a canary is there.

    Args:
        api: the cluster's API server, which knows of the canary.
        address: where the model is reached, without `:predict`.
        traffic: rows of the traffic window, as a Parquet file.
    """
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(api, address, traffic, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


def _watch(api: ApiServer, address: str, traffic: bytes, over: threading.Event) -> None:
    """Wait for a canary, and send requests for as long as it is there."""
    bodies: list[bytes] = []
    while not over.wait(1.0):
        if not _there(api):
            continue
        try:
            bodies = bodies or requests_of(traffic)
        except (InputError, StageError, ValueError, LookupError, OSError) as error:
            print(f"executor: no requests are sent to the canary: {error}")
            return
        gone = threading.Event()
        threads = [
            threading.Thread(target=_send, args=(address, bodies[start::_CLIENTS], over, gone), daemon=True)
            for start in range(_CLIENTS)
        ]
        for thread in threads:
            thread.start()
        while not over.wait(1.0) and _there(api):
            pass
        gone.set()
        for thread in threads:
            thread.join()


def requests_of(traffic: bytes) -> list[bytes]:
    """Return the bodies of requests for the rows of a Parquet file, a few rows each."""
    import pandas as pd

    from ci import task
    from ci.capture.replay import bodies

    return bodies(pd.read_parquet(io.BytesIO(traffic)), task.load().features, _ROWS)


def _there(api: ApiServer) -> bool:
    try:
        api.get(_CANARY)
    except StageError:  # it is not there, or cannot be seen: the rollout itself says what is wrong
        return False
    return True


def _send(address: str, bodies: list[bytes], over: threading.Event, gone: threading.Event) -> None:
    """Send requests one after another; what is answered is the rollout's matter, which counts it."""
    import requests

    with http.session() as session:
        while bodies:
            for body in bodies:
                if over.is_set() or gone.is_set():
                    return
                try:
                    session.post(f"{address}:predict", data=body, headers={"Connection": "close"}, timeout=10)
                except requests.RequestException:
                    over.wait(0.2)
                over.wait(_PAUSE)
