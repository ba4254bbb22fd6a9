"""The explanation names what is scarce, what is missing, and what one node less would lack."""

from ci.placement.explain import amounts, explain, sentences
from ci.placement.inventory import Node, Pod
from ci.placement.model import build
from ci.placement.solver import solve


def explained(tasks, nodes):
    problem = build(tasks, nodes)
    return sentences(explain(tasks, nodes, (), problem, solve(problem, 10)))


def node(name, cpu, **other):
    return Node(name, {"cpu": cpu}, {"cpu": cpu}, **other)


def test_amounts_are_in_units_that_people_read():
    given = {"cpu": 1500, "memory": 3 * 2**29, "nvidia.com/gpu": 2}
    assert amounts(given) == "1.5 CPU, 1.5 GiB memory, 2 nvidia.com/gpu"


def test_a_plan_says_why_nodes_are_not_used_and_what_one_less_would_lack():
    tasks = [Pod("a", "g", {"cpu": 3000}), Pod("b", "g", {"cpu": 3000})]
    lines = explained(tasks, [node("x", 4000), node("y", 4000), node("z", 1000), node("down", 9000, ready=False)])
    assert lines[0] == "2 tasks on 2 of 4 nodes; no plan uses fewer"
    assert "not used, no task fits, cpu is short: z" in lines
    assert "not used, the node is not ready: down" in lines
    assert any(line.startswith("one node less: ") for line in lines)


def test_what_fits_nowhere_is_told_from_what_does_not_fit_beside_the_others():
    tasks = [Pod("huge", "g", {"cpu": 9000}), Pod("a", "g", {"cpu": 3000}), Pod("b", "g", {"cpu": 3000})]
    lines = explained(tasks, [node("x", 4000)])
    assert lines[0] == "2 of 3 tasks cannot be placed, no plan places more; 1 fit on 1 node"
    assert "huge (9 CPU) fits on no node; x comes nearest and lacks 5 CPU" in lines
    assert "one more node that accepts them with 12 CPU free would be enough" in lines
    assert any("fits on x alone, but not beside the other tasks" in line for line in lines)
