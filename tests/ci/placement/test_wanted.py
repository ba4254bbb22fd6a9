"""What is asked of nodes for the pipeline's pods."""

from ci.placement.inventory import Node, Pod
from ci.placement.wanted import reported

TASK = Pod("a", "serving", {"cpu": 1000, "memory": 1, "pods": 1, "ephemeral-storage": 5, "nvidia.com/gpu": 1})


def node(**allocatable):
    amounts = {name.replace("_", "-"): amount for name, amount in allocatable.items()}
    return Node("n", amounts, amounts)


def test_what_no_node_of_a_hand_written_inventory_reports_is_left_out_and_named():
    [task], absent = reported([TASK], [node(cpu=8000, memory=10), node(cpu=1, memory=1, pods=3)])
    assert absent == ["ephemeral-storage"]
    assert task.requests == {"cpu": 1000, "memory": 1, "pods": 1, "nvidia.com/gpu": 1}  # devices are never left out


def test_what_one_node_reports_is_asked_of_all():
    tasks, absent = reported([TASK], [node(cpu=8000, pods=1, ephemeral_storage=9), node(cpu=8000)])
    assert (tasks, absent) == ((TASK,), [])
    assert reported([TASK], []) == ((TASK,), [])
