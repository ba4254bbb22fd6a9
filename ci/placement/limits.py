"""Demands between pods (host ports, anti-affinity), as closed nodes and as limits of the integer program.

A host port, and required anti-affinity over nodes or zones, let one pod of several on a node or into a zone: among
tasks that is a limit, and where such a pod runs already the node is closed.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Literal

from ci.placement.inventory import Node, Pod
from ci.placement.model import Spread
from ci.placement.peers import EVERY_IP, HOST, ZONE, Apart, Port

_DOMAINS: dict[str, Literal["node", "zone"]] = {HOST: "node", ZONE: "zone"}


def closed(tasks: Sequence[Pod], nodes: Sequence[Node]) -> tuple[Pod, ...]:
    """Return the tasks with the nodes in their rules that pods which run there close to them, each with its reason."""
    wanting = [pod for node in nodes for pod in node.running if pod.peers.apart]
    found: dict[tuple[object, ...], str] = {}
    for task in tasks:
        if (kind := _kind(task)) not in found:
            reasons = dict(_taken(task, nodes)) | dict(_near(task, wanting, nodes))
            rules = json.loads(task.rules) | ({"closed": reasons} if reasons else {})
            found[kind] = json.dumps(rules, sort_keys=True)
    return tuple(replace(task, rules=found[_kind(task)]) for task in tasks)


def shared(tasks: Sequence[Pod]) -> tuple[tuple[Spread, ...], tuple[str, ...]]:
    """Return the limits that tasks set each other, and in words what of that cannot be said by limits."""
    found = {(tuple(sorted(each.asked.items())), each.limit, each.by): each for each in _ports(tasks) if each.asked}
    named: list[str] = []
    for key, by in _DOMAINS.items():
        for each in _apart(tasks, key, by, named):
            found.setdefault((tuple(sorted((each.asked or {}).items())), each.limit, each.by), each)
    return tuple(found.values()), tuple(named)


def _kind(task: Pod) -> tuple[object, ...]:
    return task.rules, task.namespace, tuple(sorted(task.labels.items())), task.peers


def _taken(task: Pod, nodes: Sequence[Node]) -> Iterator[tuple[str, str]]:
    """Yield nodes on which a running pod has a host port that a task needs."""
    for node in nodes if task.peers.ports else ():
        for pod in node.running:
            for port in task.peers.ports:
                if any(port.clashes(other) for other in pod.peers.ports):
                    yield node.name, f"{pod.name} has the host port {port.number}"


def _near(task: Pod, wanting: Sequence[Pod], nodes: Sequence[Node]) -> Iterator[tuple[str, str]]:
    """Yield nodes that required anti-affinity closes: the task's to running pods, and theirs to the task."""
    theirs = {id(pod): keys for pod in wanting if (keys := _avoided(pod.peers.apart, task))}
    barred: dict[tuple[str, str], str] = {}
    for node in nodes if theirs or task.peers.apart else ():
        for pod in node.running:
            for key in theirs.get(id(pod), ()):
                barred.setdefault((key, node.labels.get(key, "")), f"{pod.name} there wants no such pod near it")
            for key in _avoided(task.peers.apart, pod):
                barred.setdefault((key, node.labels.get(key, "")), f"its anti-affinity keeps it away from {pod.name}")
    for node in nodes if barred else ():
        for (key, value), reason in barred.items():
            if node.labels.get(key) == value:
                yield node.name, reason


def _avoided(terms: Sequence[Apart], other: Pod) -> set[str]:
    """Return the keys of the domains in which terms do not want another pod."""
    return {term.key for term in terms if term.meets(other.namespace, other.labels)}


def _ports(tasks: Sequence[Pod]) -> Iterator[Spread]:
    """Yield a limit of one a node for each host port; a port on all addresses takes that of each address."""
    ports = sorted({port for task in tasks for port in task.peers.ports} | {
        Port(port.number, port.protocol) for task in tasks for port in task.peers.ports
    })  # fmt: skip
    for port in ports:
        asked = {
            task.name: 1
            for task in tasks
            if any(own == port or own == Port(port.number, port.protocol, EVERY_IP) for own in task.peers.ports)
        }
        group = f"host port {port.number}"
        yield Spread(group, 1, asked=asked, what=f"the {group} (one per node)")


def _apart(tasks: Sequence[Pod], key: str, by: Literal["node", "zone"], named: list[str]) -> Iterator[Spread]:
    """Yield limits that keep tasks apart which do not want each other in a domain; name what limits cannot say."""
    kinds: dict[tuple[object, ...], list[Pod]] = defaultdict(list)
    for task in tasks:
        kinds[_kind(task)].append(task)
    members = list(kinds.values())

    def clash(a: int, b: int) -> bool:
        one, other = members[a][0], members[b][0]
        return key in _avoided(one.peers.apart, other) or key in _avoided(other.peers.apart, one)

    every = range(len(members))
    # Of a kind with one task no two can meet, so it may stand among those of which one is enough.
    alone = [k for k in every if clash(k, k) or len(members[k]) == 1]
    pairs = {(a, b) for a, b in combinations(every, 2) if clash(a, b)} | {(k, k) for k in every if clash(k, k)}
    while pairs:
        a, b = min(pairs)
        one, other = members[a], members[b]
        if a in alone and b in alone:
            clique = [a, b] if a != b else [a]
            clique += [k for k in alone if k not in clique and all(clash(k, member) for member in clique)]
            asked = {task.name: 1 for k in clique for task in members[k]}
            limit = 1
            pairs -= {(min(x, y), max(x, y)) for x in clique for y in clique}
        else:
            few, many = (one, other) if a in alone else (other, one)
            limit, asked = len(many), {t.name: 1 for t in many} | {t.name: len(many) for t in few}
            pairs -= {(a, b)}
            if a not in alone and b not in alone:
                both = " and ".join(sorted({few[0].group, many[0].group}))
                named.append(f"podAntiAffinity between {both}, each of several pods")
                continue
        groups = sorted({task.group for task in tasks if task.name in asked})
        yield Spread(" and ".join(groups), limit, by, asked=asked, what=f"anti-affinity (one {groups[0]} per {by})")
