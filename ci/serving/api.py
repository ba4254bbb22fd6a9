"""The REST API of TensorFlow Serving for one model version, as an ASGI application.

Paths, status codes and messages are those of https://www.tensorflow.org/tfx/serving/api_rest and of the server's
behaviour; metrics have its names. `classify` and `regress` answer 501: they take `tf.Example`s, and no model here does.
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
from ci.serving.tensors import InvalidArgument

_WHICH = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(rf"(?i)/v1/models/(?P<model>[^/:]+){_WHICH}:(?P<method>classify|regress|predict)")
_STATUS = re.compile(rf"(?i)/v1/models(?:/(?P<model>[^/:]+))?{_WHICH}(?:/(?P<metadata>metadata))?")
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
    latency: dict[str, Histogram] = field(default_factory=lambda: {"request": Histogram(), "runtime": Histogram()})

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
                method = match["method"].lower()
                body = await self._predict(model, match, method, await request.body())
            else:
                body = self._describe(model, match)
        except (ApiError, InvalidArgument) as error:
            status = error.status if isinstance(error, ApiError) else 400
            body = json.dumps({"error": str(error)}).encode()
        except Exception as error:  # the server answers, and its log says where
            _log.exception("%s %s", request.method, path)
            status, body = 500, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode()
        if status == 200 and method:
            self.latency["request"].add((time.perf_counter() - begin) * 1e6)
        self.requests[model, _CODES.get(status, "OK")] += 1
        return Response(body, status, media_type="application/json")

    async def _predict(self, model: str, match: re.Match[str], method: str, body: bytes) -> bytes:
        version = self._asked(match)
        if method != "predict":
            raise ApiError(501, f"this stand-in for TensorFlow Serving does not implement :{method}, use :predict")
        loaded = self.version
        if loaded is None or loaded.state != "AVAILABLE" or model != self.model or version not in (None, loaded.number):
            which = f"Latest({model})" if version is None else f"Specific({model}, {version})"
            raise ApiError(404, f"Servable not found for request: {which}")

        def work() -> bytes:
            parsed = tensors.parse(body)
            name = parsed.signature or "serving_default"
            arrays = tensors.arrays(parsed, loaded.inputs(name))
            begin = time.perf_counter()
            outputs = loaded.run(name, arrays)
            self.latency["runtime"].add((time.perf_counter() - begin) * 1e6)
            return tensors.answer(parsed, outputs)

        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _describe(self, model: str, match: re.Match[str]) -> bytes:
        """Return the answer to a request for a status or for metadata."""
        version, loaded = self._asked(match), self.version
        if not model:
            raise ApiError(400, "Missing model name in request.")
        known = loaded is not None and model == self.model and version in (None, loaded.number)
        if match["metadata"]:
            if not known or loaded is None or loaded.state != "AVAILABLE":
                which = f"Latest({model})" if version is None else f"Specific({model}, {version})"
                raise ApiError(404, f"Servable not found for request: {which}")
            specification = {"name": model, "signature_name": "", "version": str(loaded.number)}
            definitions = {"signature_def": {"signature_def": loaded.definitions}}
            return _json({"model_spec": specification, "metadata": definitions})
        if not known or loaded is None:
            what = "any versions" if version is None else f"version {version}"
            raise ApiError(404, f"Could not find {what} of model {model}")
        status = {"error_code": "UNKNOWN" if loaded.error else "OK", "error_message": loaded.error}
        entry = {"version": str(loaded.number), "state": loaded.state, "status": status}
        return _json({"model_version_status": [entry]})

    def _asked(self, match: re.Match[str]) -> int | None:
        if match["label"]:
            raise ApiError(400, f"Unrecognized servable version label: {unquote(match['label'])}")
        if match["version"] and int(match["version"]) >= 2**63:
            raise ApiError(400, f"Failed to convert version: {match['version']} to numeric.")
        return int(match["version"]) if match["version"] else None

    def _metrics(self) -> str:
        prefix = ":tensorflow:serving:"
        lines = [f"# TYPE {prefix}request_count counter"]
        for (model, status), count in sorted(self.requests.items()):
            name = model.replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'{prefix}request_count{{model_name="{name}",status="{status}"}} {count}')
        labels = {"request": 'API="predict",entrypoint="REST"', "runtime": 'API="Predict",runtime="TF2"'}
        for what, histogram in self.latency.items():
            lines.append(f"# TYPE {prefix}{what}_latency histogram")
            lines += histogram.lines(f"{prefix}{what}_latency", f'model_name="{self.model}",{labels[what]}')
        return "\n".join(lines) + "\n"


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()
