"""`scripts.jenkins` on a machine with stand-in programs: its settings, and its end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from ci.run import state
from ci.run.executor.runner import lives
from scripts import cluster, jenkins
from tests.ci.run.machines import Machine
from tests.ci.run.test_kind import port
from tests.pods import REPOSITORY

POD = {"containers": [{"name": "jenkins", "image": "registry.example.com/model-jenkins:1", "env": [{
    "name": "JENKINS_URL", "value": ""}], "volumeMounts": [{"mountPath": "/x"}]}]}  # fmt: skip
OBJECTS: list[dict] = [
    {"kind": "Namespace", "metadata": {"name": "jenkins"}},
    {"kind": "ConfigMap", "metadata": {"name": "jenkins-job"}, "data": {}},
    {"kind": "ConfigMap", "metadata": {"name": "jenkins-configuration"}, "data": {"github.yml": ""}},
    {"kind": "StatefulSet", "metadata": {"name": "jenkins"}, "spec": {"template": {"metadata": {}, "spec": POD}}},
]
"""What `kubectl kustomize` gives for a controller, as far as a fork's settings change it."""


@pytest.fixture
def checkout(machine: Machine) -> Path:
    """The repository in the current folder, with a controller."""
    for source in ("git", "github"):
        file = f"ci/jenkins/controller/job-{source}.xml"
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text((REPOSITORY / file).read_text(encoding="utf-8"), encoding="utf-8")
    machine.write("controller.yaml", yaml.safe_dump_all(OBJECTS))
    program = machine.programs / "kubectl"
    answer = 'case "$*" in\n  "kustomize ci/"*jenkins*) cat controller.yaml ;;'
    program.write_text(program.read_text().replace('case "$*" in', answer, 1))
    return Path.cwd()


def test_settings_come_from_the_variable_too_and_the_command_line_comes_last(checkout, machine, monkeypatch, capsys):
    first, second = port(), port()
    monkeypatch.setenv("PIPELINE_SET", f"serving.port={first}\n\njenkins.job=other\n")
    monkeypatch.setattr("ci.run.images.ready", lambda *_: {"jenkins": "localhost:5001/jenkins:1"})
    put = []
    monkeypatch.setattr("ci.run.jenkins.create", lambda _name, settings, *_: put.append(settings.job))
    assert jenkins.main(["create", f"--set=serving.port={second}"]) == 0, capsys.readouterr().err
    assert json.loads(machine.read("config.json"))["nodes"][0]["extraPortMappings"][0]["hostPort"] == second
    assert put == ["other"]


@pytest.mark.parametrize("action", ["create", "push", "manifests"])
def test_a_wrong_line_of_the_variable_is_named(checkout, monkeypatch, capsys, action):
    monkeypatch.setenv("PIPELINE_SET", "\nnonsense")
    assert jenkins.main([action]) == 2
    assert "bad input: PIPELINE_SET:2: nonsense: expected KEY=VALUE" in capsys.readouterr().err


def test_manifests_are_those_of_the_settings_in_the_variable(checkout, monkeypatch, capsys):
    monkeypatch.setenv(
        "PIPELINE_SET", "jenkins.repository=https://github.com/us/fork\njenkins.url=https://ci.us.example"
    )
    images = Path("ci/images/images.yaml")
    assert images.exists()
    assert jenkins.main(["manifests"]) == 0
    said = capsys.readouterr().out
    assert "<repoOwner>us</repoOwner>" in said
    assert "value: https://ci.us.example/" in said


@pytest.mark.parametrize("name", ["a b", "../x"])
def test_what_is_no_name_of_a_cluster_is_refused_by_every_command_and_nothing_is_written(
    checkout, machine, monkeypatch, capsys, name
):
    monkeypatch.setenv("CLUSTER", name)
    for command, action in ((jenkins, "create"), (jenkins, "delete"), (cluster, "create"), (cluster, "delete")):
        assert command.main([action]) == 2
        assert f"bad input: CLUSTER: '{name}' is no name of a cluster" in capsys.readouterr().err
    assert not list(state.folder().glob("*"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_creation_that_is_interrupted_ends_kind_too(checkout, machine, how):
    machine.write("kind-create-hangs", "")
    with subprocess.Popen(
        [sys.executable, "-m", "scripts.jenkins", "create", f"--set=serving.port={port()}"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        end = time.monotonic() + 60
        while not machine.read("half-made"):
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(how)
        _, said = process.communicate()
    assert process.returncode == 130, said
    assert not lives(machine.read("half-made"))
