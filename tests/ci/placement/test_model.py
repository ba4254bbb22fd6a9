"""The plain formulation: the article's example, its variations, and what cannot be placed."""

import pytest

from ci.errors import InputError
from ci.placement.check import faults
from ci.placement.inventory import Node, Pod
from ci.placement.model import build
from ci.placement.packing.plain import plain

GIB = 2**30


def task(name: str, cpu: int, memory: int, rules: str = "{}") -> Pod:
    return Pod(name, name, {"cpu": cpu * 1000, "memory": memory * GIB}, rules)


def node(name: str, cpu: int, memory: int, **other) -> Node:
    amounts = {"cpu": cpu * 1000, "memory": memory * GIB}
    return Node(name, amounts, amounts, **other)


ARTICLE_TASKS = (task("T1", 3, 2), task("T2", 2, 4), task("T3", 4, 3))
ARTICLE_NODES = (node("S1", 6, 7), node("S2", 5, 8))
ARTICLE_OPTIMA = (
    {"T1": "S1", "T2": "S1", "T3": "S2"},
    {"T2": "S1", "T3": "S1", "T1": "S2"},
    {"T3": "S1", "T1": "S2", "T2": "S2"},
)


def test_article_example_needs_two_nodes_and_gets_one_of_its_three_optimal_plans():
    problem = build(ARTICLE_TASKS, ARTICLE_NODES)
    solution = plain(problem, time_limit=10)
    assert (solution.objective, solution.bound, solution.proven, solution.gap) == (2, 2, True, 0)
    assert solution.plan(ARTICLE_TASKS, ARTICLE_NODES) in ARTICLE_OPTIMA


def test_article_has_exactly_these_three_optimal_plans():
    from itertools import product

    plans = [dict(zip(("T1", "T2", "T3"), hosts, strict=True)) for hosts in product(("S1", "S2"), repeat=3)]
    valid = [plan for plan in plans if not faults(ARTICLE_TASKS, ARTICLE_NODES, plan)]
    assert sorted(map(sorted, valid)) == sorted(map(sorted, ARTICLE_OPTIMA))
    assert all(plan in ARTICLE_OPTIMA for plan in valid)


def test_article_printed_answer_is_rejected_because_it_asks_six_cpu_of_five():
    found = faults(ARTICLE_TASKS, ARTICLE_NODES, {"T1": "S1", "T2": "S2", "T3": "S2"})
    assert found == ["S2: cpu 6000 asked, 5000 free"]


def test_one_large_node_is_better_than_two_small_ones():
    nodes = (*ARTICLE_NODES, node("S3", 9, 9))
    solution = plain(build(ARTICLE_TASKS, nodes), time_limit=10)
    assert set(solution.plan(ARTICLE_TASKS, nodes).values()) == {"S3"}


def test_a_task_without_requests_still_uses_a_node():
    solution = plain(build([Pod("idle", "idle", {"cpu": 0})], ARTICLE_NODES), time_limit=10)
    assert solution.objective == 1


def test_as_few_tasks_as_possible_stay_without_a_node():
    tasks = [task("large", 5, 1), task("a", 2, 1), task("b", 2, 1), task("c", 2, 1), task("huge", 99, 1)]
    problem = build(tasks, [node("n", 6, 7)])
    solution = plain(problem, time_limit=10)
    assert [tasks[i].name for i in solution.unplaced] == ["large", "huge"]
    assert not solution.objective < solution.bound


def test_rules_keep_a_task_from_nodes_that_would_be_enough():
    gpu = node("g", 9, 9, taints=({"key": "gpu", "value": "", "effect": "NoSchedule"},))
    problem = build(ARTICLE_TASKS, (*ARTICLE_NODES, gpu))
    assert plain(problem, time_limit=10).objective == 2


def test_two_tasks_of_one_name_are_refused():
    with pytest.raises(InputError, match="two pods are named T1"):
        build([task("T1", 1, 1), task("T1", 2, 1)], ARTICLE_NODES)


def test_no_ready_node_is_an_error_that_says_so():
    with pytest.raises(InputError, match="none of the 1 nodes is ready"):
        build(ARTICLE_TASKS, [node("n", 9, 9, ready=False)])
