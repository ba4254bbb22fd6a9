"""Pods that are folders, and a small repository whose commands do what those of the stages do for the next pod."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from ci.kube.api import ApiServer
from ci.run.executor import build
from tests.ci import podservers
from tests.ci.podservers import Pods
from tests.pods import REPOSITORY
from tests.repositories import git

COMMANDS = Path(__file__).with_name("commands.py")


Place = tuple[Pods, ApiServer, Path]
"""The pods, their API server, and the repository that builds are started in."""


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """Make a repository with the pods of this one, and `commands.py` for its commands, the current folder meanwhile.

    What the DVC remote is to real builds is one folder for all of its pods.
    """
    repository, programs = folder / "repository", folder / "bin"
    for path in (repository / "scripts", folder / "remote", folder / "pods", programs):
        path.mkdir(parents=True)
    shutil.copytree(REPOSITORY / "ci/agents", repository / "ci/agents")
    (repository / "scripts/some.py").touch()
    training = yaml.safe_load((REPOSITORY / "ci/agents/training.yaml").read_text())
    (repository / "ci/agents/training.json").write_text(json.dumps(training))
    python = Path(sys.executable).resolve()  # without packages it starts in a fraction of the time
    commands = {name: f"-S {COMMANDS} {name}" for name in ("python", "dvc")}
    for name, arguments in {**commands, "python3": ""}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {python} {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    with podservers.serving(folder / "pods") as (pods, api), pytest.MonkeyPatch.context() as patch:
        pods.environment = {"PATH": f"{programs}:{os.environ['PATH']}", "REMOTE": str(folder / "remote")}
        patch.chdir(repository)
        git("init", "-q")
        (repository / ".gitignore").write_text("/build\n")
        git("add", "-A")
        git("commit", "-qm", "one")
        yield pods, api, repository


def new(api: ApiServer, said: list[str], **variables: str) -> build.Build:
    """Return a build named b1 that notes what it says."""
    images = {pod: f"here/{pod}:1" for pod in ("tools", "tuner", "training", "release")}
    return build.Build(api, build.Site("kind-here", images, "http://127.0.0.1:9"), "b1", variables, said.append)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    """A place of its own for a test."""
    with place(tmp_path) as found:
        yield found
