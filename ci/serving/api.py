"""The REST API of TensorFlow Serving for one model version, as an ASGI application.

Paths, status codes, messages and the order of checks are those of https://www.tensorflow.org/tfx/serving/api_rest and
of the server's sources (model_servers/http_rest_api_handler.cc, http_rest_api_util.cc, http_server.cc); metrics have
its names and labels. `classify` and `regress` answer 501: they take `tf.Example`s, and no model here does.
"""

import asyncio
import json
import logging
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from ci.serving import tensors
from ci.serving.model import Version
from ci.serving.tensors import InvalidArgument, Unimplemented

_WHICH = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(rf"(?i)/v1/models/(?P<model>[^/:]+){_WHICH}:(?P<method>classify|regress|predict)")
_STATUS = re.compile(rf"(?i)/v1/models(?:/(?P<model>[^/:]+))?{_WHICH}(?:/(?P<metadata>metadata))?")
_METHODS = ("classify", "regress", "predict")
_METRICS = "/monitoring/prometheus/metrics"
_BUCKETS = [10 * 1.8**power for power in range(33)]
"""Upper bounds of the latency histograms; microseconds."""

_log = logging.getLogger("uvicorn.error")

_CODES = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 500: "INTERNAL", 501: "UNIMPLEMENTED"}


class ApiError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


@dataclass
class Histogram:
    """Durations in microseconds, counted by bucket."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS) + 1))
    total: float = 0.0

    def add(self, microseconds: float) -> None:
        """Count one duration."""
        self.counts[next((i for i, bound in enumerate(_BUCKETS) if microseconds < bound), len(_BUCKETS))] += 1
        self.total += microseconds

    def lines(self, name: str, labels: str) -> list[str]:
        """Return the histogram in Prometheus' text format."""
        bounds = [*(f"{bound:g}" for bound in _BUCKETS), "+Inf"]
        reached = [sum(self.counts[: i + 1]) for i in range(len(bounds))]
        buckets = [f'{name}_bucket{{{labels},le="{b}"}} {n}' for b, n in zip(bounds, reached, strict=True)]
        return [*buckets, f"{name}_sum{{{labels}}} {self.total:g}", f"{name}_count{{{labels}}} {reached[-1]}"]


@dataclass
class Api:
    """The ASGI application; `draining` asks each client to close its connection after the next answer."""

    model: str
    version: Version | None = None
    threads: int = 4
    draining: bool = False
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Answered requests by model and status."""
    latency: dict[tuple[str, str], Histogram] = field(default_factory=dict)
    """Histograms by metric and labels."""

    def __post_init__(self) -> None:
        """Make the threads that TensorFlow runs in."""
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="predict")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            response = await self._respond(Request(scope, receive))
        except ClientDisconnect:
            return
        if self.draining:
            response.headers["connection"] = "close"
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode("latin-1")
        if path == _METRICS:
            return PlainTextResponse(self._metrics())
        if not path.lower().startswith("/v1/"):
            return PlainTextResponse("Not Found", 404)
        begin, status, method = time.perf_counter(), 200, ""
        match = {"POST": _PREDICT, "GET": _STATUS}.get(request.method, re.compile("(?!)")).fullmatch(path)
        model = unquote(match["model"] or "") if match else ""
        try:
            if match is None:
                raise ApiError(400, f"Malformed request: {request.method} {path}")
            if request.method == "POST":
                method = match["method"]
                if method not in _METHODS:  # found whatever its case, but known in lower case only
                    raise ApiError(400, f"Malformed request: {request.method} {path}")
                body = await self._predict(model, match, method, await request.body())
            else:
                body = self._describe(model, match)
        except (ApiError, InvalidArgument, Unimplemented) as error:
            status = error.status if isinstance(error, ApiError) else 400 if isinstance(error, InvalidArgument) else 501
            body = json.dumps({"error": str(error)}).encode()
        except Exception as error:  # the server answers, and its log says where
            _log.exception("%s %s", request.method, path)
            status, body = 500, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode()
        if status == 200:
            self._time("request", begin, model_name=model, API=method, entrypoint="REST")
        self.requests[model, _CODES.get(status, "OK")] += 1
        return Response(body, status, media_type="application/json")

    async def _predict(self, model: str, match: re.Match[str], method: str, body: bytes) -> bytes:
        version = self._version(match)
        if method != "predict":
            raise ApiError(501, f"this stand-in for TensorFlow Serving does not implement :{method}, use :predict")

        def work() -> bytes:
            parsed = tensors.parse(body)
            loaded = self._servable(model, version, match)
            name = parsed.signature or "serving_default"
            arrays = tensors.arrays(parsed, loaded.inputs(name))
            begin = time.perf_counter()
            outputs = loaded.run(name, arrays)
            self._time("runtime", begin, model_name=model, API="Predict", runtime="TF1")
            return tensors.answer(parsed, outputs)

        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _describe(self, model: str, match: re.Match[str]) -> bytes:
        """Return the answer to a request for a status or for metadata."""
        version = self._version(match)
        if not model:
            raise ApiError(400, "Missing model name in request.")
        if match["metadata"] == "metadata":
            loaded = self._servable(model, version, match)
            specification = {"name": model, "signature_name": "", "version": str(loaded.number)}
            definitions = {"signature_def": {"signature_def": loaded.definitions}}
            return _json({"model_spec": specification, "metadata": definitions})
        known = self.version  # a label plays no part in a status
        if known is None or model != self.model or version not in (None, known.number):
            what = "any versions" if version is None else f"version {version}"
            raise ApiError(404, f"Could not find {what} of model {model}")
        status = {"error_code": "UNKNOWN" if known.error else "OK", "error_message": known.error}
        entry = {"version": str(known.number), "state": known.state, "status": status}
        return _json({"model_version_status": [entry]})

    def _servable(self, model: str, version: int | None, match: re.Match[str]) -> Version:
        """Return the loaded version that a request asks for."""
        if match["label"]:
            raise ApiError(400, f"Unrecognized servable version label: {unquote(match['label'])}")
        loaded = self.version
        if loaded is None or loaded.state != "AVAILABLE" or model != self.model or version not in (None, loaded.number):
            which = f"Latest({model})" if version is None else f"Specific({model}, {version})"
            raise ApiError(404, f"Servable not found for request: {which}")
        return loaded

    @staticmethod
    def _version(match: re.Match[str]) -> int | None:
        if match["version"] and int(match["version"]) >= 2**63:
            raise ApiError(400, f"Failed to convert version: {match['version']} to numeric.")
        return int(match["version"]) if match["version"] else None

    def _time(self, what: str, begin: float, **labels: str) -> None:
        names = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
        self.latency.setdefault((what, names), Histogram()).add((time.perf_counter() - begin) * 1e6)

    def _metrics(self) -> str:
        prefix = ":tensorflow:serving:"
        lines = [f"# TYPE {prefix}request_count counter"]
        for (model, status), count in sorted(self.requests.items()):
            lines.append(f'{prefix}request_count{{model_name="{_escaped(model)}",status="{status}"}} {count}')
        for what in ("request", "runtime"):
            lines.append(f"# TYPE {prefix}{what}_latency histogram")
            for (kind, labels), histogram in sorted(self.latency.items(), key=lambda item: item[0]):
                lines += histogram.lines(f"{prefix}{what}_latency", labels) if kind == what else []
        return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()
