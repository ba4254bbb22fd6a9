"""A double of a Jenkins controller's remote API, over real HTTP: what the client asks, with the real statuses.

As on Jenkins 2.504.3: a token needs no crumb, a password one of its session; `buildWithParameters` answers 201 with
the address of a queue item, by the host of Jenkins' own settings, or 303 if an equal item waits; parameters that a job
does not have are dropped, wrong choices are 500; the log has a size and says whether more comes; a restart keeps queue
and builds and forgets sessions. Time passes by being asked: each look at a queue item or a log is a moment.
"""

import base64
import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

Json = dict[str, Any]
TOKEN, PASSWORD = "11" + "ab" * 16, "pass wörd:$"


class Controller:
    """What it holds, and what it is to do wrong.

    Attributes:
        asked: method and path of each request.
        faults: by method and a part of the path, what happens to the next such requests: a status, `lost` (closed
            before it is done), `unheard` (done, and closed without an answer), or the address of a redirect.
        waits: how many looks a queue item waits.
        chunks: the log of each build, of which one more is there at each look.
        result: how builds end.
    """

    def __init__(self, prefix: str = "", host: str = "ci.example.com") -> None:
        self.prefix, self.public = prefix, f"https://{host}{prefix}"
        self.jobs: dict[str, Json] = {}
        self.items: dict[int, Json] = {}
        self.asked: list[tuple[str, str]] = []
        self.seen: list[dict[str, str]] = []
        self.faults: list[tuple[str, str, Any]] = []
        self.sessions: dict[str, str] = {}
        self.waits, self.result, self.stops = 1, "SUCCESS", 0
        self.chunks: list[bytes] = [b"Started\n", b"Finished: SUCCESS\n"]
        self.rights = {"read", "build", "cancel"}
        self.lock = threading.RLock()
        self.restarts = 0
        self.secrets = {TOKEN, PASSWORD}

    def job(self, path: str, parameters: list[Json] | None = None, **more: Any) -> Json:
        """Add a job below `/job/…/`; without parameters it is as before its first build."""
        made = {"path": path, "parameters": parameters, "builds": [], "buildable": True, **more}
        self.jobs[path] = made
        return made

    def started(self) -> int:
        """Count the builds that have been asked for and not merged or cancelled."""
        return len([each for each in self.items.values() if not each["cancelled"]])

    def restart(self) -> None:
        """Forget what a restart forgets."""
        self.sessions.clear()
        self.restarts += 1

    # -- answers ----------------------------------------------------------------------------------------------------

    def answer(
        self, method: str, path: str, query: dict[str, str], form: dict[str, str], user: str, crumbed: bool
    ) -> Any:
        """Return status, headers and body."""
        if user == "anonymous":
            return 403, {}, b"anonymous is missing the Overall/Read permission"
        if user == "wrong":
            return 401, {}, b"Invalid password/token for user"
        path = path.removeprefix(self.prefix)
        if path == "/crumbIssuer/api/json":
            session = f"s{len(self.asked)}"
            self.sessions[session] = f"crumb-{session}"
            said = {"crumb": self.sessions[session], "crumbRequestField": "Jenkins-Crumb"}
            return 200, {"Set-Cookie": f"JSESSIONID={session}; Path=/; HttpOnly"}, said
        if method == "POST" and not crumbed:
            return 403, {}, b"<p>No valid crumb was included in the request</p>"
        if path == "/queue/api/json":
            waiting = [each for each in self.items.values() if not each["build"] and not each["cancelled"]]
            return (
                200,
                {},
                {"items": [{**self._item(each), "task": {"url": self.public + each["job"]}} for each in waiting]},
            )
        if found := re.fullmatch(r"/queue/item/(\d+)/api/json", path):
            return self._look(int(found[1]))
        if path == "/queue/cancelItem":
            return self._cancel(int(form["id"]))
        for prefix in sorted(self.jobs, key=len, reverse=True):
            if path.startswith(prefix) and "read" in self.rights:
                return self._of_job(self.jobs[prefix], method, path.removeprefix(prefix), query, form)
        return 404, {}, b"Not Found"

    def _of_job(self, job: Json, method: str, rest: str, query: dict[str, str], form: dict[str, str]) -> Any:
        if rest == "api/json":
            return 200, {}, self._described(job)
        if rest in ("build", "buildWithParameters"):
            return self._begin(job, method, rest, form)
        if found := re.fullmatch(r"(\d+)/(.*)", rest):
            known = [each for each in job["builds"] if each["number"] == int(found[1])]
            return self._of_build(known[0], found[2], query) if known else (404, {}, b"Not Found")
        return 404, {}, b"Not Found"

    def _described(self, job: Json) -> Json:
        definitions = [{"parameterDefinitions": job["parameters"]}] if job["parameters"] else []
        said: Json = {"_class": "WorkflowJob", "buildable": job["buildable"], "property": [{}, *definitions]}
        said["builds"] = [
            {
                "number": each["number"],
                "url": each["url"],
                "actions": each["actions"],
                "building": each["result"] is None,
            }
            for each in reversed(job["builds"])
        ]
        if "branches" in job:
            said = {"_class": "WorkflowMultiBranchProject", "property": [], "jobs": job["branches"]}
        return said

    def _begin(self, job: Json, method: str, how: str, form: dict[str, str]) -> Any:
        if method == "GET":
            return 405, {}, b""
        if "branches" in job:
            return 404, {}, b"Not Found"
        if "build" not in self.rights:
            return 403, {}, b"robot is missing the Job/Build permission"
        if not job["buildable"]:
            return 409, {}, b"disabled"
        if how == "build" and job["parameters"]:
            return 400, {}, b"Nothing is submitted"
        if how == "buildWithParameters" and not job["parameters"]:
            return 500, {}, b""
        values = {}
        for each in job["parameters"] or []:
            value = form.get(each["name"], each.get("default", ""))
            if each.get("choices") and value not in each["choices"]:
                return 500, {}, b""
            values[each["name"]] = str(value == "true").lower() if each["type"].startswith("Boolean") else value
        for item in self.items.values():
            if (item["job"], item["values"]) == (job["path"], values) and not item["build"] and not item["cancelled"]:
                return 303, {"Location": f"{self.public}/queue/item/{item['id']}/"}, b""
        number = len(self.items) + 1
        self.items[number] = {"id": number, "job": job["path"], "values": values, "left": self.waits, "build": None,
                              "cancelled": False, "forgotten": False}  # fmt: skip
        return 201, {"Location": f"{self.public}/queue/item/{number}/"}, b""

    def _item(self, item: Json) -> Json:
        listed = [{"name": name, "value": value} for name, value in item["values"].items()]
        return {"id": item["id"], "why": f"In the quiet period ({item['left']})", "cancelled": item["cancelled"],
                "actions": [{}, {"parameters": listed}]}  # fmt: skip

    def _look(self, number: int) -> Any:
        item = self.items.get(number)
        if item is None or item["forgotten"]:
            return 404, {}, b"Not Found"
        self.advance(item)
        said = self._item(item)
        if item["build"]:
            said["executable"] = {"number": item["build"]["number"], "url": item["build"]["url"]}
        return 200, {}, said

    def advance(self, item: Json) -> None:
        """Let a moment pass for a queue item."""
        item["left"] -= 1
        if item["left"] < 0 and not item["build"] and not item["cancelled"]:
            job = self.jobs[item["job"]]
            number = len(job["builds"]) + 1
            item["build"] = {
                "number": number, "url": f"{self.public}{job['path']}{number}/", "shown": 0, "result": None,
                "actions": self._item(item)["actions"], "extra": b"",
            }  # fmt: skip
            job["builds"].append(item["build"])

    def _of_build(self, build: Json, rest: str, query: dict[str, str]) -> Any:
        if rest == "api/json":
            return 200, {}, {"building": build["result"] is None, "result": build["result"]}
        if rest == "stop":
            if "cancel" not in self.rights:
                return 403, {}, b"robot is missing the Job/Cancel permission"
            self.stops += 1
            build["result"] = "ABORTED"
            return 302, {"Location": build["url"]}, b""
        if rest == "logText/progressiveText":
            build["shown"] = min(build["shown"] + 1, len(self.chunks))
            if build["shown"] == len(self.chunks):
                build["result"] = build["result"] or self.result
            log = b"".join(self.chunks[: build["shown"]])
            start = int(query["start"])
            start = 0 if start > len(log) else start
            more = {"X-More-Data": "true"} if build["result"] is None else {}
            return 200, {"X-Text-Size": str(len(log)), **more}, log[start:]
        return 404, {}, b"Not Found"

    def _cancel(self, number: int) -> Any:
        item = self.items.get(number)
        if item is None:
            return 404, {}, b""
        if not item["build"]:
            item["cancelled"] = True
        return 204, {}, b""


@contextmanager
def serving(controller: Controller, port: int = 0, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve it, and give its address; at the end its connections break, as those of a container that ends."""
    connections: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def setup(self) -> None:
            super().setup()
            connections.append(self.connection)

        def handle_one(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            form = dict(parse_qsl(self.rfile.read(length).decode(), keep_blank_values=True))
            parts = urlsplit(self.path)
            with controller.lock:
                controller.asked.append((self.command, parts.path))
                controller.seen.append(dict(self.headers))
                fault = self.fault(parts.path)
                if fault == "lost":
                    self.close_connection = True
                    return
                if isinstance(fault, int):
                    self.say(fault, {}, b"<html>from something before it</html>")
                    return
                if isinstance(fault, str) and fault.startswith("http"):
                    self.say(302, {"Location": fault}, b"")
                    return
                if isinstance(fault, bytes):
                    self.say(200, {}, fault)
                    return
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                answer = controller.answer(self.command, parts.path, query, form, *self.who())
            if fault == "unheard":
                self.close_connection = True
                return
            self.say(*answer)

        do_GET = do_POST = handle_one  # noqa: N815

        def fault(self, path: str) -> Any:
            for index, (method, part, what) in enumerate(controller.faults):
                if method == self.command and part in unquote(path):
                    del controller.faults[index]
                    return what
            return None

        def who(self) -> tuple[str, bool]:
            scheme, _, encoded = self.headers.get("Authorization", "").partition(" ")
            if scheme != "Basic":
                return "anonymous", False
            user, _, secret = base64.b64decode(encoded).decode().partition(":")
            session = dict(re.findall(r"(\w+)=(\w+)", self.headers.get("Cookie", ""))).get("JSESSIONID", "")
            crumbed = controller.sessions.get(session, "none") == self.headers.get("Jenkins-Crumb")
            if secret not in controller.secrets:
                return "wrong", False
            return user, secret == TOKEN or crumbed

        def say(self, status: int, headers: dict[str, str], body: Any) -> None:
            content = json.dumps(body).encode() if isinstance(body, dict) else body
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{controller.prefix}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        for each in connections:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
