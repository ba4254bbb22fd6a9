"""The nodes of a plan before a rollout, and where its pods are afterwards."""

import pytest

from ci.errors import StageError
from ci.rollout.cluster.planned import strays, unusable
from tests.ci import apiservers


def node(name, ready="True", cordoned=False, taint=None, labels=True):
    taints = [{"key": taint, "effect": "NoSchedule"}] if taint else []
    return {
        "metadata": {"name": name, **({"labels": {"kubernetes.io/hostname": name}} if labels else {})},
        "spec": {"unschedulable": cordoned, "taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def advice(*names, required=False):
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": list(names)}]}
    if required:
        terms = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    else:
        terms = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}]}
    return {"affinity": {"nodeAffinity": terms}}


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node("a"), node("b"), node("c")], None),
        ([node("a"), node("c")], "1 of the plan's 2 nodes take no pods (b): plan again"),
        ([node("a"), node("b", cordoned=True)], "1 of the plan's 2 nodes take no pods (b)"),
        ([node("a"), node("b", ready="Unknown")], "1 of the plan's 2 nodes take no pods (b)"),
        ([node("a"), node("b", taint="ToBeDeletedByClusterAutoscaler")], "1 of the plan's 2 nodes take no pods (b)"),
        ([node("a"), node("b", taint="DeletionCandidateOfClusterAutoscaler")], "nodes take no pods (b)"),
        ([node("a"), node("b", taint="karpenter.sh/disrupted")], "1 of the plan's 2 nodes take no pods (b)"),
        ([node("a"), node("b", taint="karpenter.sh/disruption")], "1 of the plan's 2 nodes take no pods (b)"),
        ([node("a"), node("b", taint="pool")], "1 of the plan's 2 nodes take no pods (b)"),
        ([node("a"), node("b"), node("virtual", labels=False)], None),
        ([node("a"), {**node("b"), "status": {"allocatable": {"cpu": "odd"}}}], None),
        ([node("c")], "2 of the plan's 2 nodes take no pods (a, b)"),
    ],
)
def test_nodes_of_the_plan_that_take_no_pods_are_named(nodes, said, required):
    with apiservers.serving() as (store, api, _):
        store.objects["/api/v1/nodes"] = {"items": nodes}
        if said and required and len(nodes) == 1:
            with pytest.raises(StageError, match="allows no others"):
                unusable(api, advice("a", "b", required=True))
            return
        found = unusable(api, advice("a", "b", required=required))
    assert said in found if said else found is None


def test_a_taint_that_the_pods_tolerate_takes_no_node_away():
    with apiservers.serving() as (store, api, _):
        store.objects["/api/v1/nodes"] = {"items": [node("a", taint="pool")]}
        tolerant = {"tolerations": [{"key": "pool", "operator": "Exists"}]}
        assert unusable(api, advice("a"), tolerant) is None
        assert unusable(api, advice("a"), {}) is not None


def test_a_demand_about_platforms_alone_allows_all_other_nodes():
    fields = advice("a")
    term = {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "NotIn", "values": ["arm64"]}]}
    required = {"nodeSelectorTerms": [term]}
    fields["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = required
    with apiservers.serving() as (store, api, _):
        store.objects["/api/v1/nodes"] = {"items": [node("c")]}
        assert "1 of the plan's 1 nodes take no pods (a)" in unusable(api, fields)


def test_without_advice_no_node_is_asked_for():
    with apiservers.serving() as (_, api, _):
        assert unusable(api, {}) is None


def pod(name, on):
    return {"metadata": {"name": name}, "spec": {"nodeName": on}}


@pytest.mark.parametrize(
    ("pods", "said"),
    [
        ([pod("p", "a"), pod("q", "b")], "2 of 2 pods are on the plan's nodes"),
        ([pod("q", "c"), pod("p", "a")], "1 of 2 pods are on the plan's nodes: q is on c"),
        ([pod("p", "gone")], "0 of 1 pods are on the plan's nodes: p is on gone"),
    ],
)
def test_pods_that_are_not_on_the_plans_nodes_are_named(pods, said):
    with apiservers.serving() as (store, api, _):
        store.objects["/api/v1/nodes"] = {"items": [node("a"), node("b"), node("c")]}
        assert strays(api, advice("a", "b"), pods) == said


def test_where_pods_are_is_not_asked_without_a_plan():
    with apiservers.serving() as (_, api, _):
        assert strays(api, {}, [pod("p", "a")]) is None
