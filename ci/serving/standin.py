"""Serve a SavedModel as TensorFlow Serving does, on machines without its image.

This is a stand-in for TensorFlow Serving: the same REST API, flags and metric names, for one version of one model, the
newest below --model_base_path when the server starts. TensorFlow Serving ships only as an image; on a machine without
containers this process takes its place. It adds a control socket by which a newer server takes over its port without
losing a connection (see `ci.serving.control`), and unlike the real server it ends cleanly on SIGTERM.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci.serving import control
from ci.serving.api import Api
from ci.serving.front import BACKLOG, Front, Limits, listening
from ci.serving.model import Version, newest

ANY = "::"
"""The address that means every address of this machine, IPv4 and IPv6."""


@dataclass
class Server:
    """Listeners and their connections, around one API."""

    front: Front
    drain_timeout: float
    listener: socket.socket | None = None
    """The public listener that was handed over; `accepting` serves it when there is one."""
    accepting: asyncio.Server | None = None
    private: asyncio.Server | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def accept(self, listener: socket.socket) -> asyncio.Server:
        """Accept connections from a listening or bound socket."""
        listening(listener, self.front.limits)
        return await asyncio.get_running_loop().create_server(self.front, sock=listener, backlog=BACKLOG)

    async def take(self, listener: socket.socket | None) -> None:
        """Accept on a new public listener, or again on the one held."""
        if listener is None and self.accepting:
            return
        before, self.listener = self.accepting, listener or self.listener
        if self.listener is None:
            raise ValueError("there is no listener to accept on")
        self.accepting = await self.accept(self.listener.dup())
        await self._stop_accepting(before)

    async def pause(self) -> None:
        """Leave new connections to whoever shares the public listener."""
        before, self.accepting = self.accepting, None
        await self._stop_accepting(before)

    async def drain(self, timeout: float) -> None:
        """Answer what is under way, close each connection after its answer, and stop.

        A connection that is idle is left to its client, or to the usual timeout: closing it now could cross a request.
        """
        self.front.draining = True
        await self.pause()
        await self._stop_accepting(self.private)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.front.connections:
                    await asyncio.sleep(0.02)
        self.stopped.set()

    @staticmethod
    async def _stop_accepting(server: asyncio.Server | None) -> None:
        """Stop accepting, and keep every connection that was already accepted.

        Closing a server loses connections that are accepted but not set up yet. So the listener first leaves the event
        loop. It is closed after these set-ups, which are already in the loop's queue, have run.
        """
        if server is None:
            return
        for listener in server.sockets:
            asyncio.get_running_loop().remove_reader(listener.fileno())
        for _ in range(3):
            await asyncio.sleep(0)
        server.close()

    def status(self) -> dict[str, Any]:
        """Return what a rollout needs to know: version, its state, ports, and whether the public one is served."""
        version = self.front.api.version
        return {
            "pid": os.getpid(),
            "model": self.front.api.model,
            "version": str(version.number) if version else None,
            "state": version.state if version else "START",
            "error": version.error if version else "",
            "private_port": self.private.sockets[0].getsockname()[1] if self.private else None,
            "public_port": self.listener.getsockname()[1] if self.listener else None,
            "accepting": self.accepting is not None,
        }

    async def obey(self, message: dict[str, Any]) -> dict[str, Any]:
        """Carry out a command of `ci.serving.control`."""
        command = message["command"]
        if command == "take":
            await self.take(message.get("listener"))
        elif command == "pause":
            await self.pause()
        elif command == "drain":
            self._draining = asyncio.create_task(self.drain(message["seconds"]))
        elif command not in ("status", "give"):
            return {"error": f"there is no command {command}"}
        return self.status()


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the server's options; they are named as TensorFlow Serving's flags are."""
    parser = argparse.ArgumentParser(prog="python -m ci.serving.standin", description=__doc__)
    parser.add_argument("--rest_api_port", type=int, default=8501, help="port; 0 picks a free one (8501)")
    parser.add_argument("--model_name", required=True, help="the model's name in the path /v1/models/NAME")
    parser.add_argument("--model_base_path", type=Path, required=True, help="folder with one folder for each version")
    parser.add_argument("--rest_api_num_threads", type=int, default=os.cpu_count() or 1, help="threads that predict")
    parser.add_argument(
        "--file_system_poll_wait_seconds", type=float, default=1.0, help="wait between looks for a version"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; `::` is all of both families (127.0.0.1)"
    )
    parser.add_argument("--control", type=Path, help="Unix socket for taking over; made by the server")
    parser.add_argument("--drain_timeout", type=float, default=30.0, help="longest wait for connections on SIGTERM; s")
    parser.add_argument(
        "--batch_target", type=float, help="answer requests in batches of at most so many seconds; none: each alone"
    )
    limits = Limits()
    parser.add_argument(
        "--max_connections", type=int, default=limits.connections, help="open connections at most (512)"
    )
    parser.add_argument("--idle_timeout", type=float, default=limits.idle, help="longest wait for a whole head; s (5)")
    parser.add_argument("--body_timeout", type=float, default=limits.body, help="longest wait for a whole body; s (60)")
    parser.add_argument("--unread_timeout", type=float, default=limits.unread, help="longest time unread; s (30)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the server until it is drained."""
    options = arguments(argv)
    asyncio.run(_serve(options))
    return 0


def bound(host: str, port: int) -> socket.socket:
    """Return a listener; for all addresses it takes both families, or IPv4 alone where the system has no IPv6."""
    if host == ANY and not socket.has_dualstack_ipv6():
        host = ""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=host == ANY)


async def _serve(options: argparse.Namespace) -> None:
    api = Api(options.model_name, threads=options.rest_api_num_threads, batch_target=options.batch_target)
    limits = Limits(options.max_connections, options.idle_timeout, options.body_timeout, options.unread_timeout)
    server = Server(Front(api, limits), options.drain_timeout)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: asyncio.ensure_future(server.drain(options.drain_timeout)))
    server.private = await server.accept(bound(options.host, options.rest_api_port))
    if options.control:
        _control(server, options.control, loop)
    loading = asyncio.create_task(_load(api, options.model_base_path, options.file_system_poll_wait_seconds))
    await server.stopped.wait()
    loading.cancel()
    if options.control:
        options.control.unlink(missing_ok=True)
    os._exit(0)  # a load that is under way cannot be cancelled and must not delay the end


async def _load(api: Api, base_path: Path, wait: float) -> None:
    while (found := newest(base_path)) is None:
        print(f"{base_path}: no version yet", file=sys.stderr, flush=True)
        await asyncio.sleep(wait)
    number, folder = found
    version = Version(api.model, number)
    api.version = version
    await asyncio.to_thread(version.load, folder)
    gc.freeze()  # TensorFlow's objects stay: looking for garbage among them holds answers up by milliseconds
    print(f"{api.model} version {number}: {version.state} {version.error}", file=sys.stderr, flush=True)


def _control(server: Server, path: Path, loop: asyncio.AbstractEventLoop) -> None:
    """Answer commands in a separate thread. End when the socket's file is gone: no command could reach us any more."""
    # Under its own name only once it listens: before that, whoever connects would take this server for dead.
    unready = path.with_suffix(".new")
    unready.unlink(missing_ok=True)
    control_listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control_listener.bind(str(unready))
    unready.chmod(0o600)
    control_listener.listen(BACKLOG)  # a full queue would hide the process that hangs
    unready.rename(path)
    control_listener.settimeout(1.0)
    inode = path.stat().st_ino

    def answer(connection: socket.socket) -> None:
        connection.settimeout(10.0)
        if not connection.recv(1, socket.MSG_PEEK):
            return  # somebody who only asked the kernel which process this is
        message = control.receive(connection)
        reply = asyncio.run_coroutine_threadsafe(server.obey(message), loop).result(timeout=10.0)
        control.send(connection, reply, server.listener if message["command"] == "give" else None)

    def listen() -> None:
        while True:
            try:
                connection, _ = control_listener.accept()
            except TimeoutError:
                if not path.exists() or path.stat().st_ino != inode:
                    asyncio.run_coroutine_threadsafe(server.drain(server.drain_timeout), loop)
                    return
                continue
            with connection:
                try:
                    answer(connection)
                except Exception as error:  # a broken command must not end the server
                    print(f"control: {type(error).__name__}: {error}", file=sys.stderr, flush=True)

    threading.Thread(target=listen, name="control", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
