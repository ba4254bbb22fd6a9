"""A chief and its workers as processes on this machine: whoever dies is started again, and none is left behind."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ci.errors import InputError, StageError

POLL = 0.05
"""Pause between looks at processes; seconds."""
FAILURES, KILLS = 3, 100
"""How often a process may fail by itself, and how often it may be killed, before all are given up."""


def run(command: Sequence[str], workers: int, environment: Mapping[str, str], at: str | None = None) -> None:
    """Run a chief and workers until the search is over; see `supervise` for errors.

    Args:
        command: what each process runs; its environment says what it is.
        workers: number of workers.
        environment: variables for all of them.
        at: address (IP:PORT) of the chief where it has workers on other machines too; None takes any free port here.
    """
    if at:
        host, _, port = at.rpartition(":")
    else:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            host, port = "127.0.0.1", str(probe.getsockname()[1])
    address = {"KERASTUNER_ORACLE_IP": host, "KERASTUNER_ORACLE_PORT": port}

    def start(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env={**environment, **address, "KERASTUNER_TUNER_ID": name})

    supervise(["chief", *(f"worker-{number}" for number in range(workers))], start)


def supervise(names: Sequence[str], start: Callable[[str], Any]) -> None:
    """Start the named processes, and start again whoever dies before the first has ended well.

    Args:
        names: of the processes; all end with the first.
        start: starts one, returning a `Popen`.

    Raises:
        InputError: the first ended with exit code 2.
        StageError: the first ended with exit code 1, or a process ends too often.
    """
    processes = {name: start(name) for name in names}
    ends = Counter[tuple[str, bool]]()
    try:
        while (code := processes[names[0]].poll()) not in (0, 1, 2):
            for name, process in processes.items():
                if process.poll() not in (None, 0):
                    killed = process.returncode < 0
                    ends[name, killed] += 1
                    if ends[name, killed] >= (KILLS if killed else FAILURES):
                        raise StageError(f"{name} ended again and again, the last time with code {process.returncode}")
                    print(
                        f"{name} ended with code {process.returncode}: starting it again", file=sys.stderr, flush=True
                    )
                    processes[name] = start(name)
                    if name == names[0]:  # what the others were told of the end, this one may not know
                        processes |= {other: start(other) for other in names[1:] if processes[other].poll() == 0}
            time.sleep(POLL)
        deadline = time.monotonic() + 2  # time for the others to end by themselves
        while time.monotonic() < deadline and any(process.poll() is None for process in processes.values()):
            time.sleep(POLL)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    if code:
        error = InputError if code == 2 else StageError
        raise error(f"{names[0]} could not go on: it has said above why")


def end_with_parent() -> None:
    """Have this process end when its parent is gone: nobody would start it again, or wait for it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
