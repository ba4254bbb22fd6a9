"""Is a running version the packaged one? It is asked for its status, its signature and its golden predictions."""

import json
import time
from typing import Any

from ci import http
from ci.errors import StageError
from ci.releases.version import Version
from ci.results.evaluation import sent
from ci.rollout.decision import numbers, smoke_problem
from ci.rollout.where import Where

_CONNECTIONS = 3
"""Attempts to ask a version when its connection breaks; on a cluster it goes through the API server."""
_TIMEOUT = 30.0
"""Longest wait for one answer of a version under test; seconds."""


class _Unreachable(StageError):  # noqa: N818 - a state, not a fault
    """A version's connection broke before it answered."""


def check(where: Where, version: Version, tolerance: float, *, public: bool) -> dict[str, Any]:
    """Ask every server of a version, and return what the first one answered and how many there are.

    Args:
        where: where it runs.
        version: what it must be.
        tolerance: largest difference allowed between two predictions.
        public: ask what clients' requests reach, not the version alone.

    Raises:
        StageError: it fails `smoke_problem`, or does not answer as it should.
    """
    with where.addresses(version.digest, public=public) as addresses:
        measured = [_patiently(version, address, tolerance) for address in addresses]
    return {**measured[0], "servers": len(measured)}


def _patiently(version: Version, address: str, tolerance: float) -> dict[str, Any]:
    for _ in range(_CONNECTIONS - 1):
        try:
            return _ask(version, address, tolerance)
        except _Unreachable:
            time.sleep(0.5)
    return _ask(version, address, tolerance)


def _ask(version: Version, address: str, tolerance: float) -> dict[str, Any]:
    import requests

    url = f"{address}/v1/models/{version.model}/versions/{version.number}"
    try:
        ask = http.session()
        status = ask.get(url, timeout=_TIMEOUT).json()
        metadata = ask.get(f"{url}/metadata", timeout=_TIMEOUT).json()
        begin = time.perf_counter()
        body = json.dumps({"instances": sent(version.instances)})
        answer = ask.post(f"{url}:predict", data=body, timeout=_TIMEOUT).json()
        seconds = time.perf_counter() - begin
        served = answer.get("predictions", answer)
        problem = smoke_problem(version.signature, status, metadata, version.predictions, served, tolerance)
    except requests.ConnectionError as error:
        raise _Unreachable(f"{url} cannot be reached: {error!r}") from None
    except (requests.RequestException, LookupError, AttributeError, TypeError) as error:
        raise StageError(f"{url} does not answer as TensorFlow Serving does: {error!r}") from None
    if problem:
        raise StageError(f"version {version.number}: {problem}")
    expected, found = numbers(version.predictions), numbers(served)
    difference = max((abs(expected[place] - found[place]) for place in expected), default=0.0)
    return {"golden": len(served), "largest_difference": difference, "seconds_predicting": round(seconds, 4)}
