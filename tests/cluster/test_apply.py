"""The manifests on a real API server: taken without a warning, applied twice without a change."""

import json

import pytest

from ci import configuration
from ci.kube.api import ApiServer, Conflict
from ci.kube.lease import Lease
from ci.releases.cluster import ClusterLedger
from ci.rollout.cluster import manifests
from ci.rollout.cluster.apply import Cluster
from ci.rollout.cluster.observe import LEASE
from tests import pods
from tests.cluster.tools import SERVING, forget_rollouts, kubectl
from tests.cluster.tools import attempt as run

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("root", [f"{name}{part}" for name in ("kind", "production") for part in ("", "/server")])
def test_the_api_server_takes_every_object_of_an_overlay_without_a_warning(operated, root):
    overlay = pods.REPOSITORY / "k8s/overlays" / root
    done = run("apply", "--server-side", "--dry-run=server", "--validate=strict", "-o", "name", "-k", overlay)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == kubectl("kustomize", overlay).count("\n---\n") + 1


def test_a_pod_that_breaks_restricted_is_refused(operated):
    done = run("run", "root", "--image=x", "-n", SERVING)
    assert done.returncode != 0
    assert 'violates PodSecurity "restricted' in done.stderr


def test_applying_again_changes_nothing_and_keeps_what_rollouts_wrote(operated):
    forget_rollouts()
    history, lease = "configmap/rollout-history", "lease/rollout"
    entry = {"data": {"1": '{"schema_version": 1}'}}
    held = {"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 30}}
    for name, change in ((history, entry), (lease, held)):
        kubectl("patch", name, "-n", SERVING, "--type=merge", "-p", json.dumps(change))
    try:
        kubectl("apply", "--server-side", "-k", pods.REPOSITORY / "k8s/overlays/kind")
        before = versions()
        kubectl("apply", "--server-side", "-k", pods.REPOSITORY / "k8s/overlays/kind")
        assert versions() == before
        assert json.loads(kubectl("get", history, "-n", SERVING, "-o", "json"))["data"] == entry["data"]
        assert json.loads(kubectl("get", lease, "-n", SERVING, "-o", "json"))["spec"] == held["spec"]
    finally:
        kubectl("patch", history, "-n", SERVING, "--type=json", "-p", '[{"op": "remove", "path": "/data"}]')
        kubectl("patch", lease, "-n", SERVING, "--type=json", "-p", '[{"op": "replace", "path": "/spec", "value": {}}]')


def test_what_was_not_there_when_it_was_looked_for_is_not_overwritten(operated, tmp_path, monkeypatch):
    """As the objects that one deployer creates while another, that saw none of them, is held up."""
    forget_rollouts()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "k8s").symlink_to(pods.REPOSITORY / "k8s")
    api, settings = ApiServer(), configuration.read(pods.REPOSITORY / "tests/pipeline.yaml")
    rendered = manifests.render(settings)
    with Lease(api, SERVING, LEASE, "both") as lease:
        late, first = (Cluster(api, settings, rendered, ClusterLedger(api, SERVING), lease) for _ in range(2))
        assert late.phases() == first.phases() == {}
        first.join("any")
        try:
            before = kubectl("get", "service", manifests.SERVICE, "-n", SERVING, "-o", "yaml")
            with pytest.raises(Conflict):
                late.join("any")
            assert kubectl("get", "service", manifests.SERVICE, "-n", SERVING, "-o", "yaml") == before
        finally:
            kubectl("delete", "service", manifests.SERVICE, "-n", SERVING)


def versions() -> dict[str, str]:
    """Return the resourceVersion of every applied object that controllers do not write to."""
    listed = kubectl("get", "-k", pods.REPOSITORY / "k8s/overlays/kind", "-o", "json")
    found = {
        f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["resourceVersion"]
        for each in json.loads(listed)["items"]
        if each["kind"] not in ("HorizontalPodAutoscaler", "PodDisruptionBudget")
    }
    assert len(found) > 15
    return found
