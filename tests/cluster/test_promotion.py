"""Promotion from one environment to the next with real pods: two namespaces, the deployer's account, real clients."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci import workspace
from ci.kube.api import ApiServer
from ci.releases.cluster import ClusterLedger
from ci.settings.cluster import Analysis
from ci.settings.jenkins import Environment
from tests import pods
from tests.cluster.drills import harness
from tests.cluster.tools import SERVING, forget_rollouts, kubectl

pytestmark = pytest.mark.cluster

STAGING = "model-staging"
ADA = ["--to", "production", "--approved-by", "ada"]


@pytest.fixture
def fork(operated: str, tmp_path: Path) -> Iterator[harness.Fork]:
    """A fork's folder with two environments of one cluster; staging is content with a slow version."""
    forget_rollouts()
    kubectl("delete", "namespace", STAGING, "--ignore-not-found")
    kubectl("apply", "--server-side", "-k", pods.REPOSITORY / "k8s/overlays/staging")
    with harness.fork(operated, tmp_path) as found:
        content = Analysis(
            window=2.0, timeout=120.0, confidence=0.6, latency_margin=10.0, max_psi=10.0, min_predictions=10
        )
        strict = Analysis(
            window=3.0, timeout=120.0, confidence=0.9, latency_ratio=3.0, error_margin=0.02, min_predictions=30
        )
        environments = {
            "staging": Environment(overlay="staging", replicas=1, analysis=content),
            "production": Environment(overlay="kind", replicas=2, analysis=strict, approval=True, approvers=["ada"]),
        }
        found.settings = found.settings.model_copy(update={"environments": environments})
        yield found
        kubectl("delete", "deployments", "--all", "-n", SERVING)
        kubectl("delete", "namespace", STAGING)


def releases(namespace: str) -> list[tuple[int, str]]:
    return [(each["release"], each["digest"]) for each in ClusterLedger(ApiServer(), namespace).read()]


def staging() -> str:
    """The URL that clients of staging use: its Service has no port of the nodes."""
    service = json.loads(kubectl("get", "service", "model", "-n", STAGING, "-o", "json"))
    return f"http://{service['spec']['clusterIP']}:8501/v1/models/light:predict"


def test_what_staging_verified_is_promoted_and_nothing_else_is(fork: harness.Fork) -> None:
    first = fork.package({"bias": 1.0})
    assert fork.run("deploy").code == 0
    for arguments, why in (
        ([], "production needs an approval"),
        (["--approved-by", "mallory"], "mallory may not approve for production: ada may"),
        (["--approved-by", "ada", "--digest", f"sha256:{'0' * 64}"], "was never verified in staging"),
    ):
        refused = fork.run("promote", "--to", "production", *arguments)
        assert refused.code == 1
        assert why in refused.said
    assert (releases(STAGING), releases(SERVING)) == ([(1, first)], [])
    assert not kubectl("get", "deployments", "-n", SERVING, "-o", "name")
    assert fork.run("promote", *ADA).code == 0

    good = fork.package({"bias": 2.0})
    with harness.Load(staging()):
        assert fork.run("deploy").code == 0
    with harness.Load(harness.url()) as load:
        assert fork.run("promote", *ADA).code == 0
    assert not load.failures
    assert set(load.seen()) == {1.0, 2.0}
    assert releases(STAGING) == releases(SERVING) == [(1, first), (2, good)]
    last = ClusterLedger(ApiServer(), SERVING).read()[-1]
    assert (last["approved_by"], last["promoted_from"]) == ("ada", {"environment": "staging", "release": 2})
    assert "from release 2 of staging, approved by ada" in fork.run("status").said

    slow = fork.package({"bias": 3.0, "seconds": 0.2})
    with harness.Load(staging()):
        assert fork.run("deploy").code == 0
    with harness.Load(harness.url()) as load:
        failed = fork.run("promote", *ADA)
    assert failed.code == 1
    assert "latency p50" in failed.said
    assert failed.said.rstrip().endswith("of release 2 serves")
    assert not load.failures
    assert load.answers[-1][2] == 2.0
    assert fork.run("rollback", "--environment", "staging").code == 0
    refused = fork.run("promote", *ADA, "--digest", slow)
    assert (refused.code, "release 3 of staging was rolled back there" in refused.said) == (1, True)
    assert "nothing to do: this image is already serving" in fork.run("promote", *ADA).said
    assert releases(SERVING) == [(1, first), (2, good)]
    assert fork.run("status").code == 0

    assert fork.run("backup", "saved.json").code == 0
    kubectl("delete", "namespace", STAGING)  # as where a cluster is lost
    kubectl("apply", "--server-side", "-k", pods.REPOSITORY / "k8s/overlays/staging")
    shutil.rmtree(workspace.STATE / "cluster")
    assert fork.run("restore", "saved.json").code == 0
    assert fork.run("rollback", "--environment", "staging", "--to", "2").code == 0
    assert [digest for _, digest in releases(STAGING)] == [first, good, slow, good]
    assert fork.run("status").code == 0
