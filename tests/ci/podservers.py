"""An API server whose pods are folders: what is executed in a pod is a real process on this machine.

It speaks what agents need of the Kubernetes API: pods and events over HTTP, and exec over a websocket by the protocol
`v4.channel.k8s.io`. The paths of an agent's volumes lead into the pod's folder. A test decides how pods stand, takes
them away, or lets the server be away for a while.
"""

import asyncio
import copy
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web
from kubernetes import client

from ci.kube.api import ApiServer
from tests.ci.apiservers import patient

Json = dict[str, Any]
INSIDE = {"/home/jenkins/agent": "agent", "/tmp/step": "step"}  # noqa: S108 - in a pod
"""The paths in an agent that lead into its folder, and where."""


class Pods:
    """What the server holds.

    Attributes:
        folder: of all pods.
        pods: by name.
        events: what it tells of any pod.
        created: every pod that was ever made, in order.
        becomes: gives a pod that was just made its status.
        environment: of what runs in pods.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, 0
        self.pods: dict[str, Json] = {}
        self.events: list[Json] = []
        self.created: list[Json] = []
        self.becomes: Callable[[Json], Json] = running
        self.environment: dict[str, str] = {}
        self.executed: list[list[str]] = []
        self._sockets: set[web.WebSocketResponse] = set()
        self._loop = asyncio.new_event_loop()
        self._runner: web.AppRunner | None = None

    def take_away(self, name: str) -> None:
        """Delete a pod with all that runs in it, as its node or somebody else would."""
        self.pods.pop(name, None)
        self.kill(name)

    def kill(self, name: str) -> None:
        """Kill what runs in a pod's container."""
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self._mark(name) in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)

    def processes(self, name: str) -> int:
        """Return how many processes run in a pod."""
        found = 0
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                state = (process / "stat").read_text().rpartition(")")[2].split()[0]
                found += state not in "ZX" and self._mark(name) in (process / "environ").read_bytes().split(b"\0")
        return found

    def _mark(self, name: str) -> bytes:
        """Return the variable by which the processes of a pod are told from all others of this machine."""
        return f"POD_FOLDER={self.folder / name}".encode()

    def restart(self, seconds: float = 0.0) -> None:
        """Break every connection, and be away for a while."""

        async def away() -> None:
            await self._stop()
            await asyncio.sleep(seconds)
            await self._start()

        asyncio.run_coroutine_threadsafe(away(), self._loop).result()

    async def _start(self) -> None:
        app = web.Application()
        namespace = "/api/v1/namespaces/model-pipeline"
        app.router.add_route("*", namespace + "/pods", self._all)
        app.router.add_get(namespace + "/events", self._events)
        app.router.add_get(namespace + "/pods/{name}/exec", self._exec)
        app.router.add_get(namespace + "/pods/{name}/log", self._log)
        app.router.add_route("*", namespace + "/pods/{name}", self._one)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        for socket in [*self._sockets]:
            if socket._req is not None and socket._req.transport is not None:
                socket._req.transport.abort()
        assert self._runner is not None
        await self._runner.cleanup()

    async def _all(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            pod = await request.json()
            name = pod["metadata"]["name"]
            if name in self.pods:
                return _fault(409, "it exists")
            self.created.append(copy.deepcopy(pod))
            (self.folder / name / "agent").mkdir(parents=True)
            self.pods[name] = {**pod, "status": self.becomes(pod)}
            return web.json_response(self.pods[name], status=201)
        wanted = dict(each.split("=") for each in request.query.get("labelSelector", "").split(",") if each)
        found = [pod for pod in self.pods.values() if wanted.items() <= pod["metadata"]["labels"].items()]
        return web.json_response({"items": found})

    async def _one(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.pods:
            return _fault(404, f'pods "{name}" not found')
        pod = self.pods[name]
        if request.method == "DELETE":
            self.take_away(name)
        return web.json_response(pod)

    async def _events(self, _: web.Request) -> web.Response:
        return web.json_response({"items": self.events})

    async def _log(self, _: web.Request) -> web.Response:
        return web.Response(text="")

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in self.pods:
            return _fault(404, f'pods "{name}" not found')
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        command = request.query.getall("command")
        self.executed.append(command)
        for path, inside in INSIDE.items():
            command = [word.replace(path, str(self.folder / name / inside)) for word in command]
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **self.environment, "POD": name, "POD_FOLDER": str(self.folder / name)},
        )
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self._sockets.add(socket)

        async def hear() -> None:
            async for message in socket:
                if message.type == WSMsgType.BINARY and message.data[0] == 0:
                    process.stdin.write(message.data[1:])
                    await process.stdin.drain()

        async def say(channel: int, stream: asyncio.StreamReader) -> None:
            while part := await stream.read(1 << 16):
                with suppress(ConnectionError):
                    await socket.send_bytes(bytes([channel]) + part)

        hearing = asyncio.create_task(hear())
        await asyncio.gather(say(1, process.stdout), say(2, process.stderr))
        code = await process.wait()
        hearing.cancel()
        self._sockets.discard(socket)
        status: Json = {"status": "Success"}
        if code:
            cause = {"reason": "ExitCode", "message": str(code)}
            status = {"status": "Failure", "message": f"exit code {code}", "details": {"causes": [cause]}}
        with suppress(ConnectionError):
            if name in self.pods:  # of a pod that is gone nothing more is told
                await socket.send_bytes(b"\x03" + json.dumps(status).encode())
            await socket.close()
        return socket


def running(pod: Json) -> Json:
    """Return the status of a pod that runs."""
    containers = [{"name": each["name"], "state": {"running": {}}} for each in pod["spec"]["containers"]]
    return {"phase": "Running", "containerStatuses": containers}


def waiting(reason: str, message: str) -> Callable[[Json], Json]:
    """Return what gives a pod the status that its container waits for a reason."""

    def status(pod: Json) -> Json:
        state = {"waiting": {"reason": reason, "message": message}}
        containers = [{"name": each["name"], "state": state} for each in pod["spec"]["containers"]]
        scheduled = {"type": "PodScheduled", "status": "True"}
        return {"phase": "Pending", "conditions": [scheduled], "containerStatuses": containers}

    return status


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Pods, ApiServer]]:
    """Serve pods; yield them, and a client of the server."""
    pods = Pods(folder)
    thread = threading.Thread(target=pods._loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(pods._start(), pods._loop).result()
    settings = client.Configuration()
    settings.host = f"http://127.0.0.1:{pods.port}"
    try:
        with patient():
            yield pods, ApiServer(client=client.ApiClient(settings))
    finally:
        for name in [*pods.pods]:
            pods.take_away(name)
        asyncio.run_coroutine_threadsafe(pods._stop(), pods._loop).result()
        pods._loop.call_soon_threadsafe(pods._loop.stop)
        thread.join()
        shutil.rmtree(folder, ignore_errors=True)


def _fault(status: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": status, "message": message}, status=status)
