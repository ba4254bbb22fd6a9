"""Programs that some tests need and Python cannot install."""

import os
import shutil
from pathlib import Path

import pytest


def needed(name: str, install: str, part: Path | None = None) -> str:
    """Return the program's path; without it, or a file that is a part of it, the test is skipped.

    Where the variable CI is set it fails instead.
    """
    path = shutil.which(name)
    if path is None or (part and not part.exists()):
        absent = f"{name} is not installed: {install}" if path is None else f"{name} lacks {part}: {install}"
        if os.environ.get("CI"):
            pytest.fail(absent)
        pytest.skip(absent)
    return path
