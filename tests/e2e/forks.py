"""A fork in a folder of its own, the commands that are run in it, and what a build leaves."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAKE_MODEL = ("configure", "champion", "prepare", "tune", "train", "test", "package")
"""Every stage that makes the image, none that acts on the outside world."""
PATIENCE = 1200
"""Longest wait for a run, in seconds: a machine may be busy with other things."""


@dataclass(frozen=True)
class Build:
    """What a run of the pipeline that ended well said and left, read before anything else happened."""

    said: str
    package: str
    """Names and digests of the package's files."""
    manifest: dict[str, Any]
    evaluation: dict[str, Any]
    monitoring: dict[str, Any]
    releases: list[dict[str, Any]]
    page: str


@dataclass
class Fork:
    """A checked-out fork and the commands that a user would run in it."""

    folder: Path
    umask: int = -1
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=lambda: _free_port())

    @property
    def said(self) -> Path:
        return self.folder.with_suffix(".log")

    def build(self, *arguments: str) -> Build:
        """Run the whole pipeline, which must end well, and return what it left."""
        said = self.run(*arguments)
        return Build(
            said=said,
            package=self.text("package/SHA256SUMS"),
            manifest=json.loads(self.text("package/manifest.json")),
            evaluation=json.loads(self.text("evaluation/evaluation.json")),
            monitoring=json.loads(self.text("monitoring/monitoring.json")),
            releases=[json.loads(line) for line in self.text("state/serving/releases.jsonl").splitlines()],
            page=self.text("report/index.html"),
        )

    def run(self, *arguments: str) -> str:
        """Run the pipeline, or some stages of it, which must end well, and return what it said."""
        process = self.start(*arguments)
        try:
            code = process.wait(PATIENCE)
        finally:
            _kill(process)
        said = self.said.read_text(encoding="utf-8")
        assert code == 0, said
        return said

    def run_until(self, reached: Callable[["Fork"], bool], *, may_end: bool = False) -> str | None:
        """Start the pipeline, kill it and all that it started once something is reached, and return what it said.

        Where it may end before, None says that it did.
        """
        process = self.start()
        try:
            deadline = time.monotonic() + PATIENCE
            while not reached(self):
                if may_end and process.poll() == 0:
                    return None
                assert process.poll() is None, self.said.read_text(encoding="utf-8")
                assert time.monotonic() < deadline, self.said.read_text(encoding="utf-8")
                time.sleep(0.002)
            assert process.poll() is None, "it was to be killed, and had ended"
        finally:
            _kill(process)
        return self.said.read_text(encoding="utf-8")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "scripts.pipeline", f"--set=serving.port={self.port}", *arguments]
        with self.said.open("wb") as said:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                umask=self.umask,
                start_new_session=True,
            )

    def dvc(self, *arguments: str) -> None:
        """Run a DVC command, which must end well."""
        command = [sys.executable, "-m", "dvc", *arguments]
        subprocess.run(command, cwd=self.folder, env=self._environment(), check=True, timeout=PATIENCE)

    def stop(self) -> None:
        command = [sys.executable, "-m", "scripts.stop"]
        subprocess.run(command, cwd=self.folder, env=self._environment(), check=True, timeout=PATIENCE)

    def text(self, path: str) -> str:
        """Return the text of a file below `build/`."""
        return (self.folder / "build" / path).read_text(encoding="utf-8")

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "PIPELINE_SET"}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        cache = {"DVC_SITE_CACHE_DIR": str(self.folder.with_suffix(".dvc-site"))}
        return {**kept, **cache, "PATH": path, **self.environment}


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it started, but for what it detached; nothing happens if it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
