from copy import deepcopy
from string import Template

import pytest
import yaml

from tests import pods

SAFE = yaml.safe_load("""
automountServiceAccountToken: false
securityContext: {runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, seccompProfile: {type: RuntimeDefault}}
containers:
- name: main
  image: x
  resources: {requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 1, memory: 1Gi}}
  securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
volumes:
- {name: tmp, emptyDir: {}}
""")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda spec: spec.update(hostNetwork=True), "hostNetwork is set"),
        (lambda spec: spec["volumes"].append({"name": "v", "hostPath": {"path": "/"}}), "volume v is of a forbidden"),
        (lambda spec: spec.pop("automountServiceAccountToken"), "a token of the default ServiceAccount"),
        (lambda spec: spec["securityContext"].pop("runAsNonRoot"), "main: may run as root"),
        (lambda spec: spec["containers"][0]["securityContext"].update(runAsUser=1001), "main: does not run as 1000"),
        (lambda spec: spec["securityContext"].pop("seccompProfile"), "main: has no seccomp profile"),
        (lambda spec: spec["containers"][0]["securityContext"].update(privileged=True), "main: is privileged"),
        (lambda spec: spec["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"), "main: may escalate"),
        (lambda spec: spec["containers"][0]["securityContext"].pop("readOnlyRootFilesystem"), "main: has a writable"),
        (lambda spec: spec["containers"][0]["securityContext"].pop("capabilities"), "main: keeps capabilities"),
        (
            lambda spec: spec["containers"][0]["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
            "main: keeps",
        ),
        (lambda spec: spec["containers"][0].update(ports=[{"containerPort": 1, "hostPort": 1}]), "main: takes a port"),
        (lambda spec: spec["containers"][0]["resources"]["limits"].pop("memory"), "main: has no limits of memory"),
        (lambda spec: spec.update(initContainers=[{"name": "init"}]), "init: does not run as"),
    ],
)
def test_a_pod_that_breaks_one_rule_is_reported_for_it(change, problem):
    assert pods.violations(SAFE) == []
    spec = deepcopy(SAFE)
    change(spec)
    if "initContainers" in spec:
        spec["initContainers"][0]["securityContext"] = {"runAsUser": 0}
    assert any(found.startswith(problem) for found in pods.violations(spec)), pods.violations(spec)


def test_every_pod_of_the_repository_keeps_the_rules():
    checked = {name: pods.violations(spec) for name, spec in pods.pod_specs()}
    assert {
        "ci/agents/tools.yaml Pod",
        "ci/agents/training.yaml Pod",
        "k8s/server/pod/deployment.yaml Deployment",
    } <= set(checked)
    assert not any(checked.values()), checked


def test_every_pod_names_only_images_that_are_listed():
    listed = pods.images()
    known = {*listed.values(), "model"}  # kustomize puts the packaged model's image in the place of `model`
    for name, spec in pods.pod_specs():
        for container in spec["containers"]:
            if container["name"] == "jnlp" and name.startswith("ci/agents/"):
                assert "image" not in container, f"{name}: the plugin fills in the image of jnlp"
            else:
                assert container["image"] in known, name


def test_every_listed_image_of_ours_starts_from_a_listed_one():
    listed = yaml.safe_load((pods.REPOSITORY / "ci/images/images.yaml").read_text(encoding="utf-8"))["images"]
    built = [image["dockerfile"] for image in listed if "dockerfile" in image]
    assert built
    for dockerfile in built:
        lines = (pods.REPOSITORY / dockerfile).read_text(encoding="utf-8").splitlines()
        given = dict(line[4:].split("=", 1) for line in lines if line.startswith("ARG "))
        bases = [Template(line.split()[1]).substitute(given) for line in lines if line.startswith("FROM ")]
        assert bases
        assert set(bases) <= set(pods.images().values())
        assert "USER 1000:1000" in lines


def test_no_manifest_has_yaml_anchors_which_jenkins_refuses():
    for path in pods.manifests():
        tokens = yaml.scan(path.read_text(encoding="utf-8"))
        assert not any(isinstance(token, yaml.AnchorToken | yaml.AliasToken) for token in tokens), path


@pytest.mark.parametrize("agent", ["tools", "release", "training", "pull-request"])
def test_agents_are_what_the_kubernetes_plugin_needs(agent):
    pod = yaml.safe_load((pods.REPOSITORY / f"ci/agents/{agent}.yaml").read_text(encoding="utf-8"))
    containers = {container["name"]: container for container in pod["spec"]["containers"]}
    assert set(containers) == {"jnlp", "tensorflow" if agent in ("training", "pull-request") else "tools"}
    for container in containers.values():
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]  # noqa: S108 - junit writes there
        assert {"name": "HOME", "value": "/tmp"} in container["env"]  # noqa: S108
    assert pod["spec"]["enableServiceLinks"] is False
    assert "nodeName" not in pod["spec"]


def test_what_agents_mount_is_applied_with_the_jenkins_manifests():
    documents = list(yaml.safe_load_all((pods.REPOSITORY / "ci/jenkins/remote.yaml").read_text(encoding="utf-8")))
    made = {(document["kind"], document["metadata"]["name"]) for document in documents}
    for name, spec in pods.pod_specs():
        if name.startswith("ci/agents/"):
            for volume in spec["volumes"]:
                if "configMap" in volume:
                    assert ("ConfigMap", volume["configMap"]["name"]) in made
                if "persistentVolumeClaim" in volume:
                    assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in made


def test_dvc_reads_the_configuration_that_agents_mount(tmp_path, monkeypatch):
    from dvc.config import Config

    documents = yaml.safe_load_all((pods.REPOSITORY / "ci/jenkins/remote.yaml").read_text(encoding="utf-8"))
    [mounted] = [document["data"] for document in documents if document["kind"] == "ConfigMap"]
    (tmp_path / "config").write_text(mounted["config"])
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(tmp_path))
    config = Config()
    assert config["core"]["remote"] == "shared"
    assert config["remote"]["shared"]["url"] == "/var/lib/dvc-remote"
