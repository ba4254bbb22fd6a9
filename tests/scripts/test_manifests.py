"""The manifests command: what a rollout of the packaged model would apply, on standard output."""

from pathlib import Path

import pytest
import yaml

from ci import workspace
from scripts import configure, manifests
from tests import builds, pods
from tests.programs import needed

IMAGE = {"reference": "localhost/models/demo:2013040112345", "base": "registry.example/model-stand-in:0.1.0"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    needed("kubectl", "https://kubernetes.io/docs/tasks/tools/ (1.30 or newer)")
    monkeypatch.chdir(tmp_path)
    Path("k8s").symlink_to(pods.REPOSITORY / "k8s")


def packaged(monkeypatch, **image):
    """Leave a package; that its digests are right is not looked at."""
    monkeypatch.setattr("ci.packaging.package.verify", lambda *_: None)
    found = builds.manifest()
    found = {**found, "version": "2013040112345", "image": {**found["image"], **IMAGE, **image}}
    workspace.write_json(workspace.PACKAGE / "manifest.json", found)
    workspace.write_json(workspace.PACKAGE / "golden.json", {"instances": [{"x": 1.0}], "predictions": [2.0]})


def deployments(text):
    return {each["metadata"]["name"]: each for each in yaml.safe_load_all(text) if each["kind"] == "Deployment"}


def configured(*settings):
    assert (
        configure.main(
            ["--file", str(pods.REPOSITORY / "tests/pipeline.yaml"), *(f"--set={each}" for each in settings)]
        )
        == 0
    )


def test_the_packaged_version_is_printed_with_the_server_of_the_settings(monkeypatch, capsys):
    configured("serving.server=stand-in", "resources.serving.memory=3Gi")
    packaged(monkeypatch)
    capsys.readouterr()
    assert manifests.main([]) == 0
    printed = deployments(capsys.readouterr().out)
    for name in ("model-stable", "model-canary"):
        containers = {each["name"]: each for each in printed[name]["spec"]["template"]["spec"]["containers"]}
        container, gateway = containers["serving"], containers["gateway"]
        assert gateway["resources"]["requests"]["cpu"] == "100m"
        assert container["image"] == IMAGE["reference"]
        assert container["command"] == ["python", "-m", "ci.serving.standin"]
        assert container["resources"]["limits"]["memory"] == "3Gi"


def test_without_a_package_nothing_is_printed(capsys):
    configured()
    capsys.readouterr()
    assert manifests.main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("bad input: build/package/SHA256SUMS is missing: run `python -m scripts.package`")


def test_a_package_without_a_server_is_refused(monkeypatch, capsys):
    configured()
    packaged(monkeypatch, base=None)
    capsys.readouterr()
    assert manifests.main([]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "has a model but no server in it: set packaging.base to `serving`" in said.err


def test_a_wrong_server_is_refused_with_those_that_there_are(capsys):
    assert configure.main(["--file", str(pods.REPOSITORY / "tests/pipeline.yaml"), "--set=serving.server=nginx"]) == 2
    assert (
        "serving.server: input should be 'tensorflow-serving' or 'stand-in', found 'nginx'" in capsys.readouterr().err
    )


@pytest.mark.parametrize(("inventory", "advised"), [("the current cluster", True), ("example", False), (None, False)])
def test_the_last_plan_of_a_cluster_is_advice_for_the_pods(monkeypatch, capsys, inventory, advised):
    configured()
    packaged(monkeypatch)
    if inventory:
        fields = {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}}
        builds.write("placement/plan.json", builds.plan(inventory=inventory))
        workspace.write_json(workspace.PLACEMENT / "handover.json", {"serving": fields})
    capsys.readouterr()
    assert manifests.main([]) == 0
    printed = deployments(capsys.readouterr().out)
    for name in ("model-stable", "model-canary"):
        pod = printed[name]["spec"]["template"]["spec"]
        assert ("affinity" in pod) is advised
        assert pod["topologySpreadConstraints"], "the advice names none here, so the manifest's stay"
