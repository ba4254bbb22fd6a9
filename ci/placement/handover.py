"""A plan as advice to the scheduler: sets of nodes, tried against the scheduler's own way of filtering and scoring.

A set of nodes carries no counts, and the default scheduler spreads, so pods of other sizes can fill a node that the
plan meant for large ones. What the scheduler would do is therefore simulated, and sets are widened until nothing is
left over. Within a set its default profile scores by NodeResourcesFit (least allocated) and
NodeResourcesBalancedAllocation, over CPU and memory.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ci.errors import InputError
from ci.placement.inventory import COMPONENT, Inventory, Node, Pod
from ci.placement.model import Spread, build

Sets = dict[str, frozenset[str]]
"""Names of the nodes of each group of tasks."""


class Scheduler:
    """The default scheduler, simulated: it puts tasks in their order on nodes of their group's set.

    `host` is the node of each task that is not Pending, by its name.
    """

    def __init__(self, tasks: Sequence[Pod], nodes: Sequence[Node], spreads: Sequence[Spread] = ()) -> None:
        self.tasks, self.nodes = tasks, nodes
        self.problem = build(tasks, nodes, [spread for spread in spreads if spread.by == "node"])
        self.left, self.host = self.problem.free.copy(), dict[str, str]()
        self._scored = [r for r, name in enumerate(self.problem.resources) if name in ("cpu", "memory")]
        names = [self.problem.resources[r] for r in self._scored]
        self._whole = np.array([[max(1, node.allocatable.get(name, 0)) for name in names] for node in nodes])

    def run(self, within: Sets, which: Iterable[int] | None = None, lost: int = -1) -> list[int]:
        """Schedule tasks (all) and return those that stay Pending; nothing goes to a `lost` node."""
        problem, pending = self.problem, []
        name = [node.name for node in self.nodes]
        inside = {group: np.array([j for j in range(len(name)) if name[j] in set_]) for group, set_ in within.items()}
        for i in range(len(self.tasks)) if which is None else which:
            asked, task = problem.requests[i], self.tasks[i]
            possible = inside[task.group]
            fits = problem.allowed[problem.rule[i], possible] & np.all(self.left[possible] >= asked, axis=1)
            if not (possible := possible[fits & (possible != lost)]).size:
                pending.append(i)
                continue
            free = ((self.left[possible] - asked)[:, self._scored] / self._whole[possible]).clip(0, 1)
            j = int(possible[np.argmax(free.mean(axis=1) + 1 - free.std(axis=1))])
            self.left[j] -= asked
            self.host[task.name] = self.nodes[j].name
        return pending

    def after_a_loss(self, within: Sets) -> list[int]:
        """Return the tasks that would find no other place if any one node were lost after `run`."""
        before, pending = self.left.copy(), []
        for j, node in enumerate(self.nodes):
            here = [i for i, task in enumerate(self.tasks) if self.host.get(task.name) == node.name]
            if here:
                host = dict(self.host)
                pending += self.run(within, here, lost=j)
                self.left, self.host = before.copy(), host
        return pending


def widen(
    tasks: Sequence[Pod], nodes: Sequence[Node], planned: Sets, spreads: Sequence[Spread] = (), *, loss: bool = False
) -> tuple[Sets, list[int]]:
    """Return sets with which nothing that the plan places stays Pending, and the tasks for which there are none.

    Groups with tasks left over first get nodes of the other groups, then further ones, those with most room first.
    With `loss` nothing may stay Pending when any one node is lost either.
    """
    problem = build(tasks, nodes)
    room, names = (problem.free / problem.requests.sum(axis=0).clip(1)).min(axis=1), [node.name for node in nodes]
    used = frozenset().union(*planned.values())
    order = sorted(range(len(nodes)), key=lambda j: (names[j] not in used, -room[j], names[j]))
    within, step = dict(planned), 1
    while True:
        scheduler = Scheduler(tasks, nodes, spreads)
        pending = scheduler.run(within) or (scheduler.after_a_loss(within) if loss else [])
        wider = dict(within)
        for group, i in {tasks[i].group: i for i in pending}.items():
            further = [names[j] for j in order if names[j] not in within[group] and problem.may(i)[j]]
            wider[group] = within[group] | frozenset(further[:step])
        if wider == within:
            return within, pending
        within, step = wider, step + 1


def advice(
    tasks: Sequence[Pod], nodes: Sequence[Node], plan: Mapping[str, str], spreads: Sequence[Spread], *, required: bool
) -> tuple[dict[str, Any], Sets]:
    """Return the pod fields of each group of planned tasks, and the sets that they lead to.

    Args:
        tasks: the pods; those that the plan leaves out get no advice.
        nodes: all nodes.
        plan: node name by task name.
        spreads: become the scheduler's own constraint.
        required: demand the set instead of preferring it; it is then wide enough for the loss of any one node.

    Raises:
        InputError: `required`, but the cluster is too small for such a set.
    """
    placed = [task for task in tasks if task.name in plan]
    planned = {task.group: frozenset(plan[t.name] for t in placed if t.group == task.group) for task in placed}
    within, pending = widen(placed, nodes, planned, spreads, loss=required) if placed else ({}, [])
    if required and pending:
        raise InputError(
            f"placement.affinity: `required` needs a set that survives the loss of any one of its nodes, and "
            f"{placed[pending[0]].name} would find no other: use `preferred`"
        )
    size = Counter(task.group for task in placed) | Counter()
    limit = {**size, **{spread.group: spread.limit for spread in spreads if spread.by == "node"}}
    host = {node.name: node.labels.get("kubernetes.io/hostname", node.name) for node in nodes}
    fields = {}
    for group, names in within.items():
        values = sorted(host[name] for name in names)
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": values}]}
        affinity: dict[str, Any] = {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}]
        }
        if required:
            affinity = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
        # Where the plan has no limit this one never binds: it takes the place of the scheduler's default constraints,
        # whose scores outweigh a preference and pull pods off the plan.
        spread = {
            "maxSkew": limit[group],
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {COMPONENT: group}},
            "matchLabelKeys": ["pod-template-hash"],
        }
        fields[group] = {"affinity": {"nodeAffinity": affinity}, "topologySpreadConstraints": [spread]}
    return fields, within


def strays(within: Sets, actual: Inventory) -> list[str]:
    """Return in sentences which pods of the groups are not on one of their group's nodes, and how many are."""
    groups = [(pod, node.name) for node in actual.nodes for pod in node.running if pod.group in within]
    away = [
        f"{pod.name} is on {name}, which is not planned for {pod.group}"
        for pod, name in groups
        if name not in within[pod.group]
    ]
    waiting = [f"{pod.name} is Pending" for pod in actual.pending if pod.group in within]
    total = len(groups) + len(waiting)
    return [f"{len(groups) - len(away)} of {total} pods are on their group's planned nodes", *away, *waiting]
