"""Asking what serves on a cluster for a prediction, as a client on this machine does."""

import json
import shlex
import time
from typing import Any

from ci import http
from ci.errors import StageError
from ci.kube.api import ApiServer
from ci.releases.cluster import History
from ci.results.evaluation import GOLDEN, sent

NAMESPACE = "model-serving"
_PATIENCE = 30.0
"""Longest wait for an answer: a node port takes a moment to lead to new pods; seconds."""


def working(api: ApiServer, url: str) -> str:
    """Return a command that asks the last release for a prediction, after the same request was answered.

    Args:
        api: the cluster's API server.
        url: where clients on this machine reach the model.

    Raises:
        StageError: nothing was released yet, or what serves does not answer.
    """
    history = History(api, NAMESPACE)
    release = history.last()
    if release is None:
        raise StageError("nothing was released yet")
    golden = GOLDEN.plain(history.evidence(release["digest"]) / "golden.json")
    body = json.dumps({"instances": sent(golden["instances"][:1])})  # ASCII: any console can show it
    address = f"{url}/v1/models/{release['model']}:predict"
    answer = _answer(address, body)
    return (
        f"version {release['version']} (release {release['release']}) answers {answer}; ask it with\n"
        f"curl -d {shlex.quote(body)} {address}"
    )


def _answer(address: str, body: str) -> Any:
    import requests

    end = time.monotonic() + _PATIENCE
    while True:
        try:
            with http.session() as session:
                answer = session.post(address, data=body, timeout=10)
            return answer.json()["predictions"]
        except (requests.RequestException, ValueError, LookupError, TypeError) as error:
            if time.monotonic() > end:
                raise StageError(f"{address} does not answer: {error!r}") from None
            time.sleep(0.5)
