import json
import shutil

import pytest
import yaml

from ci.agents import pod
from ci.errors import InputError
from ci.settings import Request
from scripts import agent, configure
from tests.pods import REPOSITORY, violations


def test_only_cpu_and_memory_of_the_training_container_change():
    before = pod.read(REPOSITORY / pod.TRAINING)
    after = pod.sized(before, Request(cpu="3500m", memory="12Gi"))
    [training] = [container for container in after["spec"]["containers"] if container["name"] == "tensorflow"]
    assert {
        (training["resources"][kind]["cpu"], training["resources"][kind]["memory"]) for kind in training["resources"]
    } == {("3500m", "12Gi")}
    assert violations(after["spec"]) == []
    for version in (before, after):
        for container in version["spec"]["containers"]:
            if container["name"] == "tensorflow":
                for amounts in container["resources"].values():
                    del amounts["cpu"], amounts["memory"]
    assert before == after


def test_the_pod_that_was_read_stays_as_it_was():
    before = pod.read(REPOSITORY / pod.TRAINING)
    pod.sized(before, Request(cpu="64", memory="1Ti"))
    assert before == pod.read(REPOSITORY / pod.TRAINING)


def test_the_shipped_pod_already_has_the_shipped_request(tmp_path, monkeypatch):
    checkout(tmp_path, monkeypatch)
    assert configure.main([]) == 0
    assert agent.main([]) == 0
    assert json.loads((tmp_path / "build/agent.json").read_text()) == pod.read(REPOSITORY / pod.TRAINING)


def test_the_command_writes_a_pod_that_holds_what_the_settings_ask_for(tmp_path, monkeypatch):
    checkout(tmp_path, monkeypatch)
    assert configure.main(["--set", "resources.training.cpu=8", "--set", "resources.training.memory=32Gi"]) == 0
    assert agent.main([]) == 0
    [_, training] = json.loads((tmp_path / "build/agent.json").read_text())["spec"]["containers"]
    assert training["resources"]["limits"]["cpu"] == "8"
    assert training["resources"]["requests"]["memory"] == "32Gi"


def test_without_settings_the_command_says_what_to_run_first(tmp_path, monkeypatch, capsys):
    checkout(tmp_path, monkeypatch)
    assert agent.main([]) == 2
    assert "python -m scripts.configure" in capsys.readouterr().err
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "cannot be read as YAML"),
        ("[]", "spec.containers"),
        ("spec: {containers: [{image: x}]}", "spec.containers"),
        (yaml.safe_dump({"spec": {"containers": [{"name": "jnlp"}]}}), "a container named tensorflow"),
    ],
)
def test_a_file_that_is_no_training_pod_is_named_with_the_fix(tmp_path, text, problem):
    path = tmp_path / "training.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=problem) as error:
        pod.read(path)
    assert str(path) in str(error.value)


def checkout(folder, monkeypatch):
    """Make `folder` a checkout with the files that the commands read."""
    (folder / "ci/agents").mkdir(parents=True)
    shutil.copy(REPOSITORY / "pipeline.yaml", folder)
    shutil.copy(REPOSITORY / pod.TRAINING, folder / pod.TRAINING)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PIPELINE_SET", raising=False)
