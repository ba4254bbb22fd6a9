"""Asking what serves on a cluster for a prediction, as a client on this machine does."""

import json
import math
import shlex
import time

from ci import http
from ci.errors import StageError
from ci.kube.api import ApiServer
from ci.releases.cluster import ClusterLedger
from ci.results.evaluation import sent

NAMESPACE = "model-serving"
"""Where the model is served."""
_PATIENCE = 30.0
"""Longest wait for an answer: a node port takes a moment to lead to new pods; seconds."""


def working(api: ApiServer, url: str, tolerance: float) -> str:
    """Return a command that asks the last release for a prediction, once what serves has answered it as it should.

    Args:
        api: the cluster's API server.
        url: where clients on this machine reach the model.
        tolerance: largest difference between an answer and the golden prediction.

    Raises:
        StageError: nothing was released yet, or what serves does not answer, or answers something else.
    """
    ledger = ClusterLedger(api, NAMESPACE)
    release = ledger.last()
    if release is None:
        raise StageError("nothing was released yet")
    golden = ledger.version(release["digest"])
    body = json.dumps({"instances": sent(golden.instances[:1])})  # ASCII: any console can show it
    address = f"{url}/v1/models/{release['model']}:predict"
    answer, expected = _answer(address, body), golden.predictions[0]
    if not math.isclose(answer, expected, rel_tol=0, abs_tol=tolerance):
        raise StageError(f"{address} answers {answer}, and release {release['release']} answers {expected}")
    name = f"version {release['version']} (release {release['release']})"
    return (
        f"{name} answers {answer:g}, as it did when it was tested; ask it with\ncurl -d {shlex.quote(body)} {address}"
    )


def _answer(address: str, body: str) -> float:
    """Return the first prediction that is answered."""
    import requests

    end = time.monotonic() + _PATIENCE
    while True:
        try:
            with http.session() as session:
                answer = session.post(address, data=body, timeout=10)
            return float(answer.json()["predictions"][0])
        except (requests.RequestException, ValueError, LookupError, TypeError) as error:
            if time.monotonic() > end:
                raise StageError(f"{address} does not answer: {error!r}") from None
            time.sleep(0.5)
