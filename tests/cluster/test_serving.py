"""Pods of the stand-in server under Pod Security `restricted`, applied by the deployer with its own rights."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import yaml

from ci import configuration
from ci.rollout.cluster import manifests
from tests import pods, saved_models
from tests.cluster import images
from tests.cluster.tools import SERVING, attempt, kubectl, until

pytestmark = pytest.mark.cluster

VERSION = "7"
APPLY = ("apply", "--server-side", "--field-manager=deployer", "-f", "-")
ROW = {"x": 1.0, "carrier": "UA", "hour": 3}
PREDICTED = 0.1 + 0.5 + 3 + 2
"""What the model of `saved_models` says of that row."""


@pytest.fixture(scope="module")
def rendered(operated, tmp_path_factory) -> dict[str, dict[str, Any]]:
    """What a rollout applies, by name, with a model that the nodes have."""
    folder = tmp_path_factory.mktemp("images")
    model = saved_models.save(folder / "saved_model")
    reference = images.load(operated, folder, images.base(folder), model, "demo", VERSION)
    images.gateway(operated)
    small = "resources.serving={cpu: 500m, memory: 1Gi}"  # so that two replicas fit on a node of two cores
    settings = configuration.read(pods.REPOSITORY / "tests/pipeline.yaml", ["serving.server=stand-in", small])
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        (folder / "k8s").symlink_to(pods.REPOSITORY / "k8s")
        objects = manifests.render(settings)
    manifests.put(objects, settings, VERSION, reference)
    return {manifests.key(each).split("-" if each["kind"] == "ConfigMap" else None)[0]: each for each in objects}


@pytest.fixture(scope="module")
def stable(rendered) -> Iterator[str]:
    """The stable Deployment, with all the replicas that the autoscaler wants ready; the name of one pod."""
    for name in ("serving", "gateway"):
        attempt("create", "-f", "-", given=yaml.safe_dump(rendered[name]), account="deployer")  # may be there already
    for name in (manifests.AUTOSCALER, manifests.SERVICE, manifests.STABLE):
        kubectl(*APPLY, given=yaml.safe_dump(rendered[name]), account="deployer")
    try:
        until(lambda: state(manifests.STABLE), lambda: ready(manifests.STABLE) == 3, 300)
        yield names("track=stable")[0]
    finally:
        kubectl("delete", "deployments", "--all", "-n", SERVING)


def ready(name: str) -> int:
    status = json.loads(kubectl("get", "deployment", name, "-n", SERVING, "-o", "json"))["status"]
    return int(status.get("readyReplicas", 0))


def state(name: str) -> str:
    listed = kubectl("get", "pods", "-n", SERVING, "-o", "wide")
    return f"{name} has all its replicas ready:\n{listed}\n{attempt('get', 'events', '-n', SERVING).stdout[-3000:]}"


def names(selector: str) -> list[str]:
    found = json.loads(kubectl("get", "pods", "-n", SERVING, "-l", selector, "-o", "json"))["items"]
    return [each["metadata"]["name"] for each in found if "deletionTimestamp" not in each["metadata"]]


def endpoints(service: str) -> set[str]:
    """Return the pods that a Service leads to."""
    selector = f"kubernetes.io/service-name={service}"
    slices = json.loads(kubectl("get", "endpointslices", "-n", SERVING, "-l", selector, "-o", "json"))["items"]
    found = [each for part in slices for each in part.get("endpoints") or []]
    return {each["targetRef"]["name"] for each in found if each["conditions"]["ready"]}


@contextmanager
def forwarded(pod: str) -> Iterator[str]:
    """Yield the URL of one pod, reached as the deployer reaches it."""
    command = ["kubectl", "--as=system:serviceaccount:model-pipeline:deployer", "port-forward", "-n", SERVING]
    process = subprocess.Popen([*command, f"pod/{pod}", ":8501"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert port, line
        yield f"http://127.0.0.1:{port[1]}"
    finally:
        process.terminate()
        process.wait()


def test_a_pod_under_restricted_answers_as_tensorflow_serving_does(stable):
    with forwarded(stable) as url:
        status = requests.get(f"{url}/v1/models/demo", timeout=30).json()["model_version_status"]
        assert [(each["version"], each["state"]) for each in status] == [(VERSION, "AVAILABLE")]
        for body, key in (
            ({"instances": [ROW]}, "predictions"),
            ({"inputs": {k: [v] for k, v in ROW.items()}}, "outputs"),
        ):
            answer = requests.post(f"{url}/v1/models/demo:predict", json=body, timeout=30)
            assert answer.status_code == 200
            assert answer.json()[key] == pytest.approx([PREDICTED])
        metrics = requests.get(f"{url}/monitoring/prometheus/metrics", timeout=30).text
        assert ':tensorflow:serving:request_count{model_name="demo",status="OK"}' in metrics


def test_the_pod_is_neither_root_nor_able_to_write_its_root(stable):
    inside = "import os; print(os.getuid(), os.access('/srv', os.W_OK), os.path.exists('/var/run/secrets'))"
    assert kubectl("exec", stable, "-n", SERVING, "--", "python", "-c", inside).split() == ["1000", "False", "False"]


def test_the_autoscaler_alone_sets_the_replicas(stable, rendered):
    kubectl(*APPLY, given=yaml.safe_dump(rendered[manifests.STABLE]), account="deployer")
    found = json.loads(
        kubectl("get", "deployment", manifests.STABLE, "-n", SERVING, "-o", "json", "--show-managed-fields")
    )
    assert found["spec"]["replicas"] == 3
    owners = [
        each["manager"]
        for each in found["metadata"]["managedFields"]
        if "f:replicas" in each["fieldsV1"].get("f:spec", {})
    ]
    assert "deployer" not in owners


def test_applying_the_same_version_again_makes_no_revision(stable, rendered):
    def revisions():
        return kubectl("rollout", "history", f"deployment/{manifests.STABLE}", "-n", SERVING)

    before = revisions()
    kubectl(*APPLY, given=yaml.safe_dump(rendered[manifests.STABLE]), account="deployer")
    kubectl("rollout", "status", f"deployment/{manifests.STABLE}", "-n", SERVING, "--timeout=60s")
    assert revisions() == before


@pytest.mark.parametrize(
    ("account", "command"),
    [
        ("deployer", "scale deployment model-stable --replicas=9"),
        ("deployer", "delete deployment model-stable"),
        ("deployer", "delete pod POD"),
        ("deployer", "exec POD -- id"),
        ("pipeline", "patch deployment model-stable --type=merge -p {}"),
        ("pipeline", "logs POD"),
        ("monitor", "port-forward POD :8501"),
    ],
)
def test_what_is_denied_is_refused_on_what_is_really_there(stable, account, command):
    done = attempt("-n", SERVING, *command.replace("POD", stable).split(), account=account)
    assert done.returncode != 0
    assert "forbidden" in done.stderr.lower(), done.stderr


def test_a_canary_takes_no_traffic_until_the_service_lets_it_and_is_gone_when_deleted(stable, rendered):
    kubectl(*APPLY, given=yaml.safe_dump(rendered[manifests.CANARY]), account="deployer")
    until(lambda: state(manifests.CANARY), lambda: ready(manifests.CANARY) == 1, 180)
    [canary] = names("track=canary")
    until(lambda: "the canary is an endpoint", lambda: endpoints("model-canary") == {canary}, 30)
    assert endpoints("model") == set(names("track=stable"))

    open_to_all = json.loads(json.dumps(rendered[manifests.SERVICE]))
    del open_to_all["spec"]["selector"]["track"]
    kubectl(*APPLY, given=yaml.safe_dump(open_to_all), account="deployer")
    until(lambda: "the canary takes traffic", lambda: endpoints("model") == {canary, *names("track=stable")}, 30)
    path = f"/api/v1/namespaces/{SERVING}/services/model:rest/proxy/v1/models/demo"
    assert json.loads(kubectl("get", "--raw", path))["model_version_status"][0]["state"] == "AVAILABLE"

    kubectl(*APPLY, given=yaml.safe_dump(rendered[manifests.SERVICE]), account="deployer")
    until(lambda: "the canary is out", lambda: canary not in endpoints("model"), 30)
    kubectl("delete", "deployment", manifests.CANARY, "-n", SERVING, account="deployer")
    until(lambda: "the canary is gone", lambda: not names("track=canary"), 60)
    assert endpoints("model-canary") == set()
