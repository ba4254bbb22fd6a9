"""Pods that are folders, and a small repository whose commands do what those of the stages do for the next pod."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
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


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Pods, ApiServer]]:
    """An API server whose pods are folders of this machine."""
    (tmp_path / "pods").mkdir()
    with podservers.serving(tmp_path / "pods") as found:
        yield found


@pytest.fixture
def repository(tmp_path: Path, cluster: tuple[Pods, ApiServer], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the pods of this one, its commands replaced by `commands.py`, as the current folder.

    What the DVC remote is to real builds is one folder for all of its pods.
    """
    pods, _ = cluster
    folder, programs = tmp_path / "repository", tmp_path / "bin"
    for path in ("scripts", "model"):
        (folder / path).mkdir(parents=True)
    programs.mkdir()
    (tmp_path / "remote").mkdir()
    shutil.copytree(REPOSITORY / "ci/agents", folder / "ci/agents")
    (folder / "scripts/some.py").touch()
    training = yaml.safe_load((REPOSITORY / "ci/agents/training.yaml").read_text())
    (folder / "ci/agents/training.json").write_text(json.dumps(training))
    python = Path(sys.executable).resolve()  # without packages it starts in a fraction of the time
    commands = {name: f"-S {COMMANDS} {name}" for name in ("python", "dvc")}
    for name, arguments in {**commands, "python3": ""}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {python} {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    pods.environment = {"PATH": f"{programs}:{os.environ['PATH']}", "REMOTE": str(tmp_path / "remote")}
    monkeypatch.chdir(folder)
    git("init", "-q")
    (folder / ".gitignore").write_text("/build\n")
    git("add", "-A")
    git("commit", "-qm", "one")
    return folder


@pytest.fixture
def new(cluster: tuple[Pods, ApiServer], repository: Path) -> Callable[..., build.Build]:
    """Return what makes a build there, which notes what it says in `said`."""
    _, api = cluster
    images = {"tools": "here/tools:1", "training": "here/pipeline:1", "release": "here/pipeline:1"}

    def made(said: list[str], name: str = "b1", **variables: str) -> build.Build:
        return build.Build(api, build.Site(images, "http://127.0.0.1:9"), name, variables, said.append)

    return made
