"""Serving on this machine: each version is a detached process with a control socket, one of them on the public port."""

import errno
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import ci
from ci.errors import InputError, StageError
from ci.registry import local as registry
from ci.releases.machine import MachineLedger, alone, folders
from ci.rollout.decision import Phase
from ci.serving.control import Dead, Remote, Unreachable

_PID = "pid"
"""File with the serving process, for people; the control sockets, not this file, say who is there."""
_UNVERIFIED = "unverified"
"""File with the version that was given the public port and is not verified yet, from promotion to the record."""
_LISTENS = 120.0
"""Longest wait for a server's control socket, which is there before its model; seconds."""
_HOST = "127.0.0.1"


class Local:
    """The servers of this checkout, each named by its image's digest; there is one port, so no canary shares it."""

    shares: Literal[False] = False
    interval = 0.05

    def __init__(self, port: int, drain_timeout: float, ledger: MachineLedger, batch_target: float | None = None):
        self._ledger, self._folder, self._unverified = ledger, ledger.folder, ledger.folder / _UNVERIFIED
        self.port = port
        self.drain_timeout = drain_timeout
        self.batch_target = batch_target
        self._reserved: socket.socket | None = None

    def phases(self) -> dict[str, Phase]:
        """Return what each running version does."""
        found = {}
        for path in sorted(self._folder.glob("*.sock")):
            try:
                found[_named(path)] = self._phase(Remote(path).ask("status"))
            except Dead:
                continue
            except Unreachable:
                found[_named(path)] = Phase.UNREACHABLE
        return found

    def require_answers(self) -> dict[str, Phase]:
        """Return what each running version does.

        Raises:
            StageError: a server holds its control socket but does not answer.
        """
        found = self.phases()
        if hung := next((digest for digest, phase in found.items() if phase is Phase.UNREACHABLE), None):
            raise StageError(self.failure(hung))
        return found

    def _phase(self, status: dict[str, Any]) -> Phase:
        if status["state"] != "AVAILABLE":
            return Phase.FAILED if status["state"] == "END" else Phase.LOADING
        if status["public_port"] != self.port:
            return Phase.READY
        return Phase.SERVING if status["accepting"] else Phase.PAUSED

    def reserve(self, digest: str, *, force: bool) -> None:  # noqa: ARG002 - the port is the same for all versions
        """Make sure that the public port is ours: held by a server of ours, or bound from now on.

        Raises:
            InputError: another program listens on it, or it may not be bound.
            StageError: a server that may hold it does not answer.
        """
        if any(phase in (Phase.SERVING, Phase.PAUSED) for phase in self.require_answers().values()):
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, self.port))
        except OSError as error:
            listener.close()
            what = "is in use by another program" if error.errno == errno.EADDRINUSE else f"cannot be used ({error})"
            raise InputError(
                f"serving.port: port {self.port} {what}: end it, or choose another: set serving.port in pipeline.yaml "
                "or run `python -m scripts.configure --set serving.port=PORT`, then this command again"
            ) from None
        self._reserved = listener

    def start(self, digest: str) -> None:
        """Start a version beside the others, on a private port that the system picks."""
        folder = registry.unpack(digest)
        path = self._control(digest)
        path.unlink(missing_ok=True)
        command = ["--rest_api_port=0", f"--model_name={folder.parent.name}", f"--model_base_path={folder.parent}"]
        command += [f"--control={path}", f"--drain_timeout={self.drain_timeout}"]
        command += [f"--batch_target={self.batch_target}"] if self.batch_target else []
        search = [str(Path(ci.__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
        with path.with_suffix(".log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ci.serving.standin", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search))},
            )
        try:
            end = time.monotonic() + _LISTENS
            while not path.exists():
                if process.poll() is not None:
                    raise StageError(f"the server ended at once: {_tail(path.with_suffix('.log'))}")
                if time.monotonic() > end:
                    raise StageError(f"the server does not listen after {_LISTENS:g} s: {self.waiting(digest)}")
                time.sleep(0.02)
        except (KeyboardInterrupt, StageError):  # without its control socket nobody could end it later
            process.kill()
            process.wait()
            path.unlink(missing_ok=True)
            raise

    def busy(self) -> str | None:
        """Return that another command holds this machine's serving, if one does."""
        try:
            with alone(self._folder):
                return None
        except StageError:
            return "another command"

    def failure(self, digest: str) -> str:
        """Return why a version could not load, or that its server hangs."""
        if self.phases().get(digest) is Phase.UNREACHABLE:
            log = self._control(digest).with_suffix(".log")
            return f"a server lives but does not answer: look at {log}; `make stop` ends it"
        return str(self._ask(digest, "status")["error"])

    def waiting(self, digest: str) -> str:
        """Return what a version's server said last."""
        log = self._control(digest).with_suffix(".log")
        return f"its log ends with: {_tail(log)}" if log.exists() and log.stat().st_size else "its log is empty so far"

    @contextmanager
    def addresses(self, digest: str, *, public: bool) -> Iterator[list[str]]:
        """Give the URL of a version's own port, or of the public one."""
        port = self.port if public else self._ask(digest, "status")["private_port"]
        yield [f"http://{_HOST}:{port}"]

    def pending(self, digest: str) -> bool:
        """Tell whether a deployment gave a version the port and was interrupted before it had verified it."""
        return self._unverified.exists() and self._unverified.read_text(encoding="utf-8", errors="replace") == digest

    def verified(self, digest: str) -> None:  # noqa: ARG002 - there is one mark
        """Take away the mark that a version is not verified yet: from now on it must be in the record."""
        self._unverified.unlink(missing_ok=True)

    def disturbed(self, digest: str) -> str:
        """Return where to look for what undoes a deployment's steps."""
        return f"its log is {self._control(digest).with_suffix('.log')}"

    def by_hand(self, release: int) -> str:
        """Return what somebody can do to bring a release back where a rollout could not."""
        return f"`make serve` starts release {release}"

    def promote(self, digest: str) -> None:
        """Let a version accept on the public port. If it is no release, mark it as not verified yet."""
        last = self._ledger.last()
        if last is None or last["digest"] != digest:
            self._unverified.write_text(digest)
        self.restore(digest)

    def restore(self, digest: str) -> None:
        """Let a version accept on the public port: with the listener of whoever holds it, or a new one."""
        holders = [key for key, phase in self.phases().items() if phase in (Phase.SERVING, Phase.PAUSED)]
        if digest in holders:
            listener = None
        elif holders:
            listener = self._ask(holders[0], "give")["listener"]
        else:
            if self._reserved is None:
                self.reserve(digest, force=False)
            listener = self._reserved
        status = self._ask(digest, "take", listener)
        self._reserved = None
        (self._folder / _PID).write_text(f"{status['pid']}\n")
        if not self.pending(digest):  # the mark is of a version that does not have the port any more
            self._unverified.unlink(missing_ok=True)

    def pause(self, digest: str) -> None:
        """Let a version accept no more; its connections go on."""
        self._ask(digest, "pause")

    def retire(self, digest: str) -> str:
        """End a version after its requests, by force when `drain_timeout` is over; return how it went."""
        return _end(Remote(self._control(digest)), self.drain_timeout)

    def _ask(self, digest: str, command: str, listener: socket.socket | None = None) -> dict[str, Any]:
        """Send a command to a version's server and return its answer.

        Raises:
            StageError: its process has ended, or does not answer.
        """
        log = self._control(digest).with_suffix(".log")
        try:
            return Remote(self._control(digest)).ask(command, listener)
        except Dead:
            raise StageError(f"the server's process has ended: {_tail(log)} (the last line of {log})") from None
        except Unreachable as error:
            raise StageError(f"the server hangs: {error}; its log is {log}") from None

    def _control(self, digest: str) -> Path:
        return self._folder / f"{digest.removeprefix('sha256:')}.sock"


def stop(drain_timeout: float) -> list[str]:
    """End every server of this checkout, in all environments, and return a line for each; none is fine."""
    said = []
    for folder in folders():
        for path in sorted(folder.glob("*.sock")):
            if (pid := _pid(Remote(path))) is not None:
                said.append(f"{path.stem} (process {pid}): {_end(Remote(path), drain_timeout)}")
            path.unlink(missing_ok=True)
        for name in (_PID, _UNVERIFIED):
            (folder / name).unlink(missing_ok=True)
    return said


def _end(remote: Remote, drain_timeout: float) -> str:
    with _process(remote) as process:
        try:
            remote.ask("drain", seconds=drain_timeout)
        except Dead:  # without connections it can be gone before it has answered
            return "ended after its requests" if process else "had ended"
        except Unreachable:
            drain_timeout = 0.0
        if process is None or _ended(process, drain_timeout + 2.0):
            return "ended after its requests"
        signal.pidfd_send_signal(process, signal.SIGKILL)
        _ended(process, 10.0)
    remote.path.unlink(missing_ok=True)
    return f"killed: it had not ended after {drain_timeout:g} s"


@contextmanager
def _process(remote: Remote) -> Iterator[int | None]:
    """Hold the process that listens on a control socket by a descriptor, which a reused number cannot mislead."""
    number = _pid(remote)
    try:
        process = os.pidfd_open(number) if number else None
    except ProcessLookupError:
        process = None
    try:
        yield process if _pid(remote) == number else None  # unless it ended in between, the number was its own
    finally:
        if process is not None:
            os.close(process)


def _ended(process: int, seconds: float) -> bool:
    """Wait for the end of a process; asking its control socket again and again would fill a hung one's queue."""
    waiting = select.poll()
    waiting.register(process, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))


def _pid(remote: Remote) -> int | None:
    """Return the process that listens on a control socket, None if none does.

    Raises:
        StageError: that cannot be told.
    """
    try:
        return remote.pid()
    except Unreachable as error:
        raise StageError(f"a server cannot be asked for its process: {error}") from None


def _named(path: Path) -> str:
    return f"sha256:{path.stem}"


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "its log is empty"
