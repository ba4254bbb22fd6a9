"""The pipeline's commands as processes of their own, in the current folder."""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def run(name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does, perhaps with more environment variables."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **variables}
    line = [sys.executable, "-m", f"scripts.{name}", *arguments]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=300)


def run_warm(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that trains: its process is forked from one that has imported TensorFlow and Keras already.

    Their import takes longer than what the tests ask of such a command. Nothing else differs: `tests.warm` runs it as
    `python -m` does.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        paths = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err)]
        asked = {"module": f"scripts.{name}", "arguments": arguments, "folder": str(Path.cwd()), "said": paths}
        pipe = _warm()
        assert pipe.stdin is not None
        assert pipe.stdout is not None
        pipe.stdin.write(json.dumps({**asked, "environment": dict(os.environ)}) + "\n")
        pipe.stdin.flush()
        code = json.loads(pipe.stdout.readline())
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess([f"scripts.{name}", *arguments], code, out.read(), err.read())


@cache
def _warm() -> subprocess.Popen[str]:
    """Start the process to fork from; it ends with this one."""
    pipe = subprocess.PIPE
    line = [sys.executable, "-m", "tests.warm"]
    process = subprocess.Popen(line, cwd=REPOSITORY, stdin=pipe, stdout=pipe, text=True)
    atexit.register(process.communicate)  # closes its input, and waits for its end
    return process
