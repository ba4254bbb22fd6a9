"""A plan as advice to the scheduler: sets of nodes, tried against the scheduler's own way of filtering and scoring.

A set of nodes carries no counts, and the default scheduler spreads, so pods of other sizes can fill a node that the
plan meant for large ones. What the scheduler would do is therefore simulated, and sets are widened until nothing is
left over. Scores: NodeResourcesFit (least allocated) and NodeResourcesBalancedAllocation with weight 1 each,
PodTopologySpread with weight 2, as in the scheduler's default profile, over CPU and memory.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ci.errors import InputError
from ci.placement.inventory import Node, Pod
from ci.placement.model import build

Sets = dict[str, frozenset[str]]
"""Names of the nodes of each group of tasks."""


def sets(tasks: Sequence[Pod], plan: Mapping[str, str]) -> Sets:
    """Return the nodes that a plan has for each group."""
    groups: dict[str, set[str]] = {}
    for task in tasks:
        groups.setdefault(task.group, set()).update([plan[task.name]] if task.name in plan else [])
    return {group: frozenset(names) for group, names in groups.items()}


def simulate(tasks: Sequence[Pod], nodes: Sequence[Node], within: Sets) -> dict[str, str]:
    """Return where the default scheduler puts tasks in their order, each within its group's nodes.

    A task that is missing in the result stays Pending.
    """
    problem = build(tasks, nodes)
    scored = [r for r, name in enumerate(problem.resources) if name in ("cpu", "memory")]
    whole = np.array([[max(1, node.allocatable.get(problem.resources[r], 0)) for r in scored] for node in nodes])
    left, bound = problem.free.copy(), {}
    inside = {group: np.array([node.name in names for node in nodes]) for group, names in within.items()}
    beside = {group: np.zeros(len(nodes)) for group in within}
    for i, task in enumerate(tasks):
        asked = problem.requests[i]
        fits = inside[task.group] & problem.allowed[problem.rule[i]] & np.all(left >= asked, axis=1)
        if not (possible := np.flatnonzero(fits)).size:
            continue
        free = ((left[possible] - asked)[:, scored] / whole[possible]).clip(0, 1)
        same = beside[task.group][possible]
        spread = 100 * (same.max() + same.min() - same) / max(1.0, same.max())
        score = 100 * free.mean(axis=1) + 100 * (1 - free.std(axis=1)) + 2 * spread
        j = int(possible[np.argmax(score)])
        left[j] -= asked
        beside[task.group][j] += 1
        bound[task.name] = nodes[j].name
    return bound


def widen(tasks: Sequence[Pod], nodes: Sequence[Node], planned: Sets) -> tuple[Sets, int]:
    """Return sets with which nothing that the plan places stays Pending, and how many nodes that takes beyond the plan.

    Groups with tasks left over first get nodes of the other groups, then further ones, those with most room first.
    """
    problem = build(tasks, nodes)
    room = (problem.free / np.maximum(1, problem.requests.sum(axis=0))).min(axis=1)
    names = [node.name for node in nodes]
    used = frozenset().union(*planned.values())
    order = sorted(range(len(nodes)), key=lambda j: (names[j] not in used, -room[j], names[j]))
    within, step = dict(planned), 1
    while True:
        bound = simulate(tasks, nodes, within)
        waiting = {task.group for task in tasks if task.name not in bound}
        wider = dict(within)
        for group in waiting:
            rule = next(i for i, task in enumerate(tasks) if task.group == group)
            further = [names[j] for j in order if names[j] not in within[group] and problem.may(rule)[j]]
            wider[group] = within[group] | frozenset(further[:step])
        if wider == within:
            return within, len(frozenset().union(*within.values()) - used)
        within, step = wider, step + 1


def survives(tasks: Sequence[Pod], nodes: Sequence[Node], within: Sets) -> bool:
    """Return whether the scheduler finds places within the sets for all tasks when any one of the nodes is lost."""
    lost = frozenset().union(*within.values())
    return all(
        len(simulate(tasks, nodes, {group: names - {one} for group, names in within.items()})) == len(tasks)
        for one in sorted(lost)
    )


def affinity(group: str, names: frozenset[str], nodes: Sequence[Node], *, required: bool = False) -> dict[str, Any]:
    """Return the fields of a pod's specification that lead it to a set of nodes.

    Args:
        group: value of the pods' label `app.kubernetes.io/component`, by which they are spread.
        names: the set.
        nodes: all nodes, for their hostname labels.
        required: demand the set instead of preferring it; only for sets that survive the loss of a node.
    """
    hosts = sorted(node.labels.get("kubernetes.io/hostname", node.name) for node in nodes if node.name in names)
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": hosts}]}
    node_affinity = (
        {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
        if required
        else {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}]}
    )
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app.kubernetes.io/component": group}},
    }
    return {"affinity": {"nodeAffinity": node_affinity}, "topologySpreadConstraints": [spread]}


def advice(
    tasks: Sequence[Pod], nodes: Sequence[Node], plan: Mapping[str, str], *, required: bool
) -> tuple[dict[str, Any], int]:
    """Return the pod fields of each group, and how many nodes beyond the plan the scheduler needs.

    Raises:
        InputError: `required`, but the set would leave tasks Pending when a node is lost.
    """
    placed = [task for task in tasks if task.name in plan]
    within, cost = widen(placed, nodes, sets(placed, plan)) if placed else ({}, 0)
    if required and placed and not survives(placed, nodes, within):
        raise InputError(
            "placement.affinity: `required` needs a set that survives the loss of any one of its nodes, "
            "and this plan's does not: use `preferred`"
        )
    return {group: affinity(group, names, nodes, required=required) for group, names in within.items()}, cost


def strays(within: Sets, bound: Mapping[str, tuple[str, str]]) -> list[str]:
    """Return in sentences which pods are not on their group's planned nodes.

    Args:
        within: the planned nodes of each group.
        bound: group and actual node of each pod by its name; an empty node means Pending.
    """
    return [
        f"{name}: {f'on {node}, planned were {len(within.get(group, ()))} others' if node else 'Pending'}"
        for name, (group, node) in sorted(bound.items())
        if node not in within.get(group, frozenset())
    ]
