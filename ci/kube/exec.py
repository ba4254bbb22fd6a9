"""A command in a container, through the API server: what `kubectl exec` does.

The connection is a websocket that may break at any moment while the command goes on. So whoever runs something long
starts it apart from the connection, and asks again how it went (`ci.run.executor.runner`).
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ci.errors import StageError
from ci.kube.api import ApiServer, Denied, Missing, message_of

_STDIN, _STDOUT, _STDERR, _ERROR = 0, 1, 2, 3
_FRAME = 1 << 18
"""Bytes that are sent at once."""
_TICK = 0.2
"""Longest wait until `tick` is called again; seconds."""
Hear = Callable[[bytes], object]


class Broken(StageError):  # noqa: N818 - a state, not a fault
    """The connection could not be made, or ended before the command did."""


@dataclass(frozen=True)
class Place:
    """Where commands run."""

    namespace: str
    pod: str
    container: str


def execute(
    api: ApiServer,
    place: Place,
    command: Sequence[str],
    *,
    given: bytes = b"",
    out: Hear,
    err: Hear,
    silence: float = 60.0,
    tick: Callable[[], object] = lambda: None,
) -> int:
    """Run a command in a container and return its exit code.

    Args:
        api: the API server.
        place: the container.
        command: program and arguments; no shell reads them.
        given: what it reads. Its end cannot be told to it, so the command has to know how much it will get.
        out: called with what it says.
        err: called with what it says on its second channel.
        silence: after so many seconds in which nothing came the connection counts as broken.
        tick: called several times a second; what it raises ends the connection.

    Raises:
        Broken: there is no connection, or it ended before the command did.
        Missing: there is no such pod.
        Denied: the account may not run commands in it.
    """
    from websocket import WebSocketException

    socket = _connected(api, place, command, silence, tick)
    try:
        for start in range(0, len(given), _FRAME):
            socket.write_channel(_STDIN, given[start : start + _FRAME])
            tick()
        heard = time.monotonic()
        while socket.is_open():
            socket.update(timeout=_TICK)
            for channel, hear in ((_STDOUT, out), (_STDERR, err)):
                if found := _taken(socket, channel):
                    hear(found)
                    heard = time.monotonic()
            if time.monotonic() - heard > silence:
                raise Broken(f"pod {place.pod}: nothing was heard of it for {silence:g} s")
            tick()
        for channel, hear in ((_STDOUT, out), (_STDERR, err)):
            if found := _taken(socket, channel):
                hear(found)
        return _code(_taken(socket, _ERROR), place)
    except (WebSocketException, OSError) as error:
        raise Broken(f"pod {place.pod}: the connection broke: {error}") from None
    finally:
        socket.close()


def _connected(api: ApiServer, place: Place, command: Sequence[str], silence: float, tick: Callable[[], object]) -> Any:
    """Return the official client's websocket to a new command.

    The client waits for ever for a server that takes the connection and says nothing, so it connects in a thread.
    """
    made = futures.Future[Any]()

    def connect() -> None:
        try:
            socket = _websocket(api, place, command)
        except BaseException as error:  # it is raised where the thread is waited for
            if made.set_running_or_notify_cancel():
                made.set_exception(error)
            return
        if made.set_running_or_notify_cancel():
            made.set_result(socket)
        else:  # nobody waits any more
            socket.close()

    threading.Thread(target=connect, daemon=True).start()
    end = time.monotonic() + silence
    try:
        while True:
            tick()
            with suppress(futures.TimeoutError):
                return made.result(_TICK)
            if time.monotonic() > end:
                raise Broken(f"pod {place.pod}: the API server took the connection and said nothing for {silence:g} s")
    finally:
        made.cancel()


def _websocket(api: ApiServer, place: Place, command: Sequence[str]) -> Any:
    from kubernetes.stream.ws_client import WSClient, get_websocket_url
    from websocket import WebSocketBadStatusException, WebSocketException

    path = f"/api/v1/namespaces/{place.namespace}/pods/{place.pod}/exec"
    streams = {"stdin": "true", "stdout": "true", "stderr": "true", "tty": "false"}
    query = [("container", place.container), *streams.items(), *(("command", word) for word in command)]
    headers: dict[str, str] = {}
    api.client.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
    settings = api.client.configuration
    try:
        return WSClient(settings, get_websocket_url(settings.host + path, query), headers, False, binary=True)
    except WebSocketBadStatusException as error:
        said = (error.resp_body or b"")[:300]
        problem = f"pod {place.pod}: the API server answers {error.status_code}: {message_of(said)}"
        raise {401: Denied, 403: Denied, 404: Missing}.get(error.status_code, Broken)(problem) from None
    except (WebSocketException, OSError) as error:
        raise Broken(f"pod {place.pod}: no connection: {error}") from None


def _taken(socket: Any, channel: int) -> bytes:
    """Return what has come on a channel so far; the client's own methods would wait for more."""
    return bytes(socket._channels.pop(channel, b""))


def _code(status: bytes, place: Place) -> int:
    """Return the exit code that the last message tells.

    Raises:
        Broken: there was none, or it tells of another end.
    """
    try:
        told = json.loads(status)
        if told["status"] == "Success":
            return 0
        causes = (told.get("details") or {}).get("causes") or ()
        return next(int(cause["message"]) for cause in causes if cause.get("reason") == "ExitCode")
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration):
        said = message_of(status) or "its end was not told"
        raise Broken(f"pod {place.pod}: the connection ended: {said}") from None
