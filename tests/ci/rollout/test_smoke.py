"""Asking a version whether it is the one that was packaged."""

import contextlib
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from ci.errors import StageError
from ci.releases.version import Version
from ci.rollout import smoke
from tests import builds


class Broken:
    """A version on a port where the first connections break."""

    def __init__(self, breaks: int) -> None:
        self.breaks, self.met = breaks, 0

    @contextlib.contextmanager
    def addresses(self, *_: object, **__: object) -> Any:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=self.answer, args=(listener,), daemon=True).start()
            yield [f"http://127.0.0.1:{listener.getsockname()[1]}"]

    def answer(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                self.met += 1
                if self.met > self.breaks:
                    near.recv(1 << 16)
                    near.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]")
                near.close()


@pytest.mark.parametrize(
    ("breaks", "met", "end"), [(2, 5, "does not answer as TensorFlow Serving does"), (9, 3, "cannot be reached")]
)
def test_a_connection_that_breaks_is_made_again_some_times(
    breaks: int, met: int, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What answers at last gives an empty list to each of the three questions."""
    monkeypatch.chdir(tmp_path)
    manifest = builds.manifest()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "golden.json").write_text(json.dumps({"instances": [{"x": 1.0}], "predictions": [2.0]}))
    place = Broken(breaks)
    where: Any = place
    with pytest.raises(StageError, match=end):
        smoke.check(where, Version.load(tmp_path), 1e-5, public=True)
    assert place.met == met
