"""The hand-over: what the scheduler would do with a set of nodes, and how far it must be widened."""

import pytest

from ci.errors import InputError
from ci.placement import handover
from ci.placement.inventory import Node, Pod
from ci.placement.model import build
from ci.placement.solver import solve


def nodes(count: int, cpu: int = 16) -> list[Node]:
    amounts = {"cpu": cpu * 1000, "memory": 64 * 2**30}
    return [Node(f"n{j:03}", amounts, amounts) for j in range(count)]


def pods(group: str, count: int, cpu: int) -> list[Pod]:
    return [Pod(f"{group}-{i}", group, {"cpu": cpu * 1000, "memory": 2**30}) for i in range(count)]


def planned(tasks, available):
    problem = build(tasks, available)
    solution = solve(problem, 10)
    assert solution.proven
    return {problem.tasks[i]: problem.nodes[j] for i, j in enumerate(solution.node_of)}


def test_spreading_leaves_pods_pending_on_a_set_that_the_plan_fills_and_widening_ends_that():
    tasks, available = pods("small", 250, 3) + pods("large", 150, 5), nodes(140)
    plan = planned(tasks, available)
    assert len(set(plan.values())) == 95
    everywhere = frozenset(plan.values())
    within = {"small": everywhere, "large": everywhere}
    assert len(handover.simulate(tasks, available, within)) < 400
    wider, cost = handover.widen(tasks, available, within)
    assert len(handover.simulate(tasks, available, wider)) == 400
    assert 0 < cost <= 20


def test_a_pod_stays_within_its_groups_nodes():
    tasks, available = pods("a", 4, 2), nodes(4)
    bound = handover.simulate(tasks, available, {"a": frozenset({"n001", "n002"})})
    assert sorted(bound.values()) == ["n001", "n001", "n002", "n002"]


def test_the_advice_prefers_nodes_with_weight_100_and_never_names_one():
    tasks, available = pods("serving", 3, 2), nodes(3)
    patch, cost = handover.advice(tasks, available, planned(tasks, available), required=False)
    (term,) = patch["serving"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["weight"] == 100
    assert patch["serving"]["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "ScheduleAnyway"
    assert "nodeName" not in str(patch)
    assert cost == 0


def test_required_is_only_accepted_for_a_set_that_survives_the_loss_of_a_node():
    tasks, available = pods("serving", 2, 2), nodes(3)
    with pytest.raises(InputError, match="survives the loss"):
        handover.advice(tasks, available, {"serving-0": "n000", "serving-1": "n000"}, required=True)
    patch, _ = handover.advice(tasks, available, {"serving-0": "n000", "serving-1": "n001"}, required=True)
    assert "requiredDuringSchedulingIgnoredDuringExecution" in patch["serving"]["affinity"]["nodeAffinity"]


def test_pods_beside_the_plan_are_reported():
    found = handover.strays({"g": frozenset({"a"})}, {"p": ("g", "a"), "q": ("g", "b"), "r": ("g", "")})
    assert found == ["q: on b, planned were 1 others", "r: Pending"]
