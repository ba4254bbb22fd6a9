"""The re-check says what is wrong with a plan, whoever made it."""

import pytest

from ci.errors import StageError
from ci.placement.check import faults, require
from ci.placement.inventory import Node, Pod
from ci.placement.model import Spread

AMOUNTS = {"cpu": 1000, "memory": 2**30, "pods": 2}
TASKS = [Pod("a", "g", {"cpu": 600, "pods": 1}), Pod("b", "g", {"cpu": 600, "pods": 1})]
NODES = [Node("n", AMOUNTS, AMOUNTS), Node("m", AMOUNTS, AMOUNTS), Node("down", AMOUNTS, AMOUNTS, ready=False)]


@pytest.mark.parametrize(
    ("plan", "found"),
    [
        ({"a": "n", "b": "m"}, []),
        ({"a": "n"}, ["b has no node"]),
        ({"a": "n", "b": "gone"}, ["b is on gone, which is not there"]),
        ({"a": "n", "b": "down"}, ["b may not run on down: the node is not ready"]),
        ({"a": "n", "b": "m", "c": "m"}, ["c is not a pod"]),
        ({"a": "n", "b": "n"}, ["n: cpu 1200 asked, 1000 free"]),
    ],
)
def test_every_kind_of_fault_is_named(plan, found):
    assert faults(TASKS, NODES, plan) == found


ZONES = [Node(name, AMOUNTS, AMOUNTS, labels={"topology.kubernetes.io/zone": z}) for name, z in ("na", "mb", "ob")]


@pytest.mark.parametrize(
    ("plan", "spread", "found"),
    [
        ({"a": "n", "b": "m"}, Spread("g", 1), []),
        ({"a": "n", "b": "n"}, Spread("g", 2), []),
        ({"a": "n", "b": "n"}, Spread("g", 1), ["node n: 2 pods of g, 1 allowed"]),
        ({"a": "n", "b": "n"}, Spread("other", 1), []),
        ({"a": "n", "b": "n"}, Spread("g", 1, besides=frozenset({"b"})), []),
        ({"a": "n", "b": "m"}, Spread("g", 1, "zone"), []),
        ({"a": "m", "b": "o"}, Spread("g", 2, "zone"), []),
        ({"a": "m", "b": "o"}, Spread("g", 1, "zone"), ["zone b: 2 pods of g, 1 allowed"]),
    ],
)
def test_a_spread_is_counted_by_node_and_by_zone(plan, spread, found):
    assert faults([Pod("a", "g", {"pods": 1}), Pod("b", "g", {"pods": 1})], ZONES, plan, [spread]) == found


def test_a_resource_that_the_node_does_not_have_counts_as_none_free():
    assert faults([Pod("a", "g", {"nvidia.com/gpu": 1})], NODES, {"a": "n"}) == ["n: nvidia.com/gpu 1 asked, 0 free"]


def test_nothing_of_a_resource_that_the_node_does_not_have_may_be_asked():
    assert faults([Pod("a", "g", {"nvidia.com/gpu": 0})], NODES, {"a": "n"}) == []


def test_a_solvers_plan_that_does_not_hold_ends_the_stage_with_the_first_three_faults():
    require(TASKS, NODES, {"a": "n", "b": "m"})
    with pytest.raises(StageError) as error:
        require(TASKS, NODES, {"c": "m", "d": "m", "e": "m"})
    assert str(error.value) == (
        "the solver's plan does not hold in integers: a has no node; b has no node; c is not a pod"
    )
