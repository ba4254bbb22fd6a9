"""Asking what serves on a cluster for a prediction, as a client on this machine does."""

import json
import math
import shlex
import time
from typing import Any

from ci import http
from ci.errors import StageError
from ci.kube.api import ApiServer
from ci.kube.context import Context
from ci.releases.cluster import ClusterLedger
from ci.results.evaluation import sent
from ci.rollout.cluster.manifests import SERVICE
from ci.rollout.cluster.observe import PORT
from ci.rollout.decision import numbers
from ci.run import kind
from ci.settings import Settings

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
    if not _alike(answer, expected, tolerance):
        raise StageError(f"{address} answers {answer}, and release {release['release']} answers {expected}")
    name, said = f"version {release['version']} (release {release['release']})", json.dumps(answer)
    return f"{name} answers {said}, as it did when it was tested; ask it with\ncurl -d {shlex.quote(body)} {address}"


def from_here(settings: Settings, context: Context) -> str:
    """Return how what serves on a cluster is reached from this machine.

    Raises:
        StageError: the cluster is one of Kind and is not there, or what serves there does not answer as it should.
    """
    if url := kind.address(context.name):
        return working(ApiServer(context), url, settings.rollout.golden_tolerance)
    named, port = f"--context {shlex.quote(context.name)} " * (context.given is not None), settings.serving.port
    forward = f"kubectl {named}-n {NAMESPACE} port-forward service/{SERVICE} {port}:{PORT}"
    return (
        f"the model is served from the cluster of context {context.name}, not from this machine: `{forward}` leads to "
        f"it from http://127.0.0.1:{port}, and `python -m scripts.status` says what serves"
    )


def _alike(found: Any, expected: Any, tolerance: float) -> bool:
    """Tell whether an answer is the expected one: a number, or several by their places."""
    there, here = numbers(found), numbers(expected)
    return there.keys() == here.keys() and all(
        type(value) in (int, float) and math.isclose(value, here[place], rel_tol=0, abs_tol=tolerance)
        for place, value in there.items()
    )


def _answer(address: str, body: str) -> Any:
    """Return the first prediction that is answered."""
    import requests

    end = time.monotonic() + _PATIENCE
    while True:
        try:
            with http.session() as session:
                answer = session.post(address, data=body, timeout=10)
            return answer.json()["predictions"][0]
        except (requests.RequestException, ValueError, LookupError, TypeError) as error:
            if time.monotonic() > end:
                raise StageError(f"{address} does not answer: {error!r}") from None
            time.sleep(0.5)
