"""The loop on a cluster: what real requests left at the gateways, late labels, and one build that is asked for."""

import json
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from ci import configuration
from ci.data.reference import describe, describe_predictions
from ci.run import images as ours
from ci.run import local_registry
from ci.task import Field
from tests import pods
from tests.ci.jenkins.double import TOKEN, Controller, serving
from tests.ci.jenkins.test_client import PARAMETERS
from tests.cluster import images
from tests.cluster.drills import harness
from tests.cluster.tools import PIPELINE, SERVING, attempt, forget_rollouts, kubectl, until
from tests.k8s.test_gateway import free_port
from tests.repositories import AUTHOR

pytestmark = pytest.mark.cluster

MODEL = """KIND, TARGET, TIME, SLICES, FEATURES = "regression", "y", None, [], {"x": "float32"}\n"""
REQUESTS = 240
VOLUME = "/var/lib/dvc-remote"


@pytest.fixture(scope="module")
def image(operated: str) -> str:
    """The image `tools`, as pods name it."""
    local_registry.start(print)
    images.kubectl()
    listed = subprocess.run(["kind", "get", "nodes", "--name", operated], check=True, capture_output=True, text=True)
    local_registry.connect(listed.stdout.split(), f"kind-{operated}")
    found = ours.ready(("tools",), print)["tools"]
    return found.replace(local_registry.HOST, local_registry.INSIDE, 1)


def reference() -> dict[str, Any]:
    """What the model learned from: x from 0 to 1."""
    x = pd.Series([number / 500 for number in range(500)])
    features = describe(pd.DataFrame({"x": x}), {"x": Field("float32")})
    return {"features": features, "predictions": {"prediction": describe_predictions(x + 1.0)}}


@contextmanager
def repository(settings: str, folder: Path, host: str) -> Iterator[str]:
    """Serve this repository with a small task by Git, and give its address."""
    for part in ("ci", "scripts", "k8s", "dvc.yaml", "requirements.txt"):
        copy = shutil.copytree if (pods.REPOSITORY / part).is_dir() else shutil.copy
        copy(pods.REPOSITORY / part, folder / part)
    (folder / "model").mkdir()
    (folder / "model/__init__.py").write_text(MODEL)
    (folder / "pipeline.yaml").write_text(settings)
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "one"]):
        subprocess.run(["git", *AUTHOR, *words], cwd=folder, check=True)
    port = free_port()
    command = ["git", "daemon", "--export-all", f"--base-path={folder}", f"--port={port}", "--reuseaddr", str(folder)]
    process = subprocess.Popen(command)
    try:
        yield f"git://{host}:{port}/"
    finally:
        process.terminate()
        process.wait()


def applied(folder: Path, image: str, node: str, values: dict[str, str]) -> None:
    """Apply the component as an overlay that names it does, with a volume, and to run when it is told."""
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    objects = [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": claim,
         "metadata": {"name": "dvc-remote", "namespace": PIPELINE}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "monitor", "namespace": PIPELINE},
         "stringData": {"JENKINS_USER": "robot", "JENKINS_TOKEN": TOKEN}},
    ]  # fmt: skip
    (folder / "own.yaml").write_text(yaml.safe_dump_all(objects))
    shutil.copytree(pods.REPOSITORY / "k8s/components/monitoring", folder / "monitoring")
    name, _, digest = image.partition("@")
    there = {"nodeSelector": {"kubernetes.io/hostname": node}}
    template = {"spec": {"suspend": True, "jobTemplate": {"spec": {"template": {"spec": there}}}}}
    head = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "monitor", "namespace": PIPELINE}}
    map_ = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "monitor", "namespace": PIPELINE}}
    patches = [{"patch": yaml.safe_dump({**head, **template})}, {"patch": yaml.safe_dump({**map_, "data": values})}]
    tools = pods.images()["tools"].rpartition(":")[0]
    root = {"resources": ["own.yaml"], "components": ["monitoring"], "patches": patches}
    root["images"] = [{"name": tools, "newName": name.rpartition(":")[0], "digest": digest}]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(root))
    kubectl("apply", "--server-side", "-k", folder)


def address() -> str:
    """This machine, as pods reach it: the address of a node."""
    nodes = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    return next(each["address"] for each in nodes[0]["status"]["addresses"] if each["type"] == "InternalIP")


@pytest.fixture(scope="module")
def loop(operated: str, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """A model that serves, and beside it the CronJob that watches it and a double of Jenkins."""
    forget_rollouts()
    controller, folder = Controller(), tmp_path_factory.mktemp("monitoring")
    branch = {"name": "main", "displayName": "main", "url": f"{controller.public}/job/model-pipeline/job/main/"}
    controller.job("/job/model-pipeline/", branches=[branch])
    controller.job("/job/model-pipeline/job/main/", PARAMETERS)
    with ExitStack() as stack:
        url = stack.enter_context(serving(controller, host="0.0.0.0"))  # noqa: S104 - pods reach it
        fork = stack.enter_context(harness.fork(operated, tmp_path_factory.mktemp("fork")))
        monitoring = fork.settings.monitoring.model_copy(update={"capture_every": 1, "min_rows": 100})
        jenkins = fork.settings.jenkins.model_copy(update={"url": url.replace("127.0.0.1", address())})
        labels = fork.settings.labels.model_copy(update={"outcomes": f"{VOLUME}/outcomes", "maturity_days": 0})
        gates = fork.settings.gates.model_copy(update={"primary": "rmse", "limits": {}})
        changed = {"monitoring": monitoring, "jenkins": jenkins, "labels": labels, "gates": gates}
        fork.settings = fork.settings.model_copy(update=changed)
        (folder / "code").mkdir()
        text = configuration.dump(fork.settings)
        code = stack.enter_context(repository(text, folder / "code", address()))
        (folder / "applied").mkdir()
        applied(folder / "applied", image, f"{operated}-worker", {"REPOSITORY": code, "BRANCH": "main"})
        helper(image, f"{operated}-worker")  # its node pulls the image while the model is deployed
        fork.package({"bias": 1.0}, learned=reference())
        try:
            assert fork.run("deploy").code == 0
            yield controller
        finally:
            kubectl("delete", "pod", "volume", "-n", PIPELINE, "--now")
            kubectl("delete", "-k", folder / "applied", "--wait=false")
            kubectl("delete", "deployments", "--all", "-n", SERVING)


def asked(numbers: range) -> None:
    """Ask what the model has seldom seen, each request by a name of its own, through the gateways of all pods."""
    drawn, url = random.Random(1), harness.url()
    for number in numbers:  # each on a new connection, so that each pod gets its share
        body = {"instances": [{"x": drawn.uniform(0.8, 1.0)}]}
        answer = requests.post(url, json=body, headers={"X-Request-Id": f"r{number}"}, timeout=10)
        assert answer.status_code == 200
        assert answer.headers["X-Request-Id"] == f"r{number}"


def volume(command: str, given: str | None = None) -> str:
    """Run a command where the volume is."""
    return kubectl("exec", "-i", "-n", PIPELINE, "volume", "--", "sh", "-euc", command, given=given)


def helper(image: str, node: str) -> None:
    """Make a pod that may write on the volume: who delivers outcomes, and who looks at what is remembered."""
    secured = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    mount = {"name": "v", "mountPath": VOLUME}
    container = {"name": "a", "image": image, "command": ["sleep", "900"], "securityContext": secured}
    as_user = {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000}
    spec = {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False,
        "nodeSelector": {"kubernetes.io/hostname": node}, "containers": [{**container, "volumeMounts": [mount]}],
        "securityContext": {**as_user, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "dvc-remote"}}],
    }  # fmt: skip
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "volume", "namespace": PIPELINE}, "spec": spec}
    kubectl("delete", "pod", "volume", "-n", PIPELINE, "--ignore-not-found", "--now")
    kubectl("apply", "-f", "-", given=json.dumps(pod))


def looked(name: str) -> tuple[str, float]:
    """Let the CronJob run once, and return what it said and how long it took; seconds."""
    begun = time.monotonic()
    kubectl("create", "job", name, "--from=cronjob/monitor", "-n", PIPELINE)

    def ended() -> Any:
        status = json.loads(kubectl("get", "job", name, "-n", PIPELINE, "-o", "json"))["status"]
        return [each["type"] for each in status.get("conditions", ()) if each["status"] == "True"]

    def told() -> str:
        pods_ = attempt("describe", "pods", "-n", PIPELINE, "-l", f"job-name={name}").stdout[-3000:]
        return attempt("logs", f"job/{name}", "-n", PIPELINE, "--all-containers").stdout + pods_

    how = until(told, ended, 150)
    seconds = time.monotonic() - begun
    said = kubectl("logs", f"job/{name}", "-n", PIPELINE, "--all-containers")
    print(said)
    assert "Complete" in how, told()
    return said, seconds


def metrics() -> dict[tuple[str, ...], float]:
    """What Prometheus would read."""
    [name] = kubectl("get", "pods", "-n", PIPELINE, "-l", "app.kubernetes.io/component=monitor-metrics", "-o",
                     "jsonpath={.items[*].metadata.name}").split()  # fmt: skip
    text = kubectl("get", "--raw", f"/api/v1/namespaces/{PIPELINE}/pods/{name}:9100/proxy/metrics")
    return {
        (sample.name, *(value for key, value in sorted(sample.labels.items()) if key != "model")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_from_real_requests_and_late_labels_to_one_build(loop: Controller) -> None:
    kubectl("wait", "pod/volume", "-n", PIPELINE, "--for=condition=Ready", "--timeout=180s")
    lines = ["request_id,y,known_at", *(f"r{number},1.5,2026-01-01T00:00:00Z" for number in range(0, REQUESTS, 2))]
    volume(f"mkdir -p {VOLUME}/outcomes && cat > {VOLUME}/outcomes/one.csv", "\n".join(lines) + "\n")
    asked(range(REQUESTS))
    said, seconds = looked("first")
    print(f"capture to verdict on the cluster: {seconds:.1f} s, with the decision, the build and the metrics")
    assert seconds <= 60
    assert f"captured requests: {REQUESTS} read" in said
    assert "monitor: drifted: the predictions are drifted" in said
    assert f"{REQUESTS // 2} joined, 0 never, {REQUESTS // 2} waiting" in said
    assert "retrain because the predictions drifted" in said
    assert loop.started() == 1
    [item] = loop.items.values()
    assert item["values"]["REQUEST"].startswith("retrain-")
    told = metrics()
    assert (told["model_monitor_verdict", "drifted"], told["model_monitor_window_rows",]) == (1, REQUESTS)
    assert told["model_labels", "joined"] == REQUESTS // 2
    assert told["model_retraining_attempts",] == 1

    asked(range(REQUESTS, REQUESTS + 20))  # a pod starts empty, and what is remembered is not in it
    said, _ = looked("second")
    assert f"{REQUESTS + 20} requests" in said
    assert "not now because" in said
    assert loop.started() == 1
    assert metrics()["model_retraining_wanted", "same data", "predictions"] == 0
    kept = volume(f"ls {VOLUME}/history {VOLUME}/history/requests")
    assert {"watched.jsonl", "looks.jsonl", "retrainings.jsonl", "labels.json", "metrics.prom"} <= set(kept.split())


def test_whoever_watches_can_do_nothing_else(loop: Controller) -> None:
    account = f"--as=system:serviceaccount:{PIPELINE}:monitor"
    for words, answer in (
        ("list endpointslices.discovery.k8s.io", "yes"),
        ("get configmaps", "yes"),
        ("list configmaps", "no"),
        ("get secrets", "no"),
        ("list pods", "no"),
        ("get pods/portforward", "no"),
        ("update configmaps/rollout-history", "no"),
    ):
        verb, resource = words.split()
        assert attempt("auth", "can-i", verb, resource, "-n", SERVING, account).stdout.strip() == answer, words
        assert attempt("auth", "can-i", verb, resource, "-n", PIPELINE, account).stdout.strip() == "no", words
