"""One cluster for all tests of this folder; making it takes longer than most of them."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.run import local_registry
from tests import pods
from tests.cluster import images
from tests.cluster.tools import kubectl

HERE = Path(__file__).parent
NAME = "delivery"
PROGRAMS = {
    "kind": "https://kind.sigs.k8s.io",
    "kubectl": "https://kubernetes.io/docs/tasks/tools",
    "kwok": "https://kwok.sigs.k8s.io",
    "docker": "https://docs.docker.com/engine/install",
    "skopeo": "your distribution's package",
}
"""What the tests of this folder need, and where to get it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what makes clusters of its own: there may be room for one only."""
    items.sort(key=lambda item: item.get_closest_marker("own_cluster") is None)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of one control plane and two workers; its name. KUBECONFIG leads to it.

    A cluster of that name that is there already is used, and left: tests are written one after another against it.
    """
    missing = [f"{name} ({where})" for name, where in PROGRAMS.items() if not shutil.which(name)]
    assert not missing, f"not on the PATH, and needed by the tests in tests/cluster: {', '.join(missing)}"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KUBECONFIG", str(tmp_path_factory.mktemp("cluster") / "kubeconfig"))
        listed = subprocess.run(["kind", "get", "clusters"], check=True, capture_output=True, text=True).stdout
        if NAME in listed.split():
            subprocess.run(["kind", "export", "kubeconfig", "--name", NAME], check=True)
            yield NAME
            return
        subprocess.run(["kind", "create", "cluster", "--name", NAME, "--config", HERE / "kind.yaml"], check=True)
        try:
            if local_registry.running():  # as after `python -m tests.cluster.images`: nodes pull while other tests run
                images.spread(NAME, images.registry())
            yield NAME
        finally:
            subprocess.run(["kind", "delete", "cluster", "--name", NAME], check=True)


@pytest.fixture(scope="session")
def operated(cluster: str) -> str:
    """The cluster once an operator has applied the overlay `kind`."""
    kubectl("apply", "--server-side", "-k", pods.REPOSITORY / "k8s/overlays/kind")
    return cluster
