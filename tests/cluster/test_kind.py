"""The cluster that `make cluster` makes: its own registry, images by content, a volume that every node has."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import requests

from ci.run import images as ours
from ci.run import local_registry
from tests.cluster import images
from tests.cluster.tools import PIPELINE, kubectl, until
from tests.pods import REPOSITORY

pytestmark = [pytest.mark.cluster, pytest.mark.own_cluster, pytest.mark.long]
NAME = "made-here"
Run = Callable[..., list[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run `scripts.cluster` for a cluster of its own; returns what it said. In the end nothing of it is left."""
    images.kubectl()
    images.build_gateway()
    home = tmp_path_factory.mktemp("a home")

    def command(action: str, *arguments: str) -> list[str]:
        words = [sys.executable, "-m", "scripts.cluster", action, "--name", NAME, *arguments]
        done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KUBECONFIG", str(home / "kubeconfig"))
        environment.setenv("XDG_CACHE_HOME", str(home))
        try:
            yield command
        finally:
            command("delete")


@pytest.fixture(scope="module")
def made(run: Run) -> list[str]:
    """What was said while the cluster was made, the seconds first."""
    begun = time.monotonic()
    said = run("create", "--set", "serving.port=18502")
    return [f"{time.monotonic() - begun:.0f} s", *said]


def test_pods_run_our_images_reach_the_registry_and_share_a_volume_across_nodes(made):
    references = ours.ready(ours.AGENTS, print)
    code = (
        "import urllib.request as r, dvc.cli, kubernetes, highspy, pathlib, os;"
        "print(r.urlopen('http://kind-registry:5000/v2/_catalog').read().decode());"
        "shared = pathlib.Path('/var/lib/dvc-remote/seen'); before = shared.exists(); shared.touch();"
        "print(before, os.getuid())"
    )
    said = []
    for number in ("", "2"):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"probe{number}", "namespace": PIPELINE},
            "spec": probe(references["tools"], code, f"{NAME}-worker{number}"),
        }
        kubectl("apply", "-f", "-", given=json.dumps(pod))
        state = ("get", "pod", f"probe{number}", "-n", PIPELINE, "-o", "jsonpath={.status.phase}")
        until(lambda s=state: kubectl(*s), lambda s=state: kubectl(*s) in ("Succeeded", "Failed"), 240)
        said.append(kubectl("logs", f"probe{number}", "-n", PIPELINE))
    assert all('"model-pipeline/tools"' in each and '"library/nginx"' in each for each in said), said
    assert [each.split("\n")[-2] for each in said] == ["False 1000", "True 1000"]


def probe(image: str, code: str, node: str) -> dict:
    """The specification of a pod as agents have it, that runs Python on one node."""
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "nodeSelector": {"kubernetes.io/hostname": node},
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "probe",
                "image": image,
                "command": ["python", "-c", code],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "remote", "mountPath": "/var/lib/dvc-remote"}],
            }
        ],
        "volumes": [{"name": "remote", "persistentVolumeClaim": {"claimName": "dvc-remote"}}],
    }


def test_a_registry_that_lost_everything_is_filled_again(made, run):
    subprocess.run(["docker", "rm", "-f", local_registry.NAME], check=True, capture_output=True)
    said = run("create", "--set", "serving.port=18502")
    assert any(line.startswith("images: localhost:5001/model-pipeline/tools:") and "pushed" in line for line in said)
    assert requests.get(f"http://{local_registry.HOST}/v2/_catalog", timeout=10).status_code == 200


def test_deleting_leaves_nothing_running(made, run):
    said = run("delete")
    assert f"cluster: registry {local_registry.NAME} removed, and the images in it" in said
    listed = subprocess.run(["kind", "get", "clusters"], check=True, capture_output=True, text=True).stdout
    assert NAME not in listed.split()
    assert not local_registry.running()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{local_registry.HOST}/v2/", timeout=5)
