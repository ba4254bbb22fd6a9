"""Whether what was applied is what is there, and who keeps it from being so."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.kube.api import APPLY
from ci.rollout.cluster.applied import DIGEST, owners, owns, unmet
from tests.ci import apiservers

US = "deployer"
REST, GRPC = {"name": "rest", "port": 8501}, {"name": "grpc", "port": 8500}


def entry(manager: str, fields: dict[str, Any], operation: str = "Update") -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": fields}}


def service(selector: dict[str, str], *managed: dict[str, Any], ports: Any = (REST,)) -> dict[str, Any]:
    spec = {"selector": selector, "ports": [{**port, "protocol": "TCP"} for port in ports]}
    return {"kind": "Service", "metadata": {"name": "model", "managedFields": list(managed)}, "spec": spec}


ALL, STABLE = {"app": "model"}, {"app": "model", "track": "stable"}
WHOLE, PARTS = {"f:selector": {}}, {"f:selector": {"f:app": {}, "f:track": {}}}
ITEM = {"f:ports": {'k:{"port":8500,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}}}}
ZONE = {"f:selector": {"f:zone": {}}}
BY_HAND = "kubectl-client-side-apply (Update)"


@pytest.mark.parametrize(
    ("meant", "before", "there", "said"),
    [
        # All is as it was meant.
        (ALL, service(STABLE, entry(US, WHOLE, "Apply")), service(ALL, entry(US, WHOLE, "Apply")), []),
        (STABLE, None, service(STABLE, entry(US, WHOLE, "Apply"), entry("kubectl", WHOLE, "Apply")), []),
        # Somebody else owns the selector too, as one field or each key of it.
        (
            ALL,
            service(STABLE, entry(US, PARTS, "Apply"), entry("kubectl-client-side-apply", PARTS)),
            service(STABLE, entry(US, {"f:selector": {"f:app": {}}}, "Apply"),
                    entry("kubectl-client-side-apply", PARTS)),
            [f'spec.selector.track is "stable" and was to be left out: {BY_HAND} owns it too'],
        ),
        (
            ALL,
            service(STABLE, entry("kubectl", WHOLE, "Apply")),
            service(STABLE, entry(US, WHOLE, "Apply"), entry("kubectl", WHOLE, "Apply"), entry("argocd", PARTS)),
            ['spec.selector.track is "stable" and was to be left out: kubectl (Apply) and argocd (Update) own it too'],
        ),
        # We have never owned it, or nobody does: it decides where requests go.
        (
            ALL,
            service({**ALL, "zone": "a"}),
            service({**ALL, "zone": "a"}, entry(US, WHOLE, "Apply"), entry("kubectl-patch", ZONE)),
            ['spec.selector.zone is "a" and was to be left out: kubectl-patch (Update) owns it too'],
        ),
        (
            ALL,
            None,
            service(STABLE, entry(US, WHOLE, "Apply")),
            ['spec.selector.track is "stable" and was to be left out: nobody else owns it, so an admission webhook has '
             "set it"],
        ),
        # Another value than the one that was applied.
        (
            STABLE,
            None,
            service({"app": "model", "track": "canary"}, entry("kubectl-edit", {"f:selector": {"f:track": {}}})),
            ['spec.selector.track is "canary" and was to be "stable": kubectl-edit (Update) owns it'],
        ),
        (
            STABLE,
            None,
            service(ALL),
            ['spec.selector.track is not there and was to be "stable": nobody else owns it, so an admission webhook '
             "has set it"],
        ),
        # An item of a list that we leave out and another keeps, whole: its fields are not told one by one.
        (
            ALL,
            service(ALL, entry(US, ITEM, "Apply"), entry("kubectl", ITEM, "Apply"), ports=(REST, GRPC)),
            service(ALL, entry("kubectl", ITEM, "Apply"), ports=(REST, GRPC)),
            ['spec.ports[port=8500,protocol=TCP] is {"name": "grpc", "port": 8500, "protocol": "TCP"} and was to be '
             "left out: kubectl (Apply) owns it too"],
        ),
        # The same item, and nobody keeps it.
        (ALL, service(ALL, entry(US, ITEM, "Apply"), ports=(REST, GRPC)), service(ALL), []),
    ],
)  # fmt: skip
def test_a_services_field_that_is_not_as_it_was_meant_is_named_with_its_owners(meant, before, there, said) -> None:
    wanted = {"kind": "Service", "metadata": {"name": "model"}, "spec": {"selector": meant}}
    assert [str(each) for each in unmet(wanted, before, there, US)] == said


ENV = {"f:template": {"f:spec": {"f:containers": {'k:{"name":"serving"}': {"f:env": {'k:{"name":"B"}': {
    ".": {}, "f:name": {}, "f:value": {}}}}}}}}  # fmt: skip


def deployment(env: list[dict[str, str]], *managed: dict[str, Any], image: str = "m:1", **spec: Any) -> dict[str, Any]:
    container = {"name": "serving", "image": image, "env": env}
    template = {"metadata": {"annotations": {DIGEST: "sha256:a"}}, "spec": {"containers": [container]}}
    metadata = {"name": "model-stable", "managedFields": list(managed)}
    return {"kind": "Deployment", "metadata": metadata, "spec": {"template": template, **spec}}


A, B = {"name": "A", "value": "1"}, {"name": "B", "value": "2"}


def test_what_is_left_out_of_a_pod_and_stays_is_named_and_does_not_decide() -> None:
    before = deployment([A, B], entry(US, ENV, "Apply"), entry("kubectl", ENV, "Apply"))
    [found] = unmet(deployment([A]), before, deployment([A, B], entry("kubectl", ENV, "Apply")), US)
    assert found.field == "spec.template.spec.containers[name=serving].env[name=B]"
    assert (found.owners, found.found, found.decides) == (("kubectl (Apply)",), B, False)


def test_what_a_webhook_changes_is_the_clusters_policy() -> None:
    """A default that comes back, an image of a mirror, a sidecar: nobody else owns it."""
    before = deployment([A, B], entry(US, ENV, "Apply"))
    there = deployment([A, B], entry(US, {}, "Apply"), image="mirror/m:1")
    there["spec"]["template"]["spec"]["containers"].append({"name": "proxy"})
    assert unmet(deployment([A]), before, there, US) == []


def test_another_version_than_the_one_meant_decides_whoever_has_set_it() -> None:
    there = copy.deepcopy(deployment([A]))
    there["spec"]["template"]["metadata"]["annotations"][DIGEST] = "sha256:b"
    [found] = unmet(deployment([A]), None, there, US)
    assert (found.found, found.meant, found.decides) == ("sha256:b", "sha256:a", True)


def test_replicas_that_are_left_out_are_the_autoscalers() -> None:
    mine, theirs = entry(US, {"f:replicas": {}}, "Apply"), entry("kube-controller-manager", {"f:replicas": {}})
    assert unmet(deployment([A]), deployment([A], mine, theirs), deployment([A], theirs, replicas=5), US) == []
    [found] = unmet(deployment([A], replicas=1), None, deployment([A], theirs, replicas=5), US)
    assert str(found) == "spec.replicas is 5 and was to be 1: kube-controller-manager (Update) owns it"


def test_an_owner_of_an_item_does_not_own_each_of_its_fields() -> None:
    item = {"f:template": {"f:spec": {"f:containers": {'k:{"name":"serving"}': {".": {}, "f:name": {}}}}}}
    image = ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name":"serving"}', "f:image")
    whole = {"f:template": {"f:spec": {"f:containers": {'k:{"name":"serving"}': {"f:image": {}}}}}}
    seen = deployment([A], entry("kubectl-set", whole), entry(US, item, "Apply"), entry(US, whole, "Update"))
    assert owners(seen, image, US) == ("kubectl-set (Update)", "deployer (Update)")
    assert not owns(seen, image, US)
    assert owns(deployment([A], entry(US, whole, "Apply")), image, US)


VARIABLES = st.sets(st.sampled_from("ABCDE"))


@given(VARIABLES, VARIABLES, VARIABLES)
def test_exactly_what_was_left_out_and_is_kept_by_another_is_named(
    first: set[str], theirs: set[str], then: set[str]
) -> None:
    """By server-side apply as the tests' API server does it, which was compared with Kubernetes' own."""
    store, path = apiservers.Store(), "/apis/apps/v1/namespaces/models/deployments/model-stable"

    def apply(manager: str, names: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        body = deployment([{"name": name, "value": "1"} for name in sorted(names)])
        body["metadata"] = {"name": "model-stable"}
        status, found = store.handle("PATCH", path, copy.deepcopy(body), APPLY, {"fieldManager": manager})
        assert status == 200
        return body, found

    apply(US, first)
    _, before = apply("kubectl", theirs)
    wanted, there = apply(US, then)
    names = {each.field for each in unmet(wanted, before, there, US)}
    at = "spec.template.spec.containers[name=serving].env[name={}]"
    assert names == {at.format(name) for name in (first - then) & theirs}
    left = {each["name"] for each in there["spec"]["template"]["spec"]["containers"][0].get("env", ())}
    assert left == then | theirs
