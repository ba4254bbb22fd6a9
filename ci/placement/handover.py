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
from ci.placement.model import Problem, Spread, build

Sets = dict[str, frozenset[str]]
"""Names of the nodes of each group of tasks."""


class Scheduler:
    """The default scheduler, simulated: it puts tasks on nodes of their group's set.

    `hosts` is the index of each task's node, -1 while it has none.
    """

    def __init__(self, problem: Problem, tasks: Sequence[Pod], nodes: Sequence[Node], within: Sets) -> None:
        self.problem, self.left, self.hosts = problem, problem.free.copy(), np.full(len(tasks), -1)
        inside = {
            group: np.array([j for j, n in enumerate(nodes) if n.name in names]) for group, names in within.items()
        }
        self._inside = [inside[task.group] for task in tasks]
        self._scored = [r for r, name in enumerate(problem.resources) if name in ("cpu", "memory")]
        whole = [[node.allocatable.get(problem.resources[r], 0) for r in self._scored] for node in nodes]
        self._whole = np.array(whole).clip(1)

    def run(self, which: Iterable[int], lost: int = -1) -> list[int]:
        """Schedule tasks in this order and return those that stay Pending; nothing goes to a `lost` node."""
        problem, pending = self.problem, []
        for i in which:
            asked, possible = problem.requests[i], self._inside[i]
            fits = problem.allowed[problem.rule[i], possible] & (self.left[possible] >= asked).all(axis=1)
            if not (possible := possible[fits & (possible != lost)]).size:
                pending.append(i)
                continue
            # Of two shares, the mean less half the difference, which is their standard deviation, is the smaller one.
            free = (self.left[possible] - asked)[:, self._scored] / self._whole[possible]
            self.hosts[i] = possible[np.argmax(free.min(axis=1, initial=1.0))]
            self.left[self.hosts[i]] -= asked
        return pending

    def after_a_loss(self) -> list[int]:
        """Return the tasks that would find no other place if any one node were lost after `run`."""
        left, hosts, pending = self.left, self.hosts, []
        for j in np.unique(hosts[hosts >= 0]):
            self.left, self.hosts = left.copy(), hosts.copy()
            pending += self.run(np.flatnonzero(hosts == j), lost=j)
        self.left, self.hosts = left, hosts
        return pending


def widen(
    tasks: Sequence[Pod], nodes: Sequence[Node], planned: Sets, spreads: Sequence[Spread] = (), *, loss: bool = False
) -> tuple[Sets, list[int]]:
    """Return sets with which nothing that the plan places stays Pending, and the tasks for which there are none.

    Pods of several owners arrive in any order, so random ones are tried besides the given one and its reverse.
    Groups with tasks left over first get nodes of the other groups, then further ones, those with most room first.
    With `loss` nothing may stay Pending when any one node is lost either.
    """
    problem = build(tasks, nodes, [spread for spread in spreads if spread.by == "node"])
    room, names = (problem.free / problem.requests.sum(axis=0).clip(1)).min(axis=1), [node.name for node in nodes]
    used = frozenset().union(*planned.values())
    order = sorted(range(len(nodes)), key=lambda j: (names[j] not in used, -room[j], names[j]))
    orders = [np.random.default_rng(seed).permutation(len(tasks)) for seed in range(4)]
    orders += [np.arange(len(tasks)), np.arange(len(tasks))[::-1]]
    within, step = dict(planned), 1
    while True:
        for which in orders:
            scheduler = Scheduler(problem, tasks, nodes, within)
            if pending := scheduler.run(which) or (scheduler.after_a_loss() if loss else []):
                break
        wider = dict(within)
        for group, i in {tasks[i].group: i for i in pending}.items():
            may = problem.may(i)
            further = [names[j] for j in order if may[j] and names[j] not in within[group]]
            wider[group] = within[group] | frozenset(further[:step])
        if wider == within:
            return within, pending
        within, step = wider, step + 1


def advice(
    tasks: Sequence[Pod], nodes: Sequence[Node], plan: Mapping[str, str], spreads: Sequence[Spread], *, required: bool
) -> tuple[dict[str, Any], Sets, list[str]]:
    """Return the pod fields of each group of planned tasks, the sets they lead to, and who would wait all the same.

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
    size = Counter(task.group for task in placed)
    start = {group: frozenset(plan[task.name] for task in placed if task.group == group) for group in size}
    within, pending = widen(placed, nodes, start, spreads, loss=required) if placed else ({}, [])
    if required and pending:
        raise InputError(
            f"placement.affinity: `required` needs a set that survives the loss of any one of its nodes, and "
            f"{placed[pending[0]].name} would find no other: use `preferred`"
        )
    limit = {**size, **{spread.group: spread.limit for spread in spreads if spread.by == "node"}}
    host = {node.name: node.labels.get("kubernetes.io/hostname", node.name) for node in nodes}
    fields = {}
    for group, names in within.items():
        values = sorted(host[name] for name in names)
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": values}]}
        strength = "required" if required else "preferred"
        terms = {"nodeSelectorTerms": [term]} if required else [{"weight": 100, "preference": term}]
        # Where the plan has no limit this one never binds: it takes the place of the scheduler's default constraints,
        # whose scores outweigh a preference and pull pods off the plan.
        spread = {
            "maxSkew": limit[group],
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {COMPONENT: group}},
            "matchLabelKeys": ["pod-template-hash"],
        }
        fields[group] = {
            "affinity": {"nodeAffinity": {f"{strength}DuringSchedulingIgnoredDuringExecution": terms}},
            "topologySpreadConstraints": [spread],
        }
    return fields, within, [placed[i].name for i in pending]


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
