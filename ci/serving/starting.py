"""TensorFlow, started without Keras, which a saved graph does not need, and without the noise of a missing GPU."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_DEVICE = Path("/dev/nvidiactl")
"""This path exists wherever there is a GPU. Then TensorFlow's messages about it are shown."""
_NO_DRIVER = re.compile(rb"[^\n]*failed call to cuInit[^\n]*\n")


def tensorflow() -> Any:
    """Import TensorFlow without Keras, and let it look for GPUs, which it does once.

    Where there is none it logs an error, as if something were wrong. That line is left out; every other one is shown,
    and on a machine with a GPU that one, too.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings and what is less are about its own build
    with _without_keras():
        import tensorflow as tf

    if _DEVICE.exists():
        return tf
    with left_out(_NO_DRIVER):
        tf.config.list_physical_devices()
    return tf


@contextmanager
def _without_keras() -> Iterator[None]:
    """Keep TensorFlow from importing Keras, which would double its start and take 170 MiB.

    TensorFlow does so at its end, and goes on without it. Whoever asks for Keras afterwards still gets it.
    """
    absent = "keras.src" not in sys.modules
    if absent:
        sys.modules["keras.src"] = None  # type: ignore[assignment]  # Python's sign for what cannot be imported
    try:
        yield
    finally:
        if absent:
            del sys.modules["keras.src"]


@contextmanager
def left_out(lines: re.Pattern[bytes]) -> Iterator[None]:
    """Filter some lines from this process's stderr, also those of its C++ part; the others are printed afterwards."""
    with os.fdopen(os.memfd_create("stderr"), "w+b") as held:
        stderr = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            os.write(2, lines.sub(b"", held.read()))
