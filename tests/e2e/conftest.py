"""Forks: every file of this repository but `model/` and `pipeline.yaml`, whose place others take."""

import fcntl
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.forks import Build, Fork
from tests.pods import REPOSITORY

SWAPPED = Path(__file__).with_name("fork")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Fork]]:
    """Return a function that checks out a fork in a new folder; whatever serves there ends with the tests."""
    made: list[Fork] = []

    def new(name: str, task: Path = SWAPPED, **options: Any) -> Fork:
        fork = Fork(tmp_path_factory.mktemp(name) / "fork", **options)
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True, text=True)
        for path in filter(None, listed.stdout.split("\0")):
            if Path(path).parts[0] not in ("model", "pipeline.yaml"):
                (fork.folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / path, fork.folder / path)
        shutil.copytree(
            task, fork.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "README.md")
        )
        author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "fork"]):
            subprocess.run(["git", *command], cwd=fork.folder, check=True)
        made.append(fork)
        return fork

    yield new
    for fork in made:
        fork.stop()


@pytest.fixture(scope="session")
def undisturbed(checkout: Callable[..., Fork]) -> tuple[Fork, Build]:
    """Return a fork and its first build, which nothing disturbed."""
    environment = {"LC_ALL": "C.UTF-8", "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "1"}
    fork = checkout("undisturbed", umask=0o000, environment=environment)
    return fork, fork.build()


@pytest.fixture(scope="session")
def expected(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Return what an undisturbed build says and leaves: it is built once, whichever worker asks for it first."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each has a folder in the common one
        folder = folder.parent
    kept = folder / "undisturbed.pickle"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            _, build = request.getfixturevalue("undisturbed")
            kept.write_bytes(pickle.dumps(build))
        found = pickle.loads(kept.read_bytes())  # noqa: S301 - written above
    assert isinstance(found, Build)
    return found
