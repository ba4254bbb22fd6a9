"""A plan as advice to the scheduler: sets of nodes, tried against the scheduler's own way of filtering and scoring.

A set of nodes carries no counts, and the default scheduler spreads, so pods of other sizes can fill a node that the
plan meant for large ones. What the scheduler would do is therefore simulated, and sets are widened until nothing is
left over. Within a set its default profile scores by NodeResourcesFit (least allocated) and
NodeResourcesBalancedAllocation, both over CPU and memory, in whole points up to 100; among nodes with equally many it
takes any (least_allocated.go and balanced_allocation.go in kubernetes/kubernetes, pkg/scheduler). Since Kubernetes 1.36
the latter judges by how much a pod improves a node's balance, before that by the balance with it (pull request 135573):
sets must hold under both.
"""

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ci.errors import InputError
from ci.placement.inventory import ARCH, OS, Inventory, Node, Pod
from ci.placement.model import Spread, build
from ci.placement.packing.problem import Ints, Problem
from ci.placement.peers import HOST, REVISION
from ci.pods.templates import COMPONENT

Sets = dict[str, frozenset[str]]
"""Names of the nodes of each group of pods."""

ORDERS = 128
"""Orders of arrival that a set is tried with."""
_BATCH = 32
"""Orders that are simulated side by side, every second batch as before Kubernetes 1.36; all are tried again after sets
have been widened."""
_CELLS = 20_000_000
"""Most scores (kinds of pods, worlds, nodes) that are held at a time."""
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_NEVER = 2**31 - 1
"""A skew that no pods reach."""


@dataclass(frozen=True)
class Advice:
    """The advice that the scheduler gets.

    Attributes:
        fields: pod fields by group.
        sets: nodes that they lead to, by group.
        waiting: pods that would wait for room within these sets all the same, in the worst order of arrival found.
        tried: orders of arrival that were simulated with these sets.
    """

    fields: dict[str, Any]
    sets: Sets
    waiting: list[str]
    tried: int


class Scheduler:
    """The default scheduler, simulated: it puts pods on nodes of their group's set, in many worlds side by side."""

    def __init__(
        self, problem: Problem, pods: Sequence[Pod], nodes: Sequence[Node], within: Sets, *, before_1_36: bool = False
    ) -> None:
        self._before_1_36 = before_1_36
        every = frozenset().union(*within.values())
        self.nodes = np.array([j for j, node in enumerate(nodes) if node.name in every], dtype=np.int64)
        here, groups = [nodes[j] for j in self.nodes], sorted(within)
        member = np.array([[node.name in within[group] for node in here] for group in groups])
        listed = np.column_stack([[groups.index(pod.group) for pod in pods], problem.rule, problem.requests])
        kinds, self._kind = np.unique(listed, axis=0, return_inverse=True)
        self._may = member[kinds[:, 0]] & problem.allowed[kinds[:, 1]][:, self.nodes]
        self._asked, self.free = kinds[:, 2:].T, problem.free[self.nodes].T
        self._scored = [r for r, name in enumerate(problem.resources) if name in ("cpu", "memory")]
        whole = [[node.allocatable.get(problem.resources[r], 0) for node in here] for r in self._scored]
        self._points = 100 / np.array(whole, dtype=float).reshape(len(self._scored), len(here)).clip(1)

    def _score(self, left: Ints, at: Ints) -> NDArray[np.float32]:
        """Return the points of each kind of pod on nodes with so much left, -1 where it does not fit."""
        after = left[:, None] - self._asked[:, :, None]
        share = after[self._scored] * self._points[:, None, at]
        balance = _balance(share)
        if not self._before_1_36:
            balance = 50 + (50 + balance - _balance(left[self._scored] * self._points[:, at])) // 2
        points = np.floor(share).sum(axis=0) // max(1, len(self._scored)) + balance
        fits = self._may[:, at] & (after >= 0).all(axis=0)
        return np.where(fits, points, -1).astype(np.float32)

    def run(
        self, left: Ints, queues: Ints, ties: NDArray[np.float32], until: float = inf, *, closed: bool = False
    ) -> Ints:
        """Return the node (index in `nodes`) of each pod in each queue, -1 if it waits.

        Shapes: `left` (resources, nodes) what is free at first; `queues` (worlds, pods) pods in order, -1 for none;
        `ties` (worlds, nodes) in [0, 1) decides among equals. With `closed`, node w takes nothing in world w.

        Raises:
            TimeoutError: at the monotonic time `until`.
        """
        hosts, size = np.full(queues.shape, -1), max(1, _CELLS // (self._may.size + 1))
        first = self._score(left, np.arange(len(self.nodes)))[:, None]
        for part in range(0, len(queues), size):
            world = np.arange(len(queues[part : part + size]))
            tie = ties[part : part + size]
            score = np.where(first >= 0, first + tie, -1)
            if closed:
                score[:, world, part + world] = -1
            there = np.repeat(left[:, None], len(world), axis=1)
            for step, which in enumerate(queues[part : part + size].T):
                if monotonic() > until:
                    raise TimeoutError
                kind = self._kind[which]
                offered = score[kind, world]
                at = offered.argmax(axis=1)
                taken = np.flatnonzero((offered[world, at] >= 0) & (which >= 0))
                at = at[taken]
                hosts[part + taken, step] = at
                there[:, taken, at] = now = there[:, taken, at] - self._asked[:, kind[taken]]
                score[:, taken, at] = np.where((points := self._score(now, at)) >= 0, points + tie[taken, at], -1)
        return hosts

    def waiting(self, orders: Ints, ties: NDArray[np.float32], until: float = inf, *, loss: bool = False) -> Ints:
        """Return the pods that wait in the worst of these orders.

        With `loss` also those that would find no other place if one node were lost after the first order.
        """
        hosts = self.run(self.free, orders, ties, until)
        worst = int((hosts < 0).sum(axis=1).argmax())
        pending: Ints = orders[worst][hosts[worst] < 0]
        if loss and not pending.size:
            left, on = self.free.copy(), [orders[0][hosts[0] == j] for j in range(len(self.nodes))]
            np.subtract.at(left.T, hosts[0], self._asked.T[self._kind[orders[0]]])
            queues = np.array([np.pad(here, (0, max(map(len, on)) - len(here)), constant_values=-1) for here in on])
            moved = self.run(left, queues, np.broadcast_to(ties[0], (len(on), len(on))), until, closed=True)
            pending = queues[(moved < 0) & (queues >= 0)]
        return pending


def _balance(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 100 less the standard deviation of the shares along the first axis: of two it is half the difference."""
    uneven = (share.max(axis=0, initial=-np.inf) - share.min(axis=0, initial=np.inf)) / 2
    balance: NDArray[np.float64] = np.floor(100 - uneven.clip(0))
    return balance


def arrivals(pods: Sequence[Pod], size: NDArray[np.float64], count: int, random: np.random.Generator) -> list[Ints]:
    """Return orders in which pods may reach the scheduler: every owner creates its own, none waits for another.

    They are the given one, its reverse and the smallest first; then by turns groups one after another (each is the last
    of all as often as others), groups side by side at any rates, and any order at all.
    """
    orders: list[Ints] = [np.arange(len(pods)), np.arange(len(pods))[::-1], np.argsort(size, kind="stable")]
    _, group = np.unique([pod.group for pod in pods], return_inverse=True)
    groups = int(group.max()) + 1
    rank = np.empty(len(pods))
    for each in range(groups):
        rank[group == each] = np.arange((group == each).sum())
    last = random.permutation(groups)
    while len(orders) < count:
        if (kind := len(orders) % 4) < 2:
            place = random.random(groups)
            place[last[0]] = 1
            last = np.roll(last, -1)
            orders.append(np.lexsort((rank, place[group])))
        elif kind == 2:
            rate = random.exponential(size=groups) ** 2
            orders.append(np.argsort(rank / rate[group], kind="stable"))
        else:
            orders.append(random.permutation(len(pods)))
    return orders[:count]


def widen(
    pods: Sequence[Pod],
    nodes: Sequence[Node],
    planned: Sets,
    spreads: Sequence[Spread] = (),
    *,
    loss: bool = False,
    until: float = inf,
) -> tuple[Sets, Sequence[int], int]:
    """Return sets with which nothing that the plan places stays Pending, who waits all the same, and orders tried.

    Groups with pods left over first get nodes of the other groups, then further ones, those with most room
    first. With `loss` nothing may stay Pending when any one node is lost either, which is tried after every 32nd order.
    At the monotonic time `until` the sets are what they are, tried with so many orders.
    """
    problem = build(pods, nodes, [spread for spread in spreads if spread.by == "node"])
    total, names = problem.requests.sum(axis=0).clip(1), [node.name for node in nodes]
    room, size = (problem.free / total).min(axis=1), (problem.requests / total).max(axis=1)
    used = frozenset().union(*planned.values())
    order = sorted(range(len(nodes)), key=lambda j: (names[j] not in used, -room[j], names[j]))
    random = np.random.default_rng(0)
    orders = np.array([each for _ in range(0, ORDERS, _BATCH) for each in arrivals(pods, size, _BATCH, random)])
    ties = random.random((ORDERS, len(nodes)), dtype=np.float32)
    within, start, tried = dict(planned), 0, 0
    pending: Sequence[int] = ()
    while tried < ORDERS:
        old, batch = bool(start // _BATCH % 2), slice(start, start + _BATCH)
        scheduler = Scheduler(problem, pods, nodes, within, before_1_36=old)
        try:
            pending = scheduler.waiting(orders[batch], ties[batch][:, scheduler.nodes], until, loss=loss).tolist()
        except TimeoutError:
            break
        if not pending:
            start, tried = (start + _BATCH) % ORDERS, tried + _BATCH
            continue
        wider, tried = dict(within), 0
        for group in sorted({pods[i].group for i in pending}):
            some = [i for i in pending if pods[i].group == group]
            may = problem.may(some[0])
            further = [j for j in order if may[j] and names[j] not in within[group]]
            sums = problem.free[further].cumsum(axis=0, dtype=float)  # whole numbers of 64 bits might overflow
            enough = (sums >= problem.requests[some].sum(axis=0)).all(axis=1)
            count = 1 + int(enough.argmax()) if enough.any() else len(further)
            # Nodes that other groups have already cost nothing: they are taken a quarter at a time.
            count += len(used & {names[j] for j in further}) // 4
            wider[group] = within[group] | frozenset(names[j] for j in further[:count])
        if wider == within:
            break
        within = wider
    return within, pending, tried


def advice(
    pods: Sequence[Pod],
    nodes: Sequence[Node],
    plan: Mapping[str, str],
    spreads: Sequence[Spread],
    *,
    required: bool,
    time_limit: float = inf,
) -> Advice:
    """Return the scheduler's advice about planned pods.

    Args:
        pods: the pods; those that the plan leaves out get no advice.
        nodes: all nodes.
        plan: node name by pod name.
        spreads: become the scheduler's own constraint.
        required: demand the set instead of preferring it; it is then wide enough for the loss of any one node.
        time_limit: wall-clock limit of the simulation; seconds.

    Raises:
        InputError: `required`, but the cluster is too small for such a set, or it was not found in time.
    """
    until = monotonic() + time_limit
    placed = [pod for pod in pods if pod.name in plan]
    groups = {pod.group for pod in placed}
    start = {group: frozenset(plan[pod.name] for pod in placed if pod.group == group) for group in groups}
    within, pending, tried = widen(placed, nodes, start, spreads, loss=required, until=until) if placed else ({}, [], 0)
    if required and placed and (pending or not tried):
        why = f"{placed[pending[0]].name} would find no other" if pending else "time ran out before it was tried"
        raise InputError(
            f"placement.affinity: `required` needs a set that survives the loss of any one of its nodes, and {why}: "
            f"use `preferred`, or raise placement.time_limit"
        )
    limit = {spread.group: spread.limit for spread in spreads if spread.by == "node" and spread.asked is None}
    host = {node.name: node.labels.get(HOST, node.name) for node in nodes}
    fields = {}
    for group, names in within.items():
        values = sorted(host[name] for name in names)
        term = {"matchExpressions": [{"key": HOST, "operator": "In", "values": values}]}
        affinity: dict[str, Any] = {_PREFERRED: [{"weight": 100, "preference": term}]}
        if required:
            affinity = {_REQUIRED: {"nodeSelectorTerms": [term]}}
        elif foreign := _foreign(next(pod for pod in placed if pod.group == group), nodes):
            affinity[_REQUIRED] = {"nodeSelectorTerms": [{"matchExpressions": foreign}]}
        # Where the plan has no limit this one never binds: it takes the place of the scheduler's default constraints,
        # whose scores outweigh a preference and pull pods off the plan.
        spread = {
            "maxSkew": limit.get(group, _NEVER),
            "topologyKey": HOST,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {COMPONENT: group}},
            "matchLabelKeys": ["pod-template-hash"],
        }
        fields[group] = {
            "affinity": {"nodeAffinity": affinity},
            "topologySpreadConstraints": [spread],
        }
    return Advice(fields, within, [placed[i].name for i in pending], tried)


def _foreign(pod: Pod, nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """Return what keeps a pod off nodes of other platforms than its image's, if there are such nodes."""
    found = []
    for key, wanted in zip((OS, ARCH), json.loads(pod.rules).get("platform", ()), strict=False):
        if others := sorted({node.labels.get(key, wanted) for node in nodes} - {wanted}):
            found.append({"key": key, "operator": "NotIn", "values": others})
    return found


def away(within: Mapping[str, Set[str]], bound: Iterable[tuple[str, str, str]]) -> list[str]:
    """Return a sentence for each pod that is not on one of its group's planned nodes.

    Args:
        within: names of the nodes of each group.
        bound: name, group and node of each pod.
    """
    strays = [(pod, group, node) for pod, group, node in bound if node not in within[group]]
    return [f"{pod} is on {node}, which is not planned for {group}" for pod, group, node in strays]


def strays(within: Sets, actual: Inventory, wanted: Sequence[Pod]) -> list[str]:
    """Return in sentences which pods of the groups are not on one of their group's nodes, and how many are.

    Args:
        within: names of the nodes of each group.
        actual: the cluster as it is.
        wanted: the pods that were planned; one that runs is of their group if it has their labels and namespace.
    """
    marks = {
        (each.group, each.namespace, frozenset((k, v) for k, v in each.labels.items() if k != REVISION))
        for each in wanted
    }

    def belongs(pod: Pod) -> bool:
        return any(
            pod.group == group and namespace in ("", pod.namespace) and labels <= pod.labels.items()
            for group, namespace, labels in marks
            if group in within
        )

    wait = {pod.name for pod in actual.pending}
    groups = [
        (pod, node.name) for node in actual.nodes for pod in node.running if belongs(pod) and pod.name not in wait
    ]
    others = away(within, [(pod.name, pod.group, name) for pod, name in groups])
    waiting = [f"{pod.name} is Pending" for pod in actual.pending if belongs(pod)]
    total = len(groups) + len(waiting)
    return [f"{len(groups) - len(others)} of {total} pods are on their group's planned nodes", *others, *waiting]
