"""What the deployer applies, held to the settings that ship and to how TensorFlow Serving behaves."""

import importlib.metadata
import json
import re
from copy import deepcopy

import pytest

from ci import configuration
from ci.capture import replay
from tests import pods
from tests.k8s.rendering import OVERLAYS, objects

DEPLOYMENTS = ["model-stable", "model-canary"]


@pytest.fixture(scope="module")
def settings():
    return configuration.read(pods.REPOSITORY / "tests/pipeline.yaml")


@pytest.fixture(params=OVERLAYS)
def rendered(request):
    return objects(f"k8s/overlays/{request.param}/server")


@pytest.fixture(params=DEPLOYMENTS)
def deployment(request, rendered):
    return rendered["Deployment", request.param]


@pytest.fixture
def pod(deployment):
    return deployment["spec"]["template"]["spec"]


@pytest.fixture
def container(pod):
    return next(each for each in pod["containers"] if each["name"] == "serving")


def config(rendered, name):
    [found] = [
        each["data"][name] for (kind, _), each in rendered.items() if kind == "ConfigMap" and name in each["data"]
    ]
    return found


def test_the_deployer_applies_these_and_no_others(rendered):
    kinds = sorted((kind, re.sub("(serving|gateway)-.*", r"\1-…", name)) for kind, name in rendered)
    deployments = [("Deployment", "model-canary"), ("Deployment", "model-stable")]
    maps = [("ConfigMap", "gateway-…"), ("ConfigMap", "serving-…")]
    assert kinds == [*maps, *deployments, ("HorizontalPodAutoscaler", "model-stable"), ("Service", "model")]
    [namespace] = {each["metadata"]["namespace"] for each in rendered.values()}
    assert namespace in ("model-serving", "model-staging")


def test_stable_and_canary_are_one_pod_with_two_labels(rendered):
    stable, canary = (deepcopy(rendered["Deployment", name]["spec"]) for name in DEPLOYMENTS)
    for spec, track in ((stable, "stable"), (canary, "canary")):
        assert spec["selector"]["matchLabels"].pop("track") == track
        assert spec["template"]["metadata"]["labels"].pop("track") == track
        for constraint in spec["template"]["spec"]["topologySpreadConstraints"]:
            constraint["labelSelector"]["matchLabels"].pop("track", None)
    assert canary.pop("replicas") == 1
    assert "replicas" not in stable, "the autoscaler owns them"
    assert stable == canary


def test_the_pods_are_sized_as_pipeline_yaml_says(container, settings):
    for kind in ("requests", "limits"):
        assert container["resources"][kind]["cpu"] == settings.resources.serving.cpu
        assert container["resources"][kind]["memory"] == settings.resources.serving.memory
    assert f"--rest_api_port={settings.serving.port}" in container["args"]


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe"])
def test_probes_ask_for_the_version_because_the_model_status_lies(container, settings, probe):
    values = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert values["MODEL_NAME"] == settings.model.name
    path = f"/v1/models/{settings.model.name}/versions/{values['MODEL_VERSION']}/metadata"
    assert container[probe]["httpGet"] == {"path": path, "port": "server"}


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


def test_a_server_that_ignores_sigterm_keeps_serving_until_endpoints_forgot_it(deployment, pod, container):
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pause < pod["terminationGracePeriodSeconds"] <= pause + 5
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_every_file_that_the_server_is_told_to_read_is_mounted(rendered, pod, container):
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == "serving"]
    [volume] = [volume for volume in pod["volumes"] if volume["name"] == "serving"]
    mounted = {f"{mount['mountPath']}/{name}" for name in rendered["ConfigMap", volume["configMap"]["name"]]["data"]}
    assert mounted == {argument.partition("=")[2] for argument in container["args"] if "_file=" in argument}


def test_the_configuration_is_named_by_its_content_and_cannot_be_changed_under_a_running_revision(rendered):
    for name in [name for kind, name in rendered if kind == "ConfigMap"]:
        assert re.fullmatch(r"(serving|gateway)-[a-z0-9]{10}", name)
        assert rendered["ConfigMap", name]["immutable"] is True


def test_metrics_are_exported_where_prometheus_is_told_to_look(rendered, deployment):
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    assert f'path: "{annotations["prometheus.io/path"]}"' in config(rendered, "monitoring.config")
    ports = {
        port["name"]: port["containerPort"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]
    }
    assert annotations["prometheus.io/port"] == str(ports["server"])


def test_batches_hold_what_the_monitor_sends_and_use_the_cpu_there_is(rendered, settings):
    numbers = dict(re.findall(r"^(\w+) \{ value: (\d+) \}$", config(rendered, "batching.config"), re.MULTILINE))
    assert set(numbers) == {"max_batch_size", "batch_timeout_micros", "num_batch_threads", "max_enqueued_batches"}
    assert int(numbers["max_batch_size"]) >= replay.BATCH
    assert numbers["num_batch_threads"] == settings.resources.serving.cpu


def test_the_shared_service_leaves_the_canary_out(rendered, deployment):
    service, template = rendered["Service", "model"], deployment["spec"]["template"]
    chosen = service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert chosen is (deployment["metadata"]["name"] == "model-stable")
    without_track = {key: value for key, value in service["spec"]["selector"].items() if key != "track"}
    assert without_track.items() <= template["metadata"]["labels"].items()
    containers = {each["name"]: each for each in template["spec"]["containers"]}
    ports = {port["name"]: name for name, each in containers.items() for port in each["ports"]}
    assert {port["name"]: ports[port["targetPort"]] for port in service["spec"]["ports"]} == {"rest": "gateway"}


def test_grpc_is_closed_from_the_server_to_the_policies(rendered, container):
    """A client that reached it would pass the gateway: its limits, and its counters, by which canaries are judged."""
    assert "--port=0" in container["args"]
    assert "--grpc_socket_path=/tmp/grpc" in container["args"], "the server does not start without either"
    [tmp] = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "tmp"]
    assert tmp == "/tmp"  # noqa: S108 - where the server puts its socket
    assert not [port for port in container["ports"] if port["containerPort"] != 8501]
    for overlay in OVERLAYS:
        for each in (*objects(f"k8s/overlays/{overlay}").values(), *rendered.values()):
            said = json.dumps(each.get("spec", {})).replace("--grpc_socket_path=/tmp/grpc", "")
            assert not re.search("grpc|8500", said)


def test_the_gateways_probes_ask_for_what_its_configuration_has(pod, rendered):
    """A liveness probe on a path that is not there would end the gateway, and with it the pod's traffic, for ever."""
    [gateway] = [each for each in pod["containers"] if each["name"] == "gateway"]
    text = config(rendered, "nginx.conf")
    servers = dict(re.findall(r"\n  server \{\n    listen (\d+)[^;]*;(.*?)\n  \}", text, re.DOTALL))
    ports = {port["name"]: str(port["containerPort"]) for port in gateway["ports"]}
    assert set(ports.values()) == set(servers)
    assert gateway["readinessProbe"]["tcpSocket"]["port"] == "rest", "clients come here"
    alive = gateway["livenessProbe"]["httpGet"]
    assert alive["port"] == "inside"
    assert f"location = {alive['path']} {{ js_content " in servers[ports[alive["port"]]]
    started = config(rendered, "start.sh")
    for port in servers:  # IPv6, too
        assert f"listen [::]:{port}" in started


def test_the_servers_probes_and_the_gateway_ask_at_the_port_that_the_server_is_told(pod, container, rendered):
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    told = int(next(a for a in container["args"] if a.startswith("--rest_api_port=")).partition("=")[2])
    for probe in ("startupProbe", "readinessProbe"):
        assert ports[container[probe]["httpGet"]["port"]] == told
    assert ports[container["livenessProbe"]["tcpSocket"]["port"]] == told, (
        "not the gateway's: it lives without the server"
    )
    assert f"server 127.0.0.1:{told};" in config(rendered, "nginx.conf")
    names = [port["name"] for each in pod["containers"] for port in each["ports"]]
    assert len(names) == len(set(names)), "or a name would mean another container's port"


def test_the_serving_image_is_not_older_than_the_trainer():
    serving = pods.images()["serving"].rpartition(":")[2]
    trainer = importlib.metadata.version("tensorflow")
    assert tuple(map(int, trainer.split(".")[:2])) <= tuple(map(int, serving.split(".")[:2]))
