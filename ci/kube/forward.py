"""A port of a pod as a local address, through the API server: what `kubectl port-forward` does.

The traffic enters the pod from its node, so it needs no route to the pod's network and no hole in a NetworkPolicy.
"""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ci.kube.api import ApiServer

_SIZE = 1 << 16
"""Bytes that are read at once."""


@contextmanager
def forward(api: ApiServer, namespace: str, pod: str, port: int) -> Iterator[str]:
    """Give the URL of a pod's port for as long as the block lasts; each connection is a port-forward of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    ended = threading.Event()

    def accept() -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                near, _ = listener.accept()
                threading.Thread(target=_carry, args=(api, namespace, pod, port, near, ended), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        thread.join()
        listener.close()


def _carry(api: ApiServer, namespace: str, pod: str, port: int, near: socket.socket, ended: threading.Event) -> None:
    """Carry bytes both ways until one side has ended; a pod that cannot be reached is a connection that breaks."""
    from kubernetes import client
    from kubernetes.stream import portforward

    with near, contextlib.suppress(Exception):  # whatever breaks here is the caller's broken connection
        core = client.CoreV1Api(api.client)
        tunnel: Any = portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port))
        far = tunnel.socket(port)
        far.setblocking(True)
        with contextlib.closing(far):
            while not ended.is_set():
                readable, _, _ = select.select([near, far], [], [], 0.2)
                for source in readable:
                    part = source.recv(_SIZE)
                    if not part:
                        return
                    (far if source is near else near).sendall(part)
