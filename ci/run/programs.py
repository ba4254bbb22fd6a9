"""Docker, Kind and kubectl, called as programs: what they say when they fail becomes our message."""

import subprocess
from collections.abc import Sequence

from ci.errors import StageError

_SHOWN = 5
"""Last lines of a program's messages that are shown."""
Done = subprocess.CompletedProcess[str]


def attempt(*command: str, timeout: float = 60.0, given: str | None = None) -> Done:
    """Run a program that may fail, and return how it ended; a missing one or one that hangs counts as failed.

    Args:
        command: program and arguments.
        timeout: longest wait for its end; seconds.
        given: what it reads.
    """
    try:
        return subprocess.run(
            command,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Done(command, 124, "", f"no answer within {timeout:g} s")
    except OSError as error:
        return Done(command, 127, "", f"it cannot be run: {error.strerror}")


def output(*command: str, timeout: float = 60.0, given: str | None = None) -> str:
    """Run a program and return what it prints.

    Raises:
        StageError: it failed; the message has its last lines.
    """
    done = attempt(*command, timeout=timeout, given=given)
    if done.returncode:
        raise StageError(f"`{' '.join(command)}` failed: {last_words(done)}")
    return done.stdout


def last_words(done: Done) -> str:
    """Return what a program said at its end, in one line."""
    return shortened(done.stderr.splitlines()) or shortened(done.stdout.splitlines()) or f"exit code {done.returncode}"


def shortened(lines: Sequence[str]) -> str:
    """Return the last lines that say something, in one."""
    said = [line.strip() for line in lines if line.strip()]
    return " | ".join(said[-_SHOWN:])
