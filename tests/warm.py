"""A process that has imported TensorFlow, Keras and keras-tuner, and forks one for each command that it is asked for.

TensorFlow may be forked as long as it has done nothing: its threads and devices begin with its first operation. Two of
the libraries begin threads when they are imported, and a fork copies the locks that these hold, but not the threads: so
they are told not to.
"""

import importlib
import json
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

IMPORTED = ("ci.serving.starting", "keras", "keras_tuner", "pandas", "pyarrow.parquet", "scipy.stats", "pandera.pandas")
"""What takes long to import and knows nothing of a task; the command's own modules are imported by itself."""


ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}


def main() -> None:
    """Read what to run, a line of JSON each, and answer with the exit code."""
    os.environ.update(ONE_THREAD, TF_CPP_MIN_LOG_LEVEL="3")
    for name in IMPORTED:
        importlib.import_module(name)
    threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    assert len(threads) == 1, f"a fork could wait for ever for a lock of {threads}"
    repository = sys.path.pop(0)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _run(json.loads(line), repository)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _run(asked: dict[str, Any], repository: str) -> None:
    """Run a module as `python -m` does, in its folder, and end this process with its exit code."""
    code = 1
    try:
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        for number, path in zip((1, 2), asked["said"], strict=True):
            with Path(path).open("a") as said:
                os.dup2(said.fileno(), number)
        with Path(os.devnull).open() as nothing:
            os.dup2(nothing.fileno(), 0)
        sys.path[:0] = [asked["folder"], repository]
        sys.argv[1:] = asked["arguments"]
        importlib.invalidate_caches()
        runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
