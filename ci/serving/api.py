"""The REST API of TensorFlow Serving for one model version: a request's parts in, an answer out.

Paths, status codes, messages and the order of checks are those of https://www.tensorflow.org/tfx/serving/api_rest and
of the server's sources (model_servers/http_rest_api_handler.cc, http_rest_api_util.cc, http_server.cc, util/net_http);
metrics have its names and labels. `classify` and `regress` check their examples as the server does and then answer
501: they need a signature that takes `tf.Example`s, and no model here has one.
"""

import asyncio
import json
import logging
import re
import time
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from ci.serving import examples, responses, tensors
from ci.serving.batching import Asked, Batches
from ci.serving.metrics import Metrics
from ci.serving.model import Version
from ci.serving.tensors import InvalidArgument, Refused

_WHICH = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(rf"(?i)/v1/models/(?P<model>[^/:]+){_WHICH}:(?P<method>classify|regress|predict)")
_STATUS = re.compile(rf"(?i)/v1/models(?:/(?P<model>[^/:]+))?{_WHICH}(?:/(?P<metadata>metadata))?")
_NO_PATH = re.compile("(?!)")
_METHODS = ("classify", "regress", "predict")
_HTTP_METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH")
"""Methods that the server's HTTP library passes on; it answers all others itself."""
_METRICS = "/monitoring/prometheus/metrics"
_LARGEST_VERSION = str(2**63 - 1)
BODY = 32 << 20
"""Bytes that a request's body may have, as it is sent and unpacked."""

_log = logging.getLogger(__name__)

_CODES = {
    400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 501: "UNIMPLEMENTED",
    503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """A response. It is JSON, except for metrics and for paths outside the API."""

    status: int
    body: bytes
    content_type: str = "application/json"


def refusal(status: int, message: str) -> Answer:
    """Return the answer that carries an error."""
    return Answer(status, json.dumps({"error": message}).encode())


def _text(status: int, text: str) -> Answer:
    return Answer(status, text.encode(errors="backslashreplace"), "text/plain")


class Api:
    """The API around one version, which may still be loading."""

    def __init__(self, model: str, version: Version | None = None, threads: int = 4, batch_target: float | None = None):
        """Start the threads that run TensorFlow; with a target requests share batches that take so many seconds."""
        self.model = model
        self.version = version
        self.metrics = Metrics(model)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self._batches = (
            Batches(self._pool, threads, batch_target, self._outputs, responses.answer) if batch_target else None
        )

    async def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request.

        Args:
            method: such as `GET`.
            target: path and query as the client sent them; the server takes the query for a part of the path.
            headers: names in any case.
            body: as it was sent.
        """
        target = re.sub(r"(?i)^https?://[^/?#]*", "", target)
        if method not in _HTTP_METHODS:
            return _text(501, "Not Implemented")
        if re.split("[?#]", target)[0] == _METRICS:
            if target != _METRICS:
                return _text(400, f"Unexpected path: {target}. Should be {_METRICS}")
            return _text(200, self.metrics.page())
        if not target.lower().startswith("/v1/"):
            return _text(404, "Not Found")
        if method == "OPTIONS":
            return self._preflight(headers.get("Origin", ""))
        return await self._call(method, target, "gzip" in headers.get("Content-Encoding", ""), body)

    def _preflight(self, origin: str) -> Answer:
        """Answer a browser's CORS preflight: the server checks the origin and returns no body."""
        status, code = (200, "OK") if re.search("https?://", origin) else (400, "FAILED_PRECONDITION")
        self.metrics.count("", code)
        return _text(status, "")

    async def _call(self, method: str, target: str, packed: bool, body: bytes) -> Answer:
        begin, function = time.perf_counter(), ""
        match = {"POST": _PREDICT, "GET": _STATUS}.get(method, _NO_PATH).fullmatch(target)
        model = unquote(match["model"] or "") if match else ""
        try:
            if match is None or (method == "POST" and match["method"] not in _METHODS):  # known in lower case only
                raise InvalidArgument(f"Malformed request: {method} {target}")
            if method == "POST":
                function = match["method"]
                answer = Answer(200, await self._run(model, match, packed, body))
            else:
                answer = Answer(200, self._describe(model, match))
        except Refused as error:
            answer = refusal(error.status, str(error))
        except Exception as error:  # the server answers, and its log says where
            _log.exception("%s %s", method, target)
            answer = refusal(500, f"{type(error).__name__}: {error}")
        if answer.status == 200:
            self.metrics.time("request", time.perf_counter() - begin, API=function, entrypoint="REST")
        self.metrics.count(model, _CODES.get(answer.status, "OK"))
        return answer

    async def _run(self, model: str, match: re.Match[str], packed: bool, body: bytes) -> bytes:
        version, function = _version(match), match["method"]

        def read() -> Asked:
            parsed = tensors.parse(_unpacked(body) if packed else body)
            if function != "predict":
                examples.check(parsed.document)
                self._servable(model, version, match)
                raise Refused(501, f"this stand-in for TensorFlow Serving does not implement :{function}, use :predict")
            loaded = self._servable(model, version, match)
            name = parsed.signature or "serving_default"
            return Asked(parsed, loaded, name, tensors.arrays(parsed, loaded.inputs(name)))

        def work() -> bytes:
            asked = read()
            return responses.answer(asked.request, self._outputs(asked))

        if self._batches:
            return await self._batches.answer(read)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _outputs(self, asked: Asked) -> dict[str, tensors.Array]:
        begin = time.perf_counter()
        outputs = asked.version.run(asked.signature, asked.arrays)
        self.metrics.time("runtime", time.perf_counter() - begin, API="Predict", runtime="TF1")
        return outputs

    def _describe(self, model: str, match: re.Match[str]) -> bytes:
        """Return the answer to a request for a status or for metadata."""
        version = _version(match)
        if not model:
            raise InvalidArgument("Missing model name in request.")
        if match["metadata"] == "metadata":
            loaded = self._servable(model, version, match)
            specification = {"name": model, "signature_name": "", "version": str(loaded.number)}
            definitions = {"signature_def": {"signature_def": loaded.definitions}}
            return _json({"model_spec": specification, "metadata": definitions})
        known = self.version  # a label plays no part in a status
        if known is None or model != self.model or version not in (None, known.number):
            what = "any versions" if version is None else f"version {version}"
            raise Refused(404, f"Could not find {what} of model {model}")
        status = {"error_code": "UNKNOWN" if known.error else "OK", "error_message": known.error}
        entry = {"version": str(known.number), "state": known.state, "status": status}
        return _json({"model_version_status": [entry]})

    def _servable(self, model: str, version: int | None, match: re.Match[str]) -> Version:
        """Return the loaded version that a request asks for."""
        if match["label"]:
            raise InvalidArgument(f"Unrecognized servable version label: {unquote(match['label'])}")
        loaded = self.version
        if loaded is None or loaded.state != "AVAILABLE" or model != self.model or version not in (None, loaded.number):
            which = f"Latest({model})" if version is None else f"Specific({model}, {version})"
            raise Refused(404, f"Servable not found for request: {which}")
        return loaded


def _version(match: re.Match[str]) -> int | None:
    if not (digits := match["version"]):
        return None
    bare = digits.lstrip("0").rjust(len(_LARGEST_VERSION), "0")
    if len(bare) > len(_LARGEST_VERSION) or bare > _LARGEST_VERSION:  # as text: Python refuses to read 5,000 digits
        raise InvalidArgument(f"Failed to convert version: {digits} to numeric.")
    return int(bare)


def _unpacked(body: bytes) -> bytes:
    """Return the content of a gzip body. As in the server, a body that cannot be unpacked counts as empty."""
    unpacking, problem = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS), ""
    try:
        found = unpacking.decompress(body, BODY + 1)
    except zlib.error as error:
        problem = str(error)
    else:
        if len(found) > BODY:
            problem = f"it has more than {BODY >> 20} MiB unpacked: send fewer rows at once"
        elif not unpacking.eof or unpacking.unused_data:
            problem = "it ends too early" if not unpacking.eof else "something follows it"
    if problem:
        raise InvalidArgument(f"JSON Parse error: The document is empty (the gzip body cannot be unpacked: {problem})")
    return found


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()
