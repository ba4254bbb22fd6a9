"""A small API server over HTTP for tests without a cluster: objects in memory, resourceVersions, and faults on demand.

It speaks the part of the Kubernetes API that the tests need: GET of objects and lists by label, POST, PUT with
resourceVersion, DELETE with preconditions, merge patches, and server-side apply with `managedFields`. What it does with
fields and their owners was compared with Kubernetes 1.36. A test may put a webhook in, and lets Deployments roll.
"""

import copy
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

from kubernetes import client

from ci.kube.api import APPLY, MERGE, ApiServer

Json = dict[str, Any]
ATOMIC = {"selector", "nodeSelector", "matchLabels", "args", "command", "tolerations", "drop", "add"}
"""Fields that have one owner as a whole."""
KEYS = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
"""What tells the items of a list from one another; ports have keys of their own, all other lists are atomic."""


class Store:
    """What the server holds, and what it is to do wrong: statuses to answer next, or `drop` to lose an answer.

    Attributes:
        objects: by path.
        asked: method, path and body of each request.
        webhook: changes what is about to be written, as an admission webhook does.
        atomic: fields that have one owner as a whole.
        forbidden: verb and resource that no account may, such as `("patch", "deployments")`.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.version, self.faults, self.lock = 0, [], threading.RLock()  # type: ignore[var-annotated]
        self.retry_after: str | None = None
        self.asked: list[tuple[str, str, Any]] = []
        self.webhook: Callable[[Json], None] = lambda _: None
        self.atomic, self.forbidden = {*ATOMIC}, set[tuple[str, str]]()

    def write(self, path: str, body: Json) -> tuple[int, Json]:
        """Store an object under the next version; its generation counts the changes of its spec."""
        before = self.objects.get(path)
        self.webhook(body)
        metadata = body["metadata"]
        if before is not None and _same(before, body):
            return 200, before
        if body.get("kind") == "Deployment":
            changed = before is None or before["spec"] != body["spec"]
            metadata["generation"] = (before or {"metadata": {}})["metadata"].get("generation", 0) + changed
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        metadata.setdefault("uid", f"uid-{self.version}")
        self.objects[path] = body
        return 200, copy.deepcopy(body)

    def handle(self, method: str, path: str, body: Any, kind: str = "", query: Any = None) -> tuple[int, Any]:
        """Answer a request."""
        query = query or {}
        with self.lock:
            self.asked.append((method, path, body))
            if path.endswith("/selfsubjectaccessreviews"):
                asked = body["spec"]["resourceAttributes"]
                resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
                return 201, {"status": {"allowed": (asked["verb"], resource) not in self.forbidden}}
            found = self.objects.get(path)
            if method == "POST":
                path = f"{path}/{body['metadata']['name']}"
                return self.fault(409) if path in self.objects else self.write(path, body)
            if method == "PATCH" and kind == APPLY:
                return self._apply(path, found, body, query)
            if method == "GET" and found is None and path.rsplit("/", 1)[-1].endswith("s"):
                return 200, {"items": self._listed(path, query.get("labelSelector", ""))}
            if found is None:
                return self.fault(404)
            if method == "GET":
                return 200, copy.deepcopy(found)
            if method == "DELETE":
                return self._delete(path, found, body or {})
            stale = body["metadata"].get("resourceVersion") not in (None, found["metadata"]["resourceVersion"])
            if stale:
                return self.fault(409)
            if method == "PATCH" and kind == MERGE:
                return self._update(path, found, _merged(found, body), "client")
            return self.write(path, body)

    def _listed(self, path: str, selector: str) -> list[Json]:
        wanted = dict(each.split("=") for each in selector.split(",") if each)
        there = [each for at, each in self.objects.items() if at.rsplit("/", 1)[0] == path]
        return [
            copy.deepcopy(each) for each in there if wanted.items() <= (each["metadata"].get("labels") or {}).items()
        ]

    def _delete(self, path: str, found: Json, body: Json) -> tuple[int, Json]:
        conditions = (body.get("preconditions") or {}).items()
        if any(found["metadata"].get(key) != value for key, value in conditions):
            return self.fault(409)
        return 200, self.objects.pop(path)

    def edit(self, path: str, change: Callable[[Json], None], manager: str) -> Json:
        """Change an object as somebody does with `kubectl edit`: what was changed is theirs then, and nobody else's."""
        with self.lock:
            after = copy.deepcopy(self.objects[path])
            change(after)
            return self._update(path, self.objects[path], after, manager)[1]

    def _update(self, path: str, before: Json, after: Json, manager: str) -> tuple[int, Json]:
        old, new = (dict(_leaves(each, self.atomic)) for each in (before, after))
        changed = {at for at, value in new.items() if at not in old or old[at] != value}
        entries = []
        for entry in before["metadata"].get("managedFields", ()):
            owned = {at for at in _paths(entry["fieldsV1"]) if at not in changed and _there(after, at)}
            entries.append({**entry, "fieldsV1": _fields(owned)})
        entries = [e for e in entries if e["fieldsV1"] and (e["manager"], e["operation"]) != (manager, "Update")]
        mine = [
            e
            for e in before["metadata"].get("managedFields", ())
            if (e["manager"], e["operation"]) == (manager, "Update")
        ]
        owned = changed | {at for e in mine for at in _paths(e["fieldsV1"]) if _there(after, at)}
        if owned:
            entries.append({"manager": manager, "operation": "Update", "fieldsV1": _fields(owned)})
        after["metadata"]["managedFields"] = entries
        return self.write(path, after)

    def _apply(self, path: str, found: Json | None, body: Json, query: Json) -> tuple[int, Json]:
        body = copy.deepcopy(body)
        version = body["metadata"].pop("resourceVersion", None)
        if found and version not in (None, found["metadata"]["resourceVersion"]):
            return self.fault(409)
        manager, force = query["fieldManager"], query.get("force") == "true"
        values = dict(_leaves(body, self.atomic))
        entries = copy.deepcopy((found or {"metadata": {}})["metadata"].get("managedFields", []))
        ours = [e for e in entries if (e["manager"], e["operation"]) == (manager, "Apply")]
        others = [e for e in entries if e not in ours]
        conflicts = []
        for entry in others:
            owned = set(_paths(entry["fieldsV1"]))
            differ = {at for at, value in values.items() if at in owned and _at(found, at) != value}
            conflicts += [f'conflict with "{entry["manager"]}": {_words(at)}' for at in sorted(differ)]
            entry["fieldsV1"] = _fields(owned - differ)
        if conflicts and not force:
            causes = [{"reason": "FieldManagerConflict", "message": each} for each in conflicts]
            message = f"Apply failed with {len(conflicts)} conflicts: {'; '.join(conflicts)}"
            return 409, {"kind": "Status", "code": 409, "message": message, "details": {"causes": causes}}
        there = copy.deepcopy(found) if found else {"metadata": {}}
        kept = {at for entry in others for at in _paths(entry["fieldsV1"])}
        left_out = {at for entry in ours for at in _paths(entry["fieldsV1"])} - set(values) - kept
        for at in sorted(left_out, key=len):  # an item goes with all that is in it
            _remove(there, at)
        for at, value in values.items():
            _set(there, at, value)
        there |= {key: body[key] for key in ("apiVersion", "kind") if key in body}
        there["metadata"]["name"] = body["metadata"]["name"]
        mine = {"manager": manager, "operation": "Apply", "fieldsV1": _fields(set(values))}
        there["metadata"]["managedFields"] = [*(e for e in others if e["fieldsV1"]), mine]
        if query.get("dryRun"):
            return 200, there
        return self.write(path, there)

    @staticmethod
    def fault(status: int) -> tuple[int, Json]:
        """Return an answer that is an error."""
        return status, {"kind": "Status", "code": status, "message": f"told to answer {status}"}


Path = tuple[str, ...]


def _leaves(found: Any, atomic: set[str], at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield each field that can have an owner, by its path in `managedFields`, with its value."""
    skipped = {"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "name", "namespace"}
    for key, value in found.items():
        if (not at and key in ("apiVersion", "kind", "status")) or (at == ("f:metadata",) and key in skipped):
            continue
        below = (*at, f"f:{key}")
        keys = ("port", "protocol") if key == "ports" and "port" in (value or [{}])[0] else KEYS.get(key)
        keys = ("containerPort", "protocol") if key == "ports" and "containerPort" in (value or [{}])[0] else keys
        if isinstance(value, dict) and value and key not in atomic:
            yield from _leaves(value, atomic, below)
        elif isinstance(value, list) and keys and key not in atomic:
            for item in value:
                named = {name: item.get(name, "TCP" if name == "protocol" else None) for name in keys}
                inside = (*below, f"k:{json.dumps(named, separators=(',', ':'))}")
                yield inside, None
                yield from _leaves(item, atomic, inside)
        else:
            yield below, value


def _paths(fields: Json, at: Path = ()) -> Iterator[Path]:
    for key, below in fields.items():
        if key == ".":
            yield at
        elif below:
            yield from _paths(below, (*at, key))
        else:
            yield (*at, key)


def _fields(paths: set[Path]) -> Json:
    found: Json = {}
    for path in sorted(paths):
        at = found
        for key in path:
            at = at.setdefault(key, {})
        if path[-1].startswith("k:"):
            at["."] = {}
    return found


def _step(found: Any, key: str) -> Any:
    if key.startswith("f:"):
        return found.get(key[2:]) if isinstance(found, dict) else None
    named = json.loads(key[2:]).items()
    defaults = {"protocol": "TCP"}
    return next((e for e in found or () if all(e.get(k, defaults.get(k)) == v for k, v in named)), None)


def _at(found: Any, path: Path) -> Any:
    """Return the value of a field, None for an item as such."""
    if path[-1].startswith("k:"):
        return None
    for key in path:
        found = _step(found, key) if found is not None else None
    return found


def _there(found: Any, path: Path) -> bool:
    for key in path:
        found = _step(found, key) if found is not None else None
    return found is not None


def _set(found: Json, path: Path, value: Any) -> None:
    for key, after in zip(path, (*path[1:], ""), strict=True):
        inside: Any = _step(found, key)
        if key == path[-1] and after == "" and key.startswith("f:"):
            found[key[2:]] = copy.deepcopy(value)
            return
        if inside is None:
            inside = [] if after.startswith("k:") else {}
            if key.startswith("k:"):
                inside = json.loads(key[2:])
                found.append(inside)  # type: ignore[attr-defined]
            else:
                found[key[2:]] = inside
        found = inside


def _remove(found: Any, path: Path) -> None:
    for key in path[:-1]:
        found = _step(found, key)
        if found is None:
            return
    if path[-1].startswith("f:"):
        found.pop(path[-1][2:], None)
    elif (item := _step(found, path[-1])) is not None:
        found.remove(item)


def _words(path: Path) -> str:
    return "".join(f".{key[2:]}" if key.startswith("f:") else f"[{key[2:]}]" for key in path)


def _merged(found: Any, change: Any) -> Any:
    """Return what a JSON merge patch makes of a value."""
    if not isinstance(change, dict):
        return change
    result = dict(found) if isinstance(found, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return copy.deepcopy(result)


def _same(before: Json, after: Json) -> bool:
    mine = {"generation", "resourceVersion", "uid"}
    metadata = [{k: v for k, v in each["metadata"].items() if k not in mine} for each in (before, after)]
    return metadata[0] == metadata[1] and {**before, "metadata": 0} == {**after, "metadata": 0}


@contextmanager
def patient() -> Iterator[list[float]]:
    """Let no time pass between two tries of a request; yield the seconds that each wait would have taken."""
    waits = list[float]()
    with mock.patch("urllib3.util.retry.time", SimpleNamespace(sleep=waits.append, time=time.time)):
        yield waits


@contextmanager
def serving() -> Iterator[tuple[Store, ApiServer, list[float]]]:
    """Serve a store; yield it, a client of it, and the waits that the client made."""
    store = Store()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet

        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            fault = store.faults.pop(0) if store.faults else None
            if fault is None or fault == "drop":
                url, kind = urlsplit(self.path), self.headers.get("Content-Type", "")
                more = (kind, dict(parse_qsl(url.query))) if self.command == "PATCH" or url.query else ()
                status, answer = store.handle(self.command, url.path, body, *more)
            else:
                status, answer = store.fault(fault)
            if fault == "drop":
                self.close_connection = True
                return
            text = json.dumps(answer).encode()
            self.send_response(status)
            if store.retry_after:
                self.send_header("Retry-After", store.retry_after)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        settings = client.Configuration()
        settings.host = f"http://127.0.0.1:{http.server_port}"
        with patient() as waits:
            yield store, ApiServer(client=client.ApiClient(settings)), waits
        http.shutdown()
