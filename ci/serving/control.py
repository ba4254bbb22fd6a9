"""How one server hands its port to the next: a Unix socket beside each server, over which the listener travels.

A command is one JSON line, with the listening socket attached to `take`; so is the answer, with it attached to that of
`give`. Both servers then accept from one queue, and a connection that waits in it is never lost, which a second
listener on the same port (SO_REUSEPORT) could not promise. The kernel also says which process holds the socket.

Commands: `status` · `take` (accept on the attached listener, or again on the one held) · `give` · `pause` (accept no
more, answer the connections there are) · `drain` (pause, close each connection after its answer, exit).
"""

import json
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Dead(Exception):  # noqa: N818 - a state, not a fault
    """No process listens on the control socket."""


class Unreachable(Exception):  # noqa: N818 - a state, not a fault
    """A process holds the control socket but does not answer."""


@dataclass(frozen=True)
class Remote:
    """A server as seen from outside, named by its control socket.

    The path must be short (a Unix socket's has at most 107 bytes), so it is relative to the working folder.
    """

    path: Path

    def ask(
        self, command: str, listener: socket.socket | None = None, timeout: float = 15.0, **values: Any
    ) -> dict[str, Any]:
        """Send a command and return the answer; a listener that came with it is under the key `listener`.

        Raises:
            Dead: nobody is there.
            Unreachable: no answer in `timeout` seconds, or a broken one.
        """
        with self._connect(timeout) as connection:
            try:
                send(connection, {"command": command, **values}, listener)
                return receive(connection)
            except (OSError, ValueError) as error:
                if not isinstance(error, TimeoutError):
                    time.sleep(0.1)  # the connection broke: a process that ends closes its other sockets by then
                    if self.pid() is None:
                        raise Dead(str(self.path)) from None
                raise Unreachable(f"process {_peer(connection)} does not answer {command}: {error}") from None

    def pid(self) -> int | None:
        """Return the process that listens, from the kernel, or None if none does."""
        try:
            with self._connect(1.0) as connection:
                return _peer(connection)
        except Dead:
            return None

    def _connect(self, timeout: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connection.connect(str(self.path))
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            raise Dead(str(self.path)) from None
        except OSError as error:
            connection.close()
            raise Unreachable(f"{self.path}: {error}") from None
        return connection


def send(connection: socket.socket, message: dict[str, Any], listener: socket.socket | None = None) -> None:
    """Send one message, with a copy of the listener if one is given."""
    line = json.dumps(message).encode() + b"\n"
    if listener is None:
        connection.sendall(line)
    else:
        socket.send_fds(connection, [line], [listener.fileno()])


def receive(connection: socket.socket) -> dict[str, Any]:
    """Receive one message; a listener that came with it is under the key `listener`.

    Raises:
        ValueError: the message is not one line of JSON.
        OSError: the connection broke or timed out.
    """
    line, descriptors = b"", []
    while not line.endswith(b"\n"):
        part, new, _, _ = socket.recv_fds(connection, 65536, 1)
        descriptors += new
        if not part:
            raise ValueError("the connection ended in the middle of a message")
        line += part
    message: dict[str, Any] = json.loads(line)
    if descriptors:
        message["listener"] = socket.socket(fileno=descriptors[0])
    return message


def _peer(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[0])
