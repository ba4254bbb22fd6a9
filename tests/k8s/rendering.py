"""What `kubectl kustomize` makes of the repository's manifests."""

import subprocess
from functools import cache
from typing import Any

import yaml

from tests import pods
from tests.programs import needed

OVERLAYS = ("kind", "production", "staging")
ROOTS = [f"k8s/overlays/{overlay}{part}" for overlay in OVERLAYS for part in ("", "/server")] + [
    "ci/jenkins",
    "ci/jenkins/controller",
    "ci/kind/jenkins",
]


def text(root: str) -> str:
    kubectl = needed("kubectl", "https://kubernetes.io/docs/tasks/tools/ (1.30 or newer)")
    command = [kubectl, "kustomize", pods.REPOSITORY / root]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # warnings of deprecated fields
    return done.stdout


@cache
def objects(root: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the objects of a root by kind and name, which must be unique; treat them as read-only."""
    found = list(yaml.safe_load_all(text(root)))
    result = {(each["kind"], each["metadata"]["name"]): each for each in found}
    assert len(result) == len(found)
    return result
