"""Run tests many times, each time in a fork of a process that has imported what they need: Python starts once."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

_PRELOADED = ("hypothesis", "numpy", "pandas", "pydantic", "requests", "scipy.stats", "yaml", "sklearn.metrics")
"""What most tests import; nothing of ours, which is what changes."""


def preload() -> None:
    """Import what most tests do, once."""
    for name in _PRELOADED:
        import_module(name)


def fails(tests: Sequence[str], folder: Path, timeout: float, *, quiet: bool = True) -> bool:
    """Return whether tests fail in a folder; those that are not through in so many seconds do."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os._exit(_run(tests, folder, quiet))
    end = time.monotonic() + timeout
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
        time.sleep(0.01)
    return ended[1] != 0


def _run(tests: Sequence[str], folder: Path, quiet: bool) -> int:
    os.setsid()  # what the tests start ends with them
    os.chdir(folder)
    sys.dont_write_bytecode = quiet  # of what was changed nothing stays
    sys.path[:] = [str(folder), *(entry for entry in sys.path if entry not in ("", str(Path.cwd())))]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("ci", "model", "scripts", "tests")]:
        del sys.modules[name]  # the copy's are other files
    if quiet:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
    options = [
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-o",
        "addopts=",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    try:
        return int(pytest.main([*options, *tests]))
    except BaseException:  # a change may end the interpreter in any way
        return 1
