"""HTTP for the stand-in: aiohttp's server around the API, with bounds on connections, bytes and seconds.

aiohttp bounds the head of a request (bytes, headers, and seconds: those of an idle connection) and the requests of one
connection that wait for the one before them. What is added here: the number of connections, bytes and seconds of
bodies, and answers for a client that has closed its own half of the connection. A client that reads no answer is ended
by the kernel (see `listening`).
"""

import asyncio
import logging
import socket
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import LineTooLong

from ci.serving.api import BODY, Answer, Api, refusal
from ci.serving.tensors import Refused

BACKLOG = 2048
"""Connections that may wait to be accepted."""
_LINE = 64 << 10
"""Bytes of a request's first line."""
_FIELD = 8 << 10
"""Bytes of a header."""
_FIELDS = 64
"""Headers of a request."""
_FULL = 1.0
"""Seconds in which a refused client can read that there are too many connections."""


@dataclass(frozen=True)
class Limits:
    """Bounds for clients: connections, seconds, bytes."""

    connections: int = 512
    idle: float = 5.0
    """Seconds until a connection has sent the whole head of its next request."""
    body: float = 60.0
    """Seconds until a request's body is there."""
    unread: float = 30.0
    """Seconds in which a client reads nothing of an answer."""
    bodies: int = 8 * BODY
    """Bytes of the bodies of all requests that are under way."""


def listening(listener: socket.socket, limits: Limits) -> None:
    """Set what connections inherit from their listener: the kernel ends one whose client reads nothing for too long."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(limits.unread * 1000))


class Front(web.Server):
    """All connections; it makes the protocol of each. `draining` closes each connection after its next answer."""

    def __init__(self, api: Api, limits: Limits):
        """Belong to the running event loop."""
        super().__init__(
            self._handle,
            request_factory=self._begin,
            access_log=None,
            logger=logging.getLogger(__name__),
            keepalive_timeout=limits.idle,
            max_line_size=_LINE,
            max_field_size=_FIELD,
            max_headers=_FIELDS,
            lingering_time=min(2.0, limits.body),
            auto_decompress=False,  # the API does it, within bounds
        )
        self.api = api
        self.limits = limits
        self.draining = False
        self._bodies = 0

    def __call__(self) -> asyncio.Protocol:  # type: ignore[override]
        """Make the protocol of a new connection."""
        if len(self._connections) >= self.limits.connections:
            return _Full()
        return Connection(self, loop=self._loop, **self._kwargs)

    def _begin(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        """Make a request of its parts; called when its turn has come."""
        protocol.current = payload
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop)

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        body, close = bytearray(), self.draining
        try:
            await self._read(request, body)
            answer = await self.api.answer(request.method, request.raw_path, request.headers, bytes(body))
        except Refused as error:
            answer, close = refusal(error.status, str(error)), True
        finally:
            self._bodies -= len(body)
        response = _response(answer)
        if close or self.draining:
            response.force_close()
        return response

    async def _read(self, request: web.BaseRequest, body: bytearray) -> None:
        """Read a request's body into `body`.

        Raises:
            Refused: it is too large, too slow, or no body, or its client went away.
        """
        if not request.body_exists:
            return
        if (request.content_length or 0) > BODY:
            raise Refused(413, f"the request has more than {BODY >> 20} MiB: send fewer rows at once")
        asks = request.headers.get("Expect", "").lower() == "100-continue"
        if asks and request.version >= HttpVersion11:  # to an older client it means nothing
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # nothing of the answer was sent yet
        try:
            async with asyncio.timeout(self.limits.body):
                async for part in request.content.iter_any():
                    body += part
                    self._bodies += len(part)
                    if len(body) > BODY:
                        raise Refused(413, f"the request has more than {BODY >> 20} MiB: send fewer rows at once")
                    if self._bodies > self.limits.bodies:
                        raise Refused(503, "too many large requests at once: try again")
        except TimeoutError:
            raise Refused(408, f"the request's body was not there after {self.limits.body:g} s") from None
        except web.RequestPayloadError as error:
            raise Refused(400, f"the request's body cannot be read: {error}") from None
        except ConnectionError:
            raise Refused(400, "the client went away") from None  # nobody reads this


class Connection(web.RequestHandler):
    """One connection. A client may close its own half and still wait for answers."""

    __slots__ = ("current", "ended")

    def __init__(self, *arguments: Any, **named: Any):
        """Begin with nothing read."""
        super().__init__(*arguments, **named)
        self.current: asyncio.StreamReader | None = None
        """Body of the request that is being answered."""
        self.ended = False

    def eof_received(self) -> bool:  # type: ignore[override]
        """Stay open for the answers to requests that were sent whole, and for no others."""
        self.ended = True
        return bool(self._messages) or (self.current is not None and self.current.is_eof())  # type: ignore[attr-defined]

    async def finish_response(self, request: Any, resp: Any, start_time: Any) -> Any:
        """Send an answer, and after the last one close a connection whose client has closed its half."""
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self.current = None
            if self.ended and not self._messages:
                self.close()

    def handle_error(
        self, request: Any, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer a request that is not HTTP, without a line in our log: it is the client's fault."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return super().handle_error(request, status, exc, message)
        response = _response(refusal(431 if isinstance(exc, LineTooLong) else status, message or "no HTTP request"))
        response.force_close()
        return response


class _Full(asyncio.Protocol):
    """A connection beyond the limit; its client gets an answer that says so."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Answer at once, and leave the client a moment to read it."""
        body = refusal(503, "too many connections: try again").body
        head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        transport.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        transport.write_eof()
        asyncio.get_running_loop().call_later(_FULL, transport.abort)


def _response(answer: Answer) -> web.Response:
    return web.Response(body=answer.body, status=answer.status, headers={"Content-Type": answer.content_type})
