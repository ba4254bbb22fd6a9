"""The stand-in as a server in this process."""

import asyncio
import queue
import threading
from collections.abc import Iterator

from ci.serving.api import Api
from ci.serving.front import Front, Limits
from ci.serving.standin import Server, bound


def serving(api: Api, limits: Limits | None = None) -> Iterator[str]:
    """Serve in a thread, as the stand-in's process does; closes every connection at the end."""
    started: queue.Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = queue.Queue()

    async def serve() -> None:
        server, stopped = Server(Front(api, limits or Limits()), drain_timeout=1.0), asyncio.Event()
        accepting = await server.accept(bound("127.0.0.1", 0))
        started.put((asyncio.get_running_loop(), stopped, accepting.sockets[0].getsockname()[1]))
        await stopped.wait()
        accepting.close()
        await server.front.shutdown(0.0)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    loop, stopped, port = started.get(timeout=10)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
