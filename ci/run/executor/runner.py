"""What runs in an agent pod to run one step there; the pod's Python gets it as text, as the pod starts empty.

The step is a process of its own session that writes to a file, so it goes on when the connection to it breaks. Asked
again with the same folder, this program only follows. What the step says goes to the first channel, and at its end one
word to the second: its exit code, or `lost` if nobody knows it any more. Without a word, the step goes on.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def main(folder: Path, offset: int, seconds: float, workspace: str = "", command: Sequence[str] = ()) -> None:
    """Start the command if it was not started yet, and follow it for a while.

    Without a command, the command that was started is interrupted, as by Ctrl-C, and followed to its end.

    Args:
        folder: of this step; it is made by whoever starts the step.
        offset: bytes of what the step said that are known already.
        seconds: how long to follow it.
        workspace: folder that it runs in.
        command: variables as `NAME=VALUE`, an empty argument, then program and arguments.
    """
    if not command:
        os.killpg(int((folder / "session").read_text("utf-8")), signal.SIGINT)
    elif not folder.exists():
        folder.mkdir()
        if os.fork() == 0:
            start(folder, workspace, command)
    follow(folder, offset, time.monotonic() + seconds)


def start(folder: Path, workspace: str, command: Sequence[str]) -> None:
    """Run the command to its end and write its exit code down."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # the step gets them too, and its end is what counts
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    write(folder / "session", str(os.getpid()))
    end = command.index("")
    environment = dict(pair.split("=", 1) for pair in command[:end])
    try:
        code = subprocess.Popen(command[end + 1 :], cwd=workspace, env={**os.environ, **environment}).wait()
    except OSError as error:
        print(f"failed: {command[end + 1]} cannot be run: {error}", flush=True)
        code = 127
    write(folder / "code", str(code if code >= 0 else 128 - code))
    os._exit(0)


def follow(folder: Path, offset: int, until: float) -> None:
    """Pass on what the step says, until it has ended or the time is up."""
    while not (folder / "session").exists():
        if time.monotonic() > until:
            return
        time.sleep(0.01)
    session = (folder / "session").read_text("utf-8")
    with (folder / "log").open("rb") as log:
        log.seek(offset)
        while True:
            alive, over = lives(session), (folder / "code").exists()  # in this order
            while part := log.read(1 << 16):
                sys.stdout.buffer.write(part)
                sys.stdout.buffer.flush()
            if over or not alive:
                sys.stderr.write((folder / "code").read_text("utf-8") if over else "lost")
                return
            if time.monotonic() > until:
                return
            time.sleep(0.03)


def lives(process: str) -> bool:
    """Tell whether a process runs. A zombie (ended, but its exit code was not read yet) does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def write(path: Path, text: str) -> None:
    """Write a small file as a whole."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.rename(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), "".join(sys.argv[4:5]), sys.argv[5:])
