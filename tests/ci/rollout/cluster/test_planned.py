"""The nodes of a plan before a rollout, and where its pods are afterwards."""

import pytest

from ci import workspace
from ci.errors import StageError
from ci.results.placement import HANDOVER, PLAN
from ci.rollout.cluster.planned import Planned, placed, read, unusable
from tests import builds
from tests.ci import apiservers


def node(name, ready="True", cordoned=False, taint=None, labels=True):
    taints = [{"key": taint, "effect": "NoSchedule"}] if taint else []
    return {
        "metadata": {"name": name, **({"labels": {"kubernetes.io/hostname": name}} if labels else {})},
        "spec": {"unschedulable": cordoned, "taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


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
                unusable(api, Planned(frozenset("ab"), required=True))
            return
        found = unusable(api, Planned(frozenset("ab"), required))
    assert said in found if said else found is None


def test_a_taint_that_the_pods_tolerate_takes_no_node_away():
    with apiservers.serving() as (store, api, _):
        store.objects["/api/v1/nodes"] = {"items": [node("a", taint="pool")]}
        tolerant = {"tolerations": [{"key": "pool", "operator": "Exists"}]}
        assert unusable(api, Planned(frozenset("a")), tolerant) is None
        assert unusable(api, Planned(frozenset("a")), {}) is not None


def test_without_a_plan_no_node_is_asked_for():
    with apiservers.serving() as (_, api, _):
        assert unusable(api, Planned()) is None


def plan(folder, inventory="cluster"):
    """What the place stage writes: node names, and fields that say hostnames and what an image's platform demands."""
    kept = {"key": "kubernetes.io/arch", "operator": "NotIn", "values": ["arm64"]}
    there = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["host-a"]}
    affinity = {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "preference": {"matchExpressions": [there]}}
        ],
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [kept]}]},
    }
    found = builds.plan(inventory=inventory, sets={"serving": ["a"], "training": ["b"]}, required=False)
    workspace.write_json(folder / PLAN.path, found)
    workspace.write_json(folder / HANDOVER.path, {"serving": {"affinity": {"nodeAffinity": affinity}}})


def test_a_plan_is_its_nodes_names_whatever_its_fields_demand_besides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read() == Planned()
    plan(tmp_path)
    found = read()
    assert (found.nodes, found.required) == (frozenset("a"), False)
    assert "requiredDuringSchedulingIgnoredDuringExecution" in found.fields["affinity"]["nodeAffinity"]
    with apiservers.serving() as (store, api, _):
        store.objects["/api/v1/nodes"] = {"items": [node("c")]}
        assert "1 of the plan's 1 nodes take no pods (a)" in unusable(api, found)


def test_a_plan_for_the_examples_nodes_says_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan(tmp_path, inventory="example")
    assert read() == Planned()


def pod(name, on):
    return {"metadata": {"name": name}, "spec": {"nodeName": on}}


@pytest.mark.parametrize(
    ("pods", "said"),
    [
        ([pod("p", "a"), pod("q", "b")], "2 of 2 pods are on the plan's nodes"),
        (
            [pod("q", "c"), pod("p", "a")],
            "1 of 2 pods are on the plan's nodes: q is on c, which is not planned",
        ),
        ([pod("p", "gone")], "0 of 1 pods are on the plan's nodes: p is on gone, which is not planned"),
    ],
)
def test_pods_that_are_not_on_the_plans_nodes_are_named(pods, said):
    assert str(placed(Planned(frozenset("ab")), pods)).removesuffix(" for serving") == said


def test_where_pods_are_is_not_said_without_a_plan():
    assert placed(Planned(), [pod("p", "a")]) is None


def test_a_plan_of_another_environment_leads_no_pods(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    HANDOVER.write({})
    for of, nodes in ((None, ["a"]), ("staging", ["b"])):
        PLAN.write(builds.plan(sets={"serving": nodes}, **({"environment": of} if of else {})))
        assert read(of).nodes == frozenset(nodes)
        assert read("production").nodes == frozenset()
        assert read(None if of else "staging").nodes == frozenset()
