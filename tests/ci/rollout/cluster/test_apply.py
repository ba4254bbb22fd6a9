"""Rollouts on a cluster, by its API server alone: what is written, and what is compared."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ci.errors import StageError
from ci.kube.api import APPLY, Conflict
from ci.kube.lease import Lost
from ci.results.rollout import STEPS
from ci.rollout.cluster import manifests
from ci.rollout.cluster.observe import LEASE, UNVERIFIED
from ci.rollout.decision import Phase
from ci.settings.cluster import Serving
from tests.ci.rollout import clusters
from tests.ci.rollout.clusters import AUTOSCALER, CANARY, SERVICE, STABLE, World, digest, place
from tests.pods import REPOSITORY
from tests.programs import needed

A, B, C = (digest(letter) for letter in "abc")


def steps() -> list[str]:
    return [json.loads(line)["step"] for line in STEPS.path.read_text().splitlines()]


def container(found: dict[str, Any]) -> dict[str, Any]:
    return next(e for e in found["spec"]["template"]["spec"]["containers"] if e["name"] == manifests.CONTAINER)


def test_versions_are_rolled_out_one_after_another(world: World) -> None:
    world.package("a")
    world.rollout("a")
    assert steps() == ["start", "smoke", "promote", "verify", "record", "retire"]
    STEPS.path.unlink()
    world.package("b")
    world.rollout("b", where=world.where(clock=iter(range(100)).__next__))
    assert steps() == ["start", "smoke", "join", "analyse", "promote", "verify", "record", "retire"]
    where = world.where()
    assert where.phases() == {B: Phase.SERVING}
    assert [release["digest"] for release in world.history.read()] == [A, B]
    assert world.store.objects[SERVICE]["spec"]["selector"]["track"] == "stable"
    assert UNVERIFIED not in world.store.objects[SERVICE]["metadata"].get("annotations", {})
    assert CANARY not in world.store.objects
    assert (where.lacking(B), where.changed(B), place(world).disagreement()) == (None, None, None)


def test_a_release_of_a_namespace_that_was_lost_starts_again_from_its_record(world: World) -> None:
    world.released("a", "b")
    before = world.history.read()
    for path in [path for path in world.store.objects if "/configmaps/" not in path and "/leases/" not in path]:
        del world.store.objects[path]
    assert (place(world).status().well, world.where().phases()) == (False, {})
    world.rollout("b", trusted=True)
    assert world.history.read() == before, "it is the last release already"
    assert world.where().phases() == {B: Phase.SERVING}
    assert place(world).status().well


# How many pods there are.


@pytest.mark.parametrize("replicas", [1, 2, 5])
def test_a_rollout_brings_as_many_pods_as_the_settings_have_replicas(world: World, replicas: int) -> None:
    needed("kubectl", "https://kubernetes.io/docs/tasks/tools/ (1.30 or newer)")
    Path("k8s").symlink_to(REPOSITORY / "k8s")
    serving = Serving(replicas=replicas)
    world.rendered = manifests.render(world.settings.model_copy(update={"serving": serving}))
    world.released("a")
    assert world.store.objects[STABLE]["status"]["availableReplicas"] == replicas
    assert world.where().phases() == {A: Phase.SERVING}


def test_a_minimum_that_somebody_else_has_set_is_refused_before_anything_starts_and_taken_back_by_force(
    world: World,
) -> None:
    world.released("a")
    theirs = copy.deepcopy(world.store.objects[AUTOSCALER])
    del theirs["metadata"]["managedFields"]
    theirs["spec"]["minReplicas"] = 4
    world.api.ask("PATCH", AUTOSCALER, theirs, query={"fieldManager": "kubectl", "force": "true"}, kind=APPLY)
    world.package("b")
    with world.lease() as lease:
        with pytest.raises(StageError, match=r'conflict with "kubectl".*serving\.replicas is 3: `kubectl delete hpa'):
            world.where(lease).reserve(B, force=False)
        assert CANARY not in world.store.objects
        world.where(lease).reserve(A, force=True)
    assert world.store.objects[AUTOSCALER]["spec"]["minReplicas"] == 3


def test_another_number_of_pods_alone_is_set_without_a_rollout(world: World) -> None:
    world.released("a")
    with world.lease() as lease:
        assert world.where(lease).rescale() is None
        world.settings = world.settings.model_copy(update={"serving": Serving(replicas=5)})
        for scaler in (each for each in world.rendered if manifests.key(each) == manifests.AUTOSCALER):
            scaler["spec"]["minReplicas"] = 5
        template = copy.deepcopy(world.store.objects[STABLE]["spec"]["template"])
        assert world.where(lease).rescale() == "model-stable has at least 5 pods now, 3 before"
        assert world.where(lease).rescale() is None
    assert world.store.objects[AUTOSCALER]["spec"]["minReplicas"] == 5
    assert world.store.objects[STABLE]["spec"]["template"] == template


# A step that changes nothing.


def test_a_selector_that_somebody_else_keeps_ends_the_rollout_with_field_and_owner(world: World) -> None:
    """Where the API server lets each key of a selector have its own owners, it says nothing of that."""
    world.store.atomic.discard("selector")
    world.released("a")
    service = clusters.rendered()[-1]
    world.api.ask("PATCH", SERVICE, service, query={"fieldManager": "kubectl"}, kind=APPLY)
    world.package("b")
    world.store.asked.clear()
    with pytest.raises(StageError) as error:
        world.rollout("b")
    said = 'Service model is not as it was applied: spec.selector.track is "stable" and was to be left out: '
    assert str(error.value).startswith(f"{said}kubectl (Apply) owns it too; end what writes it")
    assert "`kubectl edit service model -n model-serving --show-managed-fields`" in str(error.value)
    assert CANARY not in world.store.objects
    assert world.where().phases() == {A: Phase.SERVING}
    assert len(world.store.asked) < 100


def test_a_selector_that_is_one_field_is_refused_by_the_api_server(world: World) -> None:
    """As Kubernetes does it since the selector has one owner as a whole."""
    world.released("a")
    service = clusters.rendered()[-1]
    world.api.ask("PATCH", SERVICE, service, query={"fieldManager": "kubectl"}, kind=APPLY)
    world.package("b")
    with pytest.raises(StageError, match=r'Apply failed with 1 conflicts: conflict with "kubectl": \.spec\.selector'):
        world.rollout("b")
    assert CANARY not in world.store.objects


def test_a_webhook_that_puts_the_selector_back_is_told_from_a_manager(world: World) -> None:
    world.released("a")

    def webhook(body: dict[str, Any]) -> None:
        if body.get("kind") == "Service":
            body["spec"]["selector"]["track"] = "stable"

    world.store.webhook = webhook
    world.package("b")
    with pytest.raises(StageError, match="nobody else owns it, so an admission webhook has set it"):
        world.rollout("b")
    assert CANARY not in world.store.objects


def test_what_is_undone_after_each_step_ends_the_rollout(world: World) -> None:
    """A controller that puts its own state back, as tools of GitOps do, is quicker than the next look."""
    world.released("a")
    kept = copy.deepcopy(world.store.objects[SERVICE]["spec"])

    def put_back(path: str) -> None:
        if path == SERVICE and world.store.objects[SERVICE]["spec"] != kept:
            world.store.objects[SERVICE]["spec"] = copy.deepcopy(kept)

    world.after = put_back
    world.package("b")
    with pytest.raises(StageError, match="step join was taken 5 times, and the version is still ready") as error:
        world.rollout("b")
    assert "kubectl get deployments,services -n model-serving -o yaml --show-managed-fields" in str(error.value)
    assert steps().count("join") == 5
    assert CANARY not in world.store.objects


def test_a_variable_that_somebody_else_keeps_in_the_pods_is_named_and_what_served_is_back(world: World) -> None:
    world.released("a")
    extra = {"name": "EXTRA", "value": "1"}
    known = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": manifests.STABLE}}
    ours = copy.deepcopy({**known, "spec": world.store.objects[STABLE]["spec"]})
    del ours["spec"]["replicas"]
    container(ours)["env"].append(extra)
    named = {"name": manifests.CONTAINER, "env": [extra]}
    theirs = {**known, "spec": {"template": {"spec": {"containers": [named]}}}}
    for manager, body in (("deployer", ours), ("kubectl", theirs)):  # an earlier k8s/ had it; somebody applied that too
        world.api.ask("PATCH", STABLE, body, query={"fieldManager": manager}, kind=APPLY)
    world.package("b")
    with pytest.raises(StageError) as error:
        world.rollout("b", where=world.where(clock=iter(range(100)).__next__))
    assert "env[name=EXTRA] is" in str(error.value)
    assert "kubectl (Apply) owns it too" in str(error.value)
    assert world.where().phases() == {A: Phase.SERVING}
    assert [release["digest"] for release in world.history.read()] == [A]


def test_a_canary_that_somebody_keeps_in_the_traffic_is_deleted_all_the_same(world: World) -> None:
    world.released("a")
    world.package("b")
    with world.lease() as lease:
        where = world.where(lease)
        where.phases()
        where.start(B)
        where.phases()
        where.join(B)
        theirs = copy.deepcopy(world.store.objects[SERVICE])
        del theirs["metadata"]["managedFields"]
        query = {"fieldManager": "kubectl", "force": "true"}
        world.api.ask("PATCH", SERVICE, theirs, query=query, kind=APPLY)
        where.phases()
        with pytest.raises(StageError, match='conflict with "kubectl"'):
            where.retire(B)
    assert CANARY not in world.store.objects


# What a webhook changes, and what somebody changes by hand.


@pytest.mark.parametrize(
    ("reference", "rewritten"),
    [
        ("registry.example/light:b", "mirror.example/registry.example/light:b@{digest}"),
        ("registry.example/light:b", "mirror.example/light@{digest}"),
        ("localhost/models/light:b", "localhost/models/light:b@{digest}"),
        ("localhost/models/light:b", "mirror.example/models/light:b"),
        ("registry.example/light:b", "mirror.example/light:b"),
    ],
)
def test_an_image_that_a_webhook_has_rewritten_is_no_change_by_hand(
    world: World, reference: str, rewritten: str
) -> None:
    def webhook(body: dict[str, Any]) -> None:
        if body.get("kind") == "Deployment":
            container(body)["image"] = rewritten.format(digest=B)
            spec = body["spec"]["template"]["spec"]
            if "imagePullSecrets" not in spec:
                spec["imagePullSecrets"] = [{"name": "mirror"}]
                spec["containers"].append({"name": "proxy", "image": "proxy:1"})

    world.store.webhook = webhook
    world.package("b", reference=reference)
    world.rollout("b")
    assert container(world.store.objects[STABLE])["image"] == rewritten.format(digest=B)
    assert world.where().changed(B) is None
    assert world.where().changed(C) is None
    assert place(world).settled(B)
    world.store.webhook = lambda _: None
    world.store.edit(STABLE, lambda found: container(found).update(image="light:by-hand"), "kubectl-set")
    assert "runs the image light:by-hand: it was changed by hand" in str(world.where().changed(C))


# What can be recorded.


def test_no_release_is_made_that_cannot_be_recorded(world: World) -> None:
    world.released("a")
    world.store.objects[f"{clusters.CONFIGMAPS}/rollout-history"]["data"]["notes"] = "x" * 500_000
    world.package("b")
    with pytest.raises(StageError, match="so no release can be recorded"):
        world.rollout("b")
    assert CANARY not in world.store.objects


# Who may write, and when.


def test_nothing_is_written_without_the_lease(world: World) -> None:
    world.released("a")
    world.package("b")
    with world.lease() as lease:
        where = world.where(lease)
        where.phases()
        where.start(B)
        where.phases()
        lease._lost = "another has it"
        before = copy.deepcopy(world.store.objects)
        for write in (
            where.start,
            where.join,
            where.promote,
            where.restore,
            where.retire,
            lambda d: where.note(d, "x"),
        ):
            with pytest.raises(Lost):
                write(B)
        with pytest.raises(Lost):
            where.reserve(B, force=False)
        with pytest.raises(Lost):
            where.reserve(A, force=True)
    assert world.store.objects == before


def test_nothing_is_written_over_what_has_changed_since_it_was_seen(world: World) -> None:
    world.released("a")
    world.package("b")
    with world.lease() as lease:
        where = world.where(lease)
        where.phases()
        where.start(B)
        where.phases()
        where.join(B)
        where.phases()
        for path in (STABLE, CANARY, SERVICE):
            world.store.edit(path, lambda found: found["metadata"].setdefault("labels", {}).update(new="1"), "kubectl")
        before = copy.deepcopy(world.store.objects)
        for write in (where.start, where.join, where.promote, where.retire, lambda d: where.note(d, "x")):
            with pytest.raises(Conflict):
                write(B)
        assert {path: world.store.objects[path] for path in (STABLE, CANARY, SERVICE)} == {
            path: before[path] for path in (STABLE, CANARY, SERVICE)
        }


def test_nothing_is_written_over_what_another_has_created_since(world: World) -> None:
    world.released("a")
    world.package("b")
    with world.lease() as one:
        where = world.where(one)
        where.phases()
        other = world.where(one)
        other.phases()
        other.start(B)
        with pytest.raises(Conflict):
            where.start(B)


def test_whoever_takes_hold_changes_all_that_it_will_write(world: World) -> None:
    world.released("a")
    with world.lease("one") as one:
        slow = world.where(one)
        slow.phases()
        term = {path: world.store.objects[path]["metadata"]["resourceVersion"] for path in (STABLE, SERVICE)}
        world.where(one).reserve(A, force=False)
        assert all(world.store.objects[path]["metadata"]["resourceVersion"] != seen for path, seen in term.items())
        assert one.term == int(world.store.objects[STABLE]["metadata"]["annotations"]["model-serving/term"])
        with pytest.raises(Conflict):
            slow.promote(A)
    assert world.store.objects[f"/apis/coordination.k8s.io/v1/namespaces/model-serving/leases/{LEASE}"]


def test_what_was_served_is_compared_with_the_model_before_a_version_becomes_a_release(world: World) -> None:
    world.released("a")
    world.package("b")
    seen: list[dict[str, Phase]] = []

    def rescore() -> dict[str, Any]:
        seen.append(world.where().phases())
        raise StageError("what it served is not what its model says")

    with pytest.raises(StageError, match=r"^what it served is not what its model says"):
        world.rollout("b", where=world.where(clock=iter(range(100)).__next__), rescore=rescore)
    assert seen == [{B: Phase.SERVING}], "all of it serves by then"
    assert world.where().phases() == {A: Phase.SERVING}
    assert [release["digest"] for release in world.history.read()] == [A]
    assert steps()[-2:] == ["verify", "abort"]
