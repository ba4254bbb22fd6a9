"""The re-check says what is wrong with a plan, whoever made it."""

import pytest

from ci.placement.check import faults
from ci.placement.inventory import Node, Pod

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
        ({"a": "n", "b": "m", "c": "m"}, ["c is not a task"]),
        ({"a": "n", "b": "n"}, ["n: cpu 1200 asked, 1000 free"]),
    ],
)
def test_every_kind_of_fault_is_named(plan, found):
    assert faults(TASKS, NODES, plan) == found


def test_a_resource_that_the_node_does_not_have_counts_as_none_free():
    assert faults([Pod("a", "g", {"nvidia.com/gpu": 1})], NODES, {"a": "n"}) == ["n: nvidia.com/gpu 1 asked, 0 free"]
