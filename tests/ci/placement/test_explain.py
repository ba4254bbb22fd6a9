"""The explanation names what is scarce, what is missing, and what one node less would lack."""

from ci.placement.explain import amounts, explain, sentences
from ci.placement.inventory import Node, Pod
from ci.placement.model import Spread, build
from ci.placement.packing.solver import solve


def explained(tasks, nodes, *spreads):
    problem = build(tasks, nodes, spreads)
    return sentences(explain(tasks, nodes, spreads, problem, solve(problem, 10)))


def node(name, cpu, **other):
    return Node(name, {"cpu": cpu}, {"cpu": cpu}, **other)


def test_amounts_are_in_units_that_people_read():
    given = {"cpu": 1500, "memory": 3 * 2**29, "nvidia.com/gpu": 2}
    assert amounts(given) == "1.5 CPU, 1.5 GiB memory, 2 nvidia.com/gpu"


def test_a_plan_says_why_nodes_are_not_used_and_what_one_less_would_lack():
    tasks = [Pod("a", "g", {"cpu": 3000}), Pod("b", "g", {"cpu": 3000})]
    lines = explained(tasks, [node("x", 4000), node("y", 4000), node("z", 1000), node("down", 9000, ready=False)])
    assert lines[0] == "2 pods on 2 of 4 nodes; no plan uses fewer"
    assert "not used, no pod fits, cpu is short: z" in lines
    assert "not used, the node is not ready: down" in lines
    assert any(line.startswith("one node less: ") for line in lines)
    assert lines[-1] == "that at least 2 nodes must be used is shown by prices, and a table of what fits on a node"


def test_what_fits_nowhere_is_told_from_what_does_not_fit_beside_the_others():
    tasks = [Pod("huge", "g", {"cpu": 9000}), Pod("a", "g", {"cpu": 3000}), Pod("b", "g", {"cpu": 3000})]
    lines = explained(tasks, [node("x", 4000)])
    assert lines[0] == "2 of 3 pods cannot be placed, no plan places more; 1 fit on 1 node"
    assert "huge (9 CPU) fits on no node; x comes nearest and lacks 5 CPU" in lines
    assert "one more node that accepts them with 12 CPU free would be enough" in lines
    assert any("fits on x alone, but not beside the other pods" in line for line in lines)


def replicas(count):
    return [Pod(f"r{i}", "serving", {"cpu": 1000}) for i in range(count)]


def test_a_spread_is_told_as_what_it_is():
    lines = explained(replicas(4), [node("x", 9000), node("y", 9000)], Spread("serving", 2))
    scarce = "scarcest is the number of serving pods (at most 2 per node), 0% of what was free stays free"
    assert sum(line.endswith(scarce) for line in lines) == 2
    assert "one node less: the node could not hold all pods of serving with at most 2 per node" in lines


def test_a_spread_that_has_places_left_is_not_blamed_for_what_a_resource_lacks():
    lines = explained(replicas(3), [node(name, 1400) for name in "wxyz"], Spread("serving", 2))
    assert "one node less: even the 2 nodes with most free would lack 0.2 CPU" in lines


def test_what_a_zone_shares_counts_for_all_its_nodes():
    zone = {"topology.kubernetes.io/zone": "z"}
    nodes = [node("x", 1000, labels=zone), node("y", 9000, labels=zone), node("far", 900)]
    tasks = [Pod("pinned", "serving", {"cpu": 1000}), *replicas(9)]
    lines = explained(tasks, nodes, Spread("serving", 10, "zone"))
    (line,) = [line for line in lines if line.startswith("y: ")]
    assert "0% of what was free stays free" in line
    lines = explained(
        replicas(2), [node("x", 1500, labels=zone), node("y", 1500, labels=zone)], Spread("serving", 2, "zone")
    )
    assert all("the number of serving pods (at most 2 per zone), 0%" in line for line in lines[1:3])


def test_a_task_that_only_a_spread_keeps_out_is_told_so():
    (line,) = [
        line
        for line in explained(replicas(3), [node("x", 9000), node("y", 900)], Spread("serving", 2))
        if " has room on " in line
    ]
    assert line.endswith("(1 CPU) has room on x, but the number of serving pods (at most 2 per node) is reached there")
