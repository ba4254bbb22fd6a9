"""A fork whose agents and models live on one cluster, set up as docs/jenkins.md says, with little to train."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ci import workspace
from ci.pods import templates
from ci.run import local_registry
from tests import pods
from tests.cluster.tools import kubectl

INSIDE = local_registry.INSIDE
AGENTS = {"model-pipeline/training": "true"}
"""Label of the nodes that run agents, as tests/cluster/kind.yaml has it."""
CONTROLLER = "jenkins"
"""The namespace and the ServiceAccount of the controller, as ci/jenkins/rbac.yaml names them."""
BUDGET = {
    "tuning.max_trials": "1",
    "tuning.epochs": "1",
    "training.epochs": "1",
    "data.training_days": "40",
    "model.name": "demo",
    "gates.resamples": "200",
    "gates.confidence": "0.6",
    "gates.slice_margin": "1.0",
    "gates.limits": "{auc: {min: 0.5}, log_loss: {max: 2.0}}",
    "serving.replicas": "2",
    "serving.server": "stand-in",
    "serving.context": '"-"',
    "packaging.repository": f"{INSIDE}/models",
    "packaging.plain_http": f"[{INSIDE}]",
    "history.folder": "/var/lib/dvc-remote/history",
    "resources.training": "{cpu: 1, memory: 4Gi}",
    "resources.serving": "{cpu: 600m, memory: 1Gi}",
    "resources.gateway": "{cpu: 50m, memory: 64Mi}",
    "rollout.startup_timeout": "300.0",
    "rollout.analysis": json.dumps(
        {
            "window": 5.0,
            "timeout": 240.0,
            "confidence": 0.9,
            "error_margin": 0.05,
            "min_predictions": 100,
            "latency_ratio": 50.0,
            "latency_margin": 1.0,
            "max_psi": 10.0,
        }
    ),
}
"""What the fork sets in pipeline.yaml: small trainings, a small cluster, and a canary that is watched for seconds."""


def run(*command: Any, **options: Any) -> str:
    """Run a program and return its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def repository(folder: Path, ready: Mapping[str, str]) -> Path:
    """Make the fork's repository: this one as it is now, with the changes that docs/jenkins.md asks for.

    Args:
        folder: for its checkout and the bare repository that agents clone.
        ready: what pods call our images, by name.
    """
    checkout = folder / "fork"
    listed = run("git", "-C", pods.REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    for name in filter(None, listed.split("\0")):
        source = pods.REPOSITORY / name
        if source.is_file() and not name.startswith(("tests/", "docs/", "benchmarks/")):
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, checkout / name)
    ours = pods.images()
    for path in checkout.glob("ci/agents/*.yaml"):
        text = path.read_text()
        for name, reference in ready.items():
            text = text.replace(f"image: {ours[name]}\n", f"image: {reference}\n")
        if ready and "\nkind: Pod\n" in text:
            text = text.replace("\nspec:\n", f"\nspec:\n  nodeSelector: {json.dumps(AGENTS)}\n", 1)
        path.write_text(text)
    settings(checkout, {**BUDGET, "packaging.base": ready.get("stand-in", "null")})
    bare = folder / "demo.git"
    run("git", "init", "-q", "--bare", "-b", "main", bare)
    run("git", "init", "-q", "-b", "main", checkout)
    commit(checkout, "The fork", remote=bare)
    return checkout


def commit(checkout: Path, message: str, remote: Path | None = None) -> str:
    """Commit everything, push it, and return the commit."""
    git = ("git", "-C", checkout, "-c", "user.name=fork", "-c", "user.email=fork@example.org")
    run(*git, "add", "-A")
    run(*git, "commit", "-qm", message)
    if remote:
        run(*git, "remote", "add", "origin", remote)
    run(*git, "push", "-q", "origin", "HEAD")
    return run(*git, "rev-parse", "HEAD").strip()


def settings(checkout: Path, values: Mapping[str, str]) -> None:
    """Set keys of the fork's pipeline.yaml, one below another."""
    file = checkout / "pipeline.yaml"
    content = yaml.safe_load(file.read_text())
    for key, value in values.items():
        section, _, name = key.partition(".")
        content.setdefault(section, {})[name] = yaml.safe_load(value)
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def operate(checkout: Path) -> None:
    """Do what an operator does: the agents' namespace with its roles and volume, and the serving namespace."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CONTROLLER}}
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": CONTROLLER, "namespace": CONTROLLER},
    }
    for each in (namespace, account):
        kubectl("apply", "-f", "-", given=json.dumps(each))
    kubectl("apply", "--server-side", "-k", checkout / "ci/jenkins")
    kubectl("apply", "--server-side", "-k", checkout / "k8s/overlays/kind")


def kubeconfig(path: Path) -> Path:
    """Write a kubeconfig of the controller's ServiceAccount, and of nobody else."""
    found = yaml.safe_load(kubectl("config", "view", "--minify", "--raw", "-o", "yaml"))
    token = kubectl("create", "token", CONTROLLER, "-n", CONTROLLER, "--duration=4h").strip()
    parts = {
        "clusters": [{"name": "c", "cluster": found["clusters"][0]["cluster"]}],
        "users": [{"name": "jenkins", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "jenkins"}}],
    }
    workspace.write_text(path, yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "c", **parts}))
    return path


def pull_requests(checkout: Path) -> None:
    """Do what an operator does for pull requests: their namespace, whose claim is of the remote's own volume."""
    claim = json.loads(kubectl("get", "pvc", "dvc-remote", "-n", templates.NAMESPACE, "-o", "json"))
    volume = json.loads(kubectl("get", "pv", claim["spec"]["volumeName"], "-o", "json"))
    volume["metadata"] = {"name": "dvc-remote-read-only"}
    bound = {"namespace": templates.UNTRUSTED, "name": "dvc-remote"}
    volume["spec"] |= {"accessModes": ["ReadOnlyMany"], "claimRef": bound, "persistentVolumeReclaimPolicy": "Retain"}
    del volume["status"]
    kubectl("apply", "-f", "-", given=json.dumps(volume))
    rendered = list(yaml.safe_load_all(kubectl("kustomize", checkout / "ci/jenkins/pull-requests")))
    for each in rendered:
        if each["kind"] == "PersistentVolumeClaim":
            each["spec"] |= {
                "volumeName": "dvc-remote-read-only",
                "storageClassName": volume["spec"]["storageClassName"],
            }
    kubectl("apply", "--server-side", "-f", "-", given=yaml.safe_dump_all(rendered))
