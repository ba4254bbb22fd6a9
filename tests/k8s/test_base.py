"""The rendered serving manifests, held to the settings that ship and to how TensorFlow Serving behaves."""

import importlib.metadata
import subprocess

import pytest
import yaml

from ci import configuration
from tests import pods
from tests.programs import needed


@pytest.fixture(scope="module")
def settings():
    return configuration.read(pods.REPOSITORY / "pipeline.yaml")


@pytest.fixture(scope="module")
def rendered():
    kubectl = needed("kubectl", "https://kubernetes.io/docs/tasks/tools/ (1.30 or newer)")
    text = subprocess.run(
        [kubectl, "kustomize", pods.REPOSITORY / "k8s/base"], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


@pytest.fixture(scope="module")
def container(rendered):
    [container] = rendered["Deployment"]["spec"]["template"]["spec"]["containers"]
    return container


def test_the_namespace_enforces_pod_security_restricted(rendered):
    labels = rendered["Namespace"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert rendered["Deployment"]["metadata"]["namespace"] == rendered["Namespace"]["metadata"]["name"]


def test_the_deployment_serves_what_pipeline_yaml_says(rendered, container, settings):
    repository, _, _ = container["image"].rpartition(":")
    assert repository == f"{settings.packaging.repository}/{settings.model.name}"
    assert rendered["Deployment"]["spec"]["replicas"] == settings.serving.replicas
    for kind in ("requests", "limits"):
        assert container["resources"][kind]["cpu"] == settings.resources.serving.cpu
        assert container["resources"][kind]["memory"] == settings.resources.serving.memory
    assert f"--rest_api_port={settings.serving.port}" in container["args"]


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe"])
def test_probes_ask_for_the_version_because_the_model_status_lies(container, rendered, settings, probe):
    version = rendered["Deployment"]["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]
    assert container[probe]["httpGet"] == {
        "path": f"/v1/models/{settings.model.name}/versions/{version}/metadata",
        "port": "rest",
    }


def test_the_startup_probe_waits_as_long_as_the_rollout_does(container, settings):
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == settings.rollout.startup_timeout


def test_the_server_runs_directly_and_without_its_surprising_defaults(container):
    assert container["command"] == ["/usr/bin/tensorflow_model_server"]
    assert {
        "--max_num_load_retries=0",
        "--enable_profiler=false",
        "--tensorflow_intra_op_parallelism=$(CPU_LIMIT)",
        "--tensorflow_inter_op_parallelism=$(CPU_LIMIT)",
    } <= set(container["args"])
    [limit] = [variable for variable in container["env"] if variable["name"] == "CPU_LIMIT"]
    assert limit["valueFrom"]["resourceFieldRef"]["resource"] == "limits.cpu"


def test_a_server_that_ignores_sigterm_keeps_serving_until_endpoints_forgot_it(rendered, container):
    pod = rendered["Deployment"]["spec"]["template"]["spec"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pause < pod["terminationGracePeriodSeconds"] <= pause + 5
    assert rendered["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_service_selects_the_pods_and_names_their_ports(rendered, container):
    labels = rendered["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert rendered["Service"]["spec"]["selector"].items() <= labels.items()
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for port in rendered["Service"]["spec"]["ports"]:
        assert port["port"] == ports[port["targetPort"]]


def test_the_serving_image_is_not_older_than_the_trainer():
    serving = pods.images()["serving"].rpartition(":")[2]
    trainer = importlib.metadata.version("tensorflow")
    assert tuple(map(int, trainer.split(".")[:2])) <= tuple(map(int, serving.split(".")[:2]))
