"""Agents that are folders of this machine, for what needs no pods; each starts empty."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.jenkins.controller import PATIENCE, Aborted, Build, Lost


@dataclass
class Folder:
    """An agent in a folder."""

    name: str
    workspace: Path

    def run(self, script: str, container: str, env: dict[str, str], hear: Callable[[str], None]) -> int:
        """Run a script."""
        process = subprocess.Popen(
            ["sh", "-xec", script],
            cwd=self._there(),
            env={**os.environ, **env, "CONTAINER": container},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )
        assert process.stdout
        with process:
            try:
                for line in process.stdout:
                    hear(line.rstrip("\n"))
            except Aborted:
                os.killpg(process.pid, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=PATIENCE)
                process.kill()
                raise
        if process.returncode:
            self._there()
        return process.returncode

    def _there(self) -> Path:
        if not self.workspace.exists():
            raise Lost("Agent was removed")
        return self.workspace

    def read(self, file: str) -> bytes | None:
        """Return what is in a file; None if it is not there."""
        path = self._there() / file
        return path.read_bytes() if path.exists() else None

    def write(self, file: str, content: bytes) -> None:
        """Write a file."""
        path = self._there() / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def find(self, folder: str) -> list[str]:
        """Return the files below a folder; a link is none."""
        found = (path for path in (self._there() / folder).rglob("*") if path.is_file() and not path.is_symlink())
        return sorted(path.relative_to(self.workspace).as_posix() for path in found)

    def checkout(self, bundle: bytes, commit: str) -> None:
        """Check a commit out."""
        for path in self._there().iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        file = self.workspace.with_suffix(".bundle")
        file.write_bytes(bundle)
        for arguments in (
            ["init", "-q"],
            ["fetch", "-q", str(file), "+refs/heads/*:refs/remotes/origin/*"],
            ["checkout", "-q", "-f", commit],
        ):
            subprocess.run(["git", *arguments], cwd=self.workspace, check=True)
        file.unlink()

    def close(self) -> None:
        """Delete the folder, and end whatever still runs in it, as a pod's end does."""
        for cwd in Path("/proc").glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):  # it has ended, or is somebody else's
                if cwd.readlink().is_relative_to(self.workspace):
                    os.kill(int(cwd.parent.name), signal.SIGKILL)
        shutil.rmtree(self.workspace, ignore_errors=True)


def start(folder: Path) -> Callable[..., Folder]:
    """Return what starts agents below a folder."""

    def make(text: str, said: dict[str, Any], build: Build, hear: Callable[[str], None]) -> Folder:
        name = f"agent-{build.number}-{len(build.agents) + 1}"
        (folder / name).mkdir(parents=True)
        return Folder(name, folder / name)

    return make
