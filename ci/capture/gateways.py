"""What pods have answered since a given moment, as their gateways report it.

A gateway counts every prediction and keeps the last ones (`/traffic`), and holds sampled requests and responses
(`/captured`); both are JSON on a port of its own that no client reaches. Numbers in it only grow while the pod lives.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ci import http
from ci.errors import StageError

Array = npt.NDArray[np.float64]
GATEWAY = 8081
_TRIES = 3
"""How often a gateway is asked before it counts as silent."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Traffic:
    """What one group of pods answered in the window.

    Attributes:
        requests: predictions that the version was asked for, answered or not, without those that the cache answered.
        errors: answers of 500 and above, and requests without an answer.
        refused: the server's answers of 400 to 499, which it takes for the client's fault; None where not counted.
        seconds: time to the answer, of a sample of requests, shape (sample,).
        predictions: of a sample of requests, shape (rows,).
    """

    requests: int
    errors: int
    refused: int | None
    seconds: Array
    predictions: Array


@dataclass
class Meter:
    """The traffic of a group of pods since each was seen first.

    Attributes:
        begun: for each pod, its counters when it was seen first in this meter.
        latest: for each pod, its counters as they were seen last.
    """

    begun: dict[str, Json] = field(default_factory=dict)
    latest: dict[str, Json] = field(default_factory=dict)

    def read(self, told: Mapping[str, Json]) -> None:
        """Add the current counters of each pod.

        Raises:
            StageError: a pod's counters went back: its gateway was started again in the meantime.
        """
        for pod, now in told.items():
            if now["requests"] < self.latest.get(pod, now)["requests"]:
                raise StageError(f"pod {pod} was started again while its traffic was watched")
            self.begun.setdefault(pod, now)
            self.latest[pod] = now

    def traffic(self) -> Traffic:
        """Return what the pods have answered since each was seen first.

        A pod that is gone counts with what it had answered when it was seen last.
        """
        first, last = self.begun, self.latest
        seconds = [entry["seconds"] for pod in last for entry in last[pod]["recent"] if _new(entry, first[pod])]
        captured = [entry for pod in last for entry in last[pod]["captured"] if _new(entry, first[pod])]
        refused = [_since(last[pod].get("refused"), first[pod].get("refused")) for pod in last]
        return Traffic(
            requests=sum(_asked(last[pod]) - _asked(first[pod]) for pod in last),
            errors=sum(last[pod]["errors"] - first[pod]["errors"] for pod in last),
            refused=None if None in refused else sum(filter(None, refused)),
            seconds=np.array(seconds, dtype=np.float64),
            predictions=np.array([value for entry in captured for value in predictions(entry)], dtype=np.float64),
        )


def ask(url: str) -> Json:
    """Return a gateway's counters with what it captured.

    Raises:
        StageError: it does not answer as it should.
    """
    import requests

    problem: Exception | None = None
    session = http.session()
    for _ in range(_TRIES):
        try:
            told: Json = session.get(f"{url}/traffic", timeout=10).json()
            captured = session.get(f"{url}/captured", timeout=10).json()
            counted = {key: told[key] for key in ("requests", "errors", "recent")}
            counted |= {"version": told.get("version")}  # as the counters below, None from an older gateway
            lost = {key: told.get(key) for key in ("sampled", "unread", "failed", "cached")}
            return {**counted, **lost, "refused": told.get("refused"), "captured": captured}
        except (requests.RequestException, ValueError, LookupError, TypeError) as error:
            problem = error  # a connection through the API server may break
    raise StageError(f"the gateway at {url} does not answer: {problem!r}")


def predictions(entry: Mapping[str, Any]) -> list[float]:
    """Return the predictions in one captured response of either format; none if it is not an answer."""
    try:
        answer = json.loads(entry["response"])
        return [float(value) for value in _numbers(answer.get("predictions", answer.get("outputs", [])))]
    except (ValueError, TypeError, AttributeError):
        return []


def _numbers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _numbers(each)
    else:
        yield value


def _since(now: int | None, before: int | None) -> int | None:
    """Return how much a counter has grown; None if the gateway is older than this counter."""
    return None if now is None or before is None else now - before


def _asked(told: Json) -> int:
    """Return how many requests reached the version; an older gateway has no cache."""
    return int(told["requests"]) - int(told.get("cached") or 0)


def _new(entry: Mapping[str, Any], first: Json) -> bool:
    return bool(entry["number"] > first["requests"])
