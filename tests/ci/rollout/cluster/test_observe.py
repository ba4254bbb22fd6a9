"""What a rollout sees of a cluster, by its API server alone: what serves, why pods wait, what is not recorded."""

import copy
import json
from typing import Any

import pytest

from ci.errors import StageError
from ci.rollout.cluster import manifests, observe
from ci.rollout.cluster.applied import DIGEST
from ci.rollout.cluster.observe import UNVERIFIED
from ci.rollout.decision import Phase
from tests.ci.rollout import clusters
from tests.ci.rollout.clusters import CANARY, PODS, SERVICE, STABLE, World, digest, place

A, B, C = (digest(letter) for letter in "abc")


def test_an_undo_by_hand_is_told(world: World) -> None:
    world.released("a", "b")
    undone = next(e for p, e in world.store.objects.items() if clusters.REPLICASETS in p and e["spec"]["template"][
        "metadata"]["annotations"]["model-serving/digest"] == A and "stable" in p)  # fmt: skip
    template = copy.deepcopy(undone["spec"]["template"])
    del template["metadata"]["labels"]["pod-template-hash"]
    world.store.edit(STABLE, lambda found: found["spec"].update(template=template), "kubectl-rollout")
    assert "it was changed by hand, as `kubectl rollout undo` does" in str(world.where().changed(C))
    assert world.where().changed(A) is None  # to which somebody wants to go back


def refusal(message: str) -> dict[str, str]:
    return {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}


@pytest.mark.parametrize(
    ("track", "message"),
    [
        ("canary", 'pods "m" is forbidden: exceeded quota: q, requested: pods=1, used: pods=3, limited: pods=3'),
        ("canary", 'pods "m" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'),
        ("stable", 'pods "m" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi'),
    ],
)
def test_why_no_pod_can_be_made_is_said(world: World, message: str, track: str) -> None:
    world.released("a")
    world.package("b")
    path = {"canary": CANARY, "stable": STABLE}[track]
    world.loads = lambda found: found["metadata"]["name"] != f"model-{track}"

    def refuse(written: str) -> None:
        if written == path and digest("b") in json.dumps(world.store.objects[path]["spec"]):
            world.remove_pods(f"model-{track}")
            status = world.store.objects[path]["status"]
            status["conditions"] = [refusal(message)]
            status |= {"replicas": 0, "updatedReplicas": 0}
            world.loads = lambda _: True

    world.after = refuse
    world.settings = clusters.settings(startup_timeout=0.05)
    with pytest.raises(StageError) as error:
        world.rollout("b", trusted=True)
    assert f"no pod can be made (FailedCreate): {message}" in str(error.value)
    assert world.where().phases() == {A: Phase.SERVING}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"paused": True}, "model-stable is paused: `kubectl rollout resume deployment/model-stable` goes on"),
        ({"replicas": 0}, "model-stable is scaled to 0: `kubectl scale deployment/model-stable --replicas=N` brings"),
    ],
)
def test_a_deployment_that_somebody_holds_back_is_told(world: World, change: dict[str, Any], said: str) -> None:
    world.released("a")
    world.store.edit(STABLE, lambda found: found["spec"].update(change), "kubectl")
    stable_status(world, availableReplicas=0)
    status = place(world).status()
    assert not status.well
    assert said in "\n".join(status.lines)


def stable_status(world: World, **changes: Any) -> None:
    world.store.objects[STABLE]["status"] |= changes


@pytest.mark.parametrize(
    ("status", "wanted", "phase"),
    [
        ({"updatedReplicas": 5, "replicas": 5, "availableReplicas": 3}, 5, Phase.SERVING),  # an autoscaler adds two
        (
            {"updatedReplicas": 3, "replicas": 3, "availableReplicas": 3},
            5,
            Phase.SERVING,
        ),  # and a quota holds them back
        ({"updatedReplicas": 3, "replicas": 3, "availableReplicas": 2}, 3, Phase.SERVING),  # a node has gone
        ({"updatedReplicas": 5, "replicas": 5, "availableReplicas": 5}, 3, Phase.SERVING),  # it takes two away
        ({"updatedReplicas": 3, "replicas": 3, "availableReplicas": 0}, 3, Phase.ROLLING),
        ({"updatedReplicas": 2, "replicas": 3, "availableReplicas": 3}, 3, Phase.ROLLING),  # pods of another template
        ({"updatedReplicas": 3, "replicas": 4, "availableReplicas": 4}, 3, Phase.ROLLING),
        ({"observedGeneration": 0}, 3, Phase.ROLLING),
        ({}, 0, Phase.ROLLING),
    ],
)
def test_a_version_that_has_taken_over_serves_while_an_autoscaler_asks_for_more(
    world: World, status: dict[str, int], wanted: int, phase: Phase
) -> None:
    world.released("a")
    world.store.objects[STABLE]["spec"]["replicas"] = wanted
    stable_status(world, **status)
    assert world.where().phases() == {A: phase}


def test_status_says_how_many_pods_are_ready_and_what_the_others_wait_for(world: World) -> None:
    world.released("a")
    found = world.store.objects[STABLE]
    found["spec"]["replicas"] = 5
    stable_status(world, updatedReplicas=5, replicas=5)
    why = [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient cpu."}]
    template = found["spec"]["template"]
    for name in ("more-1", "more-2"):
        world.add_pod(name, template, template["metadata"]["labels"], ready=False, conditions=why, containerStatuses=[])
    said = place(world).status()
    assert said.lines[0] == "namespace models: release 1, version 10, serves"
    assert said.lines[1].startswith("3 of 5 pods are ready: pod more-1: no node takes it: 0/3 nodes are available")
    assert said.well
    assert place(world).settled(A)


def test_a_release_whose_pods_are_being_replaced_serves_meanwhile(world: World) -> None:
    """As after `kubectl rollout restart`: the same version, another template."""
    world.released("a")
    condition = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}
    stable_status(world, updatedReplicas=1, replicas=4, availableReplicas=3, conditions=[condition])
    template = world.store.objects[STABLE]["spec"]["template"]
    world.add_pod("model-stable-new", template, template["metadata"]["labels"], ready=False)
    said = place(world).status()
    assert said.lines[0] == "namespace models: release 1, version 10, serves, and its pods are being replaced"
    assert said.lines[1] == "3 pods are ready: pod model-stable-new: it is loading"
    assert not said.well
    world.remove_pods("model-stable")
    assert place(world).status().lines[0].endswith("does not serve: it is rolling")


def test_a_roll_that_has_not_ended_is_no_scaling(world: World) -> None:
    """One of three new pods is ready, and there were none before: not all of them have been yet."""
    world.package("a")
    with world.lease() as lease:
        where = world.where(lease)
        where.reserve(A, force=False)
        where.promote(A)
    condition = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}
    stable_status(world, availableReplicas=1, conditions=[condition])
    assert world.where().phases() == {A: Phase.ROLLING}
    late = {**condition, "status": "False", "reason": "ProgressDeadlineExceeded"}
    stable_status(world, conditions=[late])
    assert world.where().phases() == {A: Phase.FAILED}


def test_a_pod_that_was_evicted_beside_its_loading_replacement_is_waited_for(world: World) -> None:
    world.released("a")
    world.package("b")
    world.loads = lambda found: found["metadata"]["name"] != manifests.CANARY
    with world.lease() as lease:
        where = world.where(lease)
        where.phases()
        where.start(B)
        template = world.store.objects[CANARY]["spec"]["template"]
        gone = {"phase": "Failed", "reason": "OutOfcpu", "message": "Pod was rejected"}
        world.add_pod("gone", template, template["metadata"]["labels"], ready=False, **gone)
        assert where.phases()[B] is Phase.LOADING
        assert where.waiting(B).endswith(
            "pod gone: it has ended, and another takes its place (OutOfcpu): Pod was rejected"
        )
        assert "it is loading" in where.waiting(B)
        for path, each in world.store.objects.items():
            if path.startswith(f"{PODS}/model-canary"):
                each["status"]["containerStatuses"][0]["state"] = {
                    "waiting": {"reason": "ErrImagePull", "message": "manifest unknown"}
                }
        assert where.phases()[B] is Phase.FAILED
        assert "manifest unknown" in where.failure(B)


def test_a_back_off_without_its_cause_is_looked_up_in_the_events(world: World) -> None:
    world.package("b")
    world.loads = lambda _: False
    with world.lease() as lease:
        where = world.where(lease)
        where.phases()
        where.start(B)
    [path] = [path for path in world.store.objects if path.startswith(f"{PODS}/model-canary")]
    status = world.store.objects[path]["status"]["containerStatuses"][0]
    status["state"] = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}}
    assert where.phases()[B] is Phase.LOADING
    name = path.rsplit("/", 1)[1]
    event = {"involvedObject": {"name": name}, "reason": "Failed", "message": 'Failed to pull image "x": not found'}
    world.store.objects[f"{clusters.PODS.removesuffix('pods')}events/e"] = {"metadata": {}, **event}
    assert where.phases()[B] is Phase.FAILED


def test_a_record_that_was_lost_while_a_version_serves_is_told_everywhere(world: World) -> None:
    world.released("a")
    assert place(world).disagreement() is None
    world.store.objects[f"{clusters.CONFIGMAPS}/rollout-history"]["data"] = {}
    said = f"{A[:19]} serves on namespace models, but no release is recorded: mend it"
    assert place(world).disagreement() == said
    for refused in (place(world).require_agreement, place(world).serving, lambda: place(world).require_agreement(B)):
        with pytest.raises(StageError, match="but no release is recorded"):
            refused()
    place(world).require_agreement(A)  # what serves is recorded now
    status = place(world).status()
    assert (status.well, status.lines[1]) == (False, said)


def test_a_deployment_without_a_digest_is_told_in_words(world: World) -> None:
    world.released("a")
    world.store.objects[f"{clusters.CONFIGMAPS}/rollout-history"]["data"] = {}
    world.store.edit(STABLE, lambda found: found["spec"]["template"]["metadata"].pop("annotations"), "kubectl-edit")
    said = "a version that no deployment put there serves on namespace models, but no release is recorded: mend it"
    assert place(world).disagreement() == said


def test_a_record_whose_end_was_lost_is_told(world: World) -> None:
    world.released("a")
    kept = copy.deepcopy(world.store.objects[f"{clusters.CONFIGMAPS}/rollout-history"]["data"])
    world.released("b")
    world.store.objects[f"{clusters.CONFIGMAPS}/rollout-history"]["data"] = kept
    why = "the end of the record was lost, or it was changed by hand"
    assert place(world).disagreement() == (
        f"{B[:19]} serves on namespace models, but the last release recorded is 1, another version ({why}): mend it"
    )


def test_a_version_that_a_killed_deployment_left_unverified_is_no_lost_record(world: World) -> None:
    world.package("a")
    with world.lease() as lease:
        where = world.where(lease)
        where.reserve(A, force=False)
        where.start(A)
        where.phases()
        where.promote(A)
        where.phases()
        where.retire(A)
    assert place(world).disagreement() is None
    assert world.store.objects[SERVICE]["metadata"]["annotations"][UNVERIFIED] == A
    world.rollout("a")
    assert UNVERIFIED not in world.store.objects[SERVICE]["metadata"].get("annotations", {})
    assert [release["digest"] for release in world.history.read()] == [A]


def test_what_is_being_deleted_counts_as_gone(world: World) -> None:
    world.released("a")
    world.store.objects[STABLE]["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    assert world.where().phases() == {}


def test_requests_of_a_version_are_those_of_all_gateways_before_it_that_services_lead_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.released("a")
    world.package("b")
    template = copy.deepcopy(world.store.objects[STABLE]["spec"]["template"])
    template["metadata"]["annotations"][DIGEST] = B
    world.add_pod("model-canary-1", template, template["metadata"]["labels"])
    stable = sorted(path.rpartition("/")[2] for path in world.store.objects if path.startswith(f"{PODS}/model-stable"))

    def part(service: str, *names: str) -> None:
        found = [{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": name}} for name in names]
        metadata = {"name": service, "labels": {"kubernetes.io/service-name": service}}
        path = f"/apis/discovery.k8s.io/v1/namespaces/{clusters.NAMESPACE}/endpointslices"
        world.api.ask("POST", path, {"metadata": metadata, "addressType": "IPv4", "endpoints": found})

    monkeypatch.setattr(observe, "inside", lambda: False)
    assert world.where().watched("10") == {}
    part("model", *stable)
    part("model-canary", "model-canary-1")
    before = len(world.store.asked)
    assert sorted(world.where().watched("10")) == stable
    assert list(world.where().watched("11")) == ["model-canary-1"]
    asked = {path.rsplit("/", 1)[-1] for _, path, _ in world.store.asked[before:]}
    assert asked == {"endpointslices"}, "whoever watches may ask for nothing else"
