"""The hand-over: what the scheduler would do with a set of nodes, and how far it must be widened."""

import pytest

from ci.errors import InputError
from ci.placement import handover
from ci.placement.inventory import Inventory, Node, Pod
from ci.placement.model import Spread, build
from ci.placement.solver import solve


def nodes(count: int, cpu: int = 16) -> list[Node]:
    amounts = {"cpu": cpu * 1000, "memory": 64 * 2**30}
    return [Node(f"n{j:03}", amounts, amounts) for j in range(count)]


def pods(group: str, count: int, cpu: int) -> list[Pod]:
    return [Pod(f"{group}-{i}", group, {"cpu": cpu * 1000, "memory": 2**30}) for i in range(count)]


def planned(tasks, available):
    problem = build(tasks, available, [Spread("serving", 2)])
    solution = solve(problem, 10)
    assert solution.proven
    return solution.plan(tasks, available)


def pending_on(tasks, available, within):
    return handover.Scheduler(build(tasks, available), tasks, available, within).run(range(len(tasks)))


def test_who_waits_on_all_nodes_all_the_same_is_named():
    tasks, available = pods("five", 40, 5) + pods("three", 40, 3) + pods("eight", 40, 8), nodes(41)
    _, within, waiting = handover.advice(tasks, available, planned(tasks, available), [], required=False)
    assert waiting
    assert {name.rpartition("-")[0] for name in waiting} <= {"five", "three", "eight"}
    assert all(len(names) == 41 for group, names in within.items() if group in {w.rpartition("-")[0] for w in waiting})


def test_spreading_leaves_pods_pending_on_a_set_that_the_plan_fills_and_widening_ends_that():
    tasks, available = pods("small", 250, 3) + pods("large", 150, 5), nodes(140)
    plan = planned(tasks, available)
    assert len(set(plan.values())) == 95
    everywhere = frozenset(plan.values())
    within = {"small": everywhere, "large": everywhere}
    assert pending_on(tasks, available, within)
    wider, pending = handover.widen(tasks, available, within)
    assert not pending
    assert not pending_on(tasks, available, wider)
    assert 0 < len(frozenset().union(*wider.values())) - 95 <= 25


def test_a_pod_stays_within_its_groups_nodes():
    tasks, available = pods("a", 4, 2), nodes(4)
    scheduler = handover.Scheduler(build(tasks, available), tasks, available, {"a": frozenset({"n001", "n002"})})
    assert not scheduler.run(range(4))
    assert sorted(scheduler.hosts) == [1, 1, 2, 2]


def test_the_advice_prefers_nodes_with_weight_100_and_never_names_one():
    tasks, available = pods("serving", 3, 2), nodes(3)
    spread = Spread("serving", 2)
    patch, within, _ = handover.advice(tasks, available, planned(tasks, available), [spread], required=False)
    (term,) = patch["serving"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["weight"] == 100
    (constraint,) = patch["serving"]["topologySpreadConstraints"]
    assert (constraint["maxSkew"], constraint["whenUnsatisfiable"]) == (2, "DoNotSchedule")
    assert "nodeName" not in str(patch)
    assert len(within["serving"]) == 2


def test_a_required_set_is_wide_enough_for_the_loss_of_any_one_node():
    tasks, plan = pods("serving", 2, 2), {"serving-0": "n000", "serving-1": "n000"}
    patch, within, _ = handover.advice(tasks, nodes(3), plan, [], required=True)
    assert len(within["serving"]) == 2
    assert "requiredDuringSchedulingIgnoredDuringExecution" in patch["serving"]["affinity"]["nodeAffinity"]
    with pytest.raises(InputError, match="survives the loss"):
        handover.advice(tasks, nodes(1), plan, [], required=True)


def test_pods_beside_the_plan_are_reported():
    on = {name: Node(name, {}, {}, running=(Pod(f"on-{name}", "g", {}), Pod("other", "h", {}))) for name in "ab"}
    actual = Inventory("test", tuple(on.values()), pending=(Pod("r", "g", {}),))
    found = handover.strays({"g": frozenset({"a"})}, actual)
    assert found[0] == "1 of 3 pods are on their group's planned nodes"
    assert found[1:] == ["on-b is on b, which is not planned for g", "r is Pending"]
