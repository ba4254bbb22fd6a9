"""What a rollout applies: the shipped manifests with one version in them, and the server that the settings name."""

import subprocess
from pathlib import Path

import pytest
import yaml

from ci import configuration
from ci.errors import InputError
from ci.rollout.cluster import manifests
from ci.settings.cluster import Serving
from tests import pods
from tests.programs import needed

IMAGE = "registry.example/models/demo@sha256:" + "ab" * 32


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """The shipped settings, in a folder that has the shipped manifests."""
    needed("kubectl", "https://kubernetes.io/docs/tasks/tools/ (1.30 or newer)")
    monkeypatch.chdir(tmp_path)
    Path("k8s").symlink_to(pods.REPOSITORY / "k8s")
    return configuration.read(pods.REPOSITORY / "tests/pipeline.yaml")


def serving(settings, **changes):
    return settings.model_copy(update={"serving": settings.serving.model_copy(update=changes)})


def containers(objects):
    found = [each["spec"]["template"]["spec"]["containers"] for each in objects if each["kind"] == "Deployment"]
    assert len(found) == 2
    return [container for both in found for container in both if container["name"] == manifests.CONTAINER]


def test_a_version_is_in_the_pods_of_both_deployments_and_nowhere_else(settings):
    objects, before = manifests.render(settings), manifests.render(settings)
    manifests.put(objects, settings, "2013040112345", IMAGE)
    for container in containers(objects):
        assert container["image"] == IMAGE
        values = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert (values["MODEL_NAME"], values["MODEL_VERSION"]) == ("demo", "2013040112345")
        for probe in ("startupProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["path"] == "/v1/models/demo/versions/2013040112345/metadata"
        for kind in ("requests", "limits"):
            assert container["resources"][kind]["memory"] == settings.resources.serving.memory
    for each in (*objects, *before):
        if each["kind"] == "Deployment":
            del each["spec"]["template"]
    assert objects == before


def test_the_gateway_knows_what_it_serves_and_what_it_may_not_write(settings):
    changed = settings.monitoring.model_copy(update={"drop": ["name", "phone"], "capture_every": 3})
    settings = settings.model_copy(update={"monitoring": changed})
    objects = manifests.render(settings)
    manifests.put(objects, settings, "7", IMAGE)
    pods = [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"]
    for pod in pods:
        [gateway] = [found for found in pod["containers"] if found["name"] == manifests.GATEWAY]
        values = {variable["name"]: variable["value"] for variable in gateway["env"]}
        told = {"MODEL_VERSION": "7", "RELEASE": IMAGE, "CAPTURE_EVERY": "3", "CAPTURE_DROP": "name,phone"}
        assert values == told


@pytest.mark.parametrize("server", ["stand-in", "tensorflow-serving"])
def test_a_cache_lies_in_memory_that_the_gateway_asks_for(settings, server):
    without, cached = (serving(settings, server=server, cache_mib=mib) for mib in (None, 48))
    for each in (without, cached):
        objects = manifests.render(each)
        manifests.put(objects, each, "7", IMAGE)
        for pod in (found["spec"]["template"]["spec"] for found in objects if found["kind"] == "Deployment"):
            [gateway] = [found for found in pod["containers"] if found["name"] == manifests.GATEWAY]
            volumes = {volume["name"]: volume for volume in pod["volumes"]}
            mounted = {mount["name"]: mount["mountPath"] for mount in gateway["volumeMounts"]}
            memory = {gateway["resources"][kind]["memory"] for kind in ("requests", "limits")}
            values = {variable["name"]: variable["value"] for variable in gateway["env"]}
            if each is without:
                assert ("answers" in volumes, memory, values.get("CACHE_MIB")) == (False, {"64Mi"}, None)
            else:
                assert volumes["answers"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "96Mi"}
                assert (mounted["answers"], memory, values["CACHE_MIB"]) == ("/var/cache/gateway", {"112Mi"}, "48")
    [stable, _], _ = manifests.applied(cached)
    containers = {found["name"]: found for found in stable["spec"]["template"]["spec"]["containers"]}
    assert containers[manifests.GATEWAY]["resources"]["requests"]["memory"] == "112Mi", "so placement counts it"


def test_only_the_stand_in_is_told_how_long_a_batch_may_take(settings):
    for server, wanted in (("stand-in", ["--batch_target=0.02"]), ("tensorflow-serving", [])):
        found = serving(settings, server=server, batch_target=0.02)
        objects = manifests.render(found)
        manifests.put(objects, found, "7", IMAGE)
        for container in containers(objects):
            assert [each for each in container["args"] if each.startswith("--batch_target")] == wanted


def test_the_plans_advice_becomes_fields_of_the_pods(settings):
    """Beside what `k8s/` has: a spread over zones stays, one over nodes gives way to the plan's."""
    objects = manifests.render(serving(settings, overlay="production"))
    key = "kubernetes.io/hostname"
    terms = [{"weight": 100, "preference": {"matchExpressions": [{"key": key, "operator": "In", "values": ["a"]}]}}]
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}
    spread = {"maxSkew": 2, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    advice = {"affinity": affinity, "topologySpreadConstraints": [spread]}
    manifests.put(objects, settings, "1", IMAGE, advice)
    for each in (found for found in objects if found["kind"] == "Deployment"):
        pod = each["spec"]["template"]["spec"]
        assert pod["affinity"] == affinity
        zones, nodes = pod["topologySpreadConstraints"]
        assert (zones["topologyKey"], nodes) == ("topology.kubernetes.io/zone", spread)


def test_the_stand_in_takes_the_place_of_tensorflow_serving_and_nothing_else_changes(settings):
    real = manifests.render(serving(settings, server="tensorflow-serving"))
    standin = manifests.render(serving(settings, server="stand-in"))
    for ours, theirs in zip(containers(standin), containers(real), strict=True):
        assert theirs.pop("command") == ["/usr/bin/tensorflow_model_server"]
        assert ours.pop("command") == ["python", "-m", "ci.serving.standin"]
        assert ours.pop("args") != theirs.pop("args")
    assert standin == real


def test_the_stand_in_understands_the_arguments_that_it_is_given(settings):
    from ci.serving import standin

    [arguments, again] = [each["args"] for each in containers(manifests.render(serving(settings, server="stand-in")))]
    assert arguments == again
    options = standin.arguments([argument.replace("$(CPU_LIMIT)", "1") for argument in arguments])
    assert options.rest_api_port == settings.serving.port


def test_the_stand_in_listens_on_both_families_of_addresses_in_a_pod_and_on_the_loopback_elsewhere(settings):
    from ci.serving import standin

    [arguments, _] = [each["args"] for each in containers(manifests.render(serving(settings, server="stand-in")))]
    assert standin.arguments([argument.replace("$(CPU_LIMIT)", "1") for argument in arguments]).host == "::"
    assert standin.arguments(["--model_name=m", "--model_base_path=/m"]).host == "127.0.0.1"


def test_grpc_is_opened_by_a_setting_at_the_server_and_the_service(settings):
    closed, opened = (manifests.render(serving(settings, grpc=grpc)) for grpc in (False, True))
    for here, there in zip(containers(closed), containers(opened), strict=True):
        assert "--port=0" in here["args"]
        assert there["args"] == ["--port=8500" if each == "--port=0" else each for each in here["args"]]
        assert there["ports"] == [*here["ports"], {"name": "grpc", "containerPort": 8500}]
    [before, after] = [next(o["spec"]["ports"] for o in both if o["kind"] == "Service") for both in (closed, opened)]
    assert after == [*before, {"name": "grpc", "port": 8500, "targetPort": "grpc"}]


def test_operators_let_clients_reach_grpc_by_a_component(settings):
    Path("operators").mkdir()
    root = {"resources": ["../k8s/overlays/production"], "components": ["../k8s/components/grpc-clients"]}
    (Path("operators") / "kustomization.yaml").write_text(yaml.safe_dump(root))
    command = ["kubectl", "kustomize", "--load-restrictor=LoadRestrictionsNone", "operators"]
    found = {
        (each["kind"], each["metadata"]["name"]): each["spec"]
        for each in yaml.safe_load_all(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        if "spec" in each
    }
    assert found["NetworkPolicy", "clients"]["ingress"][0]["ports"] == [{"port": "rest"}, {"port": "grpc"}]
    assert [port["name"] for port in found["Service", "model-canary"]["ports"]] == ["rest", "grpc"]


def test_the_stand_in_has_no_grpc():
    with pytest.raises(ValueError, match="the stand-in answers REST only"):
        Serving(server="stand-in", grpc=True)


def test_every_overlay_can_be_named(settings):
    kinds = {each["kind"] for each in manifests.render(serving(settings, overlay="production"))}
    assert kinds == {"ConfigMap", "Deployment", "Service", "HorizontalPodAutoscaler"}


@pytest.mark.parametrize("overlay", ["kind", "production"])
@pytest.mark.parametrize("replicas", [1, 2, 3, 5, 40])
def test_what_is_applied_agrees_with_the_replicas_of_the_settings(settings, overlay, replicas):
    """What the operator applies, and what a rollout does: one autoscaler, and a budget that lets nodes be drained."""
    rolled = manifests.render(serving(settings, overlay=overlay, replicas=replicas))
    command = ["kubectl", "kustomize", f"k8s/overlays/{overlay}"]
    operated = yaml.safe_load_all(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    found = [each for each in (*rolled, *operated) if each["kind"].startswith(("HorizontalPod", "PodDisruption"))]
    scaler, budget = sorted(found, key=lambda each: each["kind"])
    assert scaler["spec"]["minReplicas"] == replicas
    assert scaler["spec"]["maxReplicas"] == max(replicas, {"kind": 1, "production": 12}[overlay])
    assert (budget["spec"]["maxUnavailable"], "minAvailable" in budget["spec"]) == (1, False)
    assert scaler["metadata"]["namespace"] == budget["metadata"]["namespace"] == manifests.namespace(rolled)
    assert not [each for each in rolled if manifests.key(each) == manifests.STABLE and "replicas" in each["spec"]]


def test_an_overlay_that_is_not_there_and_a_missing_kubectl_are_bad_input(settings, monkeypatch):
    with pytest.raises(InputError, match=r"serving\.overlay: k8s/overlays/nowhere/server has no kustomization\.yaml"):
        manifests.render(serving(settings, overlay="nowhere"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="kubectl is not on the PATH"):
        manifests.render(settings)


def test_what_kustomize_says_is_passed_on(settings):
    Path("k8s").unlink()
    broken = Path("k8s/overlays/kind/server")
    broken.mkdir(parents=True)
    (broken / "kustomization.yaml").write_text("resources: [nothing.yaml]\n")
    with pytest.raises(InputError, match=r"k8s/overlays/kind/server cannot be rendered.*nothing\.yaml"):
        manifests.render(settings)
