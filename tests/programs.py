"""Programs that some tests need and Python cannot install."""

import os
import shutil

import pytest


def needed(name: str, install: str) -> str:
    """Return the program's path; without it the test is skipped, or fails where the variable CI is set."""
    path = shutil.which(name)
    if path is None:
        absent = f"{name} is not installed: {install}"
        if os.environ.get("CI"):
            pytest.fail(absent)
        pytest.skip(absent)
    return path
