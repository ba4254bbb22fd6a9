"""The history in MLflow, by its REST API: five requests, where its client would bring two dozen packages.

The API is https://mlflow.org/docs/latest/api_reference/rest-api.html.
"""

import os
from typing import Any

from ci import http
from ci.errors import InputError, StageError
from ci.results.report import Record

URI = "MLFLOW_TRACKING_URI"
_TIMEOUT = 20.0
_TAG = "build"


def send(record: Record, uri: str) -> bool:
    """Add a build as a run of the experiment that has the model's name; tell whether it was not there yet.

    Name and password, or a token, are taken from the variables of the environment that MLflow's client reads too.

    Raises:
        InputError: the address is none of a tracking server.
        StageError: the server cannot be reached, or refuses.
    """
    if not uri.startswith(("http://", "https://")):
        raise InputError(f"{URI}: {uri!r} is not the address of a tracking server, such as http://mlflow:5000")
    server = _Server(f"{uri.rstrip('/')}/api/2.0/mlflow")
    experiment = server.experiment(record.model)
    query = {"experiment_ids": [experiment], "filter": f"tags.{_TAG} = '{record.identity}'", "max_results": 1}
    if server.post("runs/search", query).get("runs"):
        return False
    moment = int(record.time.timestamp() * 1000)
    run = server.post("runs/create", {"experiment_id": experiment, "run_name": record.version, "start_time": moment})
    identifier = run["run"]["info"]["run_id"]
    metrics = {
        name + end: value
        for name, metric in record.metrics.items()
        for end, value in (("", metric.value), ("_low", metric.low), ("_high", metric.high))
        if value == value  # a metric that is not defined is left out: JSON has no NaN
    }
    # The tag that marks the run as complete goes with the metrics, so that a run that was cut short is made again.
    tags = {_TAG: record.identity, "verdict": record.verdict, "reason": record.reason[:5000]}
    params = {"as_of": str(record.as_of), "commit": record.commit or "", **record.digests}
    batch = {
        "run_id": identifier,
        "metrics": [{"key": key, "value": value, "timestamp": moment, "step": 0} for key, value in metrics.items()],
        "params": [{"key": key, "value": value} for key, value in params.items()],
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }
    server.post("runs/log-batch", batch)
    server.post("runs/update", {"run_id": identifier, "status": "FINISHED", "end_time": moment})
    return True


class _Server:
    """A tracking server's REST API."""

    def __init__(self, address: str):
        self._address = address
        self._session = http.session()
        name, token = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_TOKEN")
        if name:
            self._session.auth = (name, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
        elif token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def experiment(self, name: str) -> str:
        """Return the identifier of an experiment, which is made if need be."""
        found = self._request("GET", "experiments/get-by-name", params={"experiment_name": name}, absent=404)
        made = found.get("experiment") or self.post("experiments/create", {"name": name})
        return str(made["experiment_id"])

    def post(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the answer."""
        return self._request("POST", method, json=body)

    def _request(self, verb: str, method: str, absent: int | None = None, **content: Any) -> dict[str, Any]:
        import requests

        url = f"{self._address}/{method}"
        try:
            reply = self._session.request(verb, url, timeout=_TIMEOUT, **content)
            answer: dict[str, Any] = reply.json()
        except (requests.RequestException, ValueError) as error:
            raise StageError(f"{url}: the build was not recorded in MLflow: {error}; run the same again") from None
        if reply.status_code == absent:
            return {}
        if not reply.ok:
            raise StageError(f"{url}: the build was not recorded in MLflow: {answer.get('message', reply.reason)}")
        return answer
