"""Demands between pods (host ports, anti-affinity), as closed nodes and as limits of the integer program.

A host port, and required anti-affinity over nodes or zones, let one pod of several on a node or into a zone: among
pods to be placed that is a limit, and where such a pod runs already the node is closed.
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


def closed(pods: Sequence[Pod], nodes: Sequence[Node]) -> tuple[Pod, ...]:
    """Return the pods with the nodes in their rules that others which run there close to them, each with its reason."""
    wanting = [pod for node in nodes for pod in node.running if pod.peers.apart]
    found: dict[tuple[object, ...], str] = {}
    for pod in pods:
        if (kind := _kind(pod)) not in found:
            reasons = dict(_taken(pod, nodes)) | dict(_near(pod, wanting, nodes))
            rules = json.loads(pod.rules) | ({"closed": reasons} if reasons else {})
            found[kind] = json.dumps(rules, sort_keys=True)
    return tuple(replace(pod, rules=found[_kind(pod)]) for pod in pods)


def shared(pods: Sequence[Pod]) -> tuple[tuple[Spread, ...], tuple[str, ...]]:
    """Return the limits that pods set each other, and in words what of that cannot be said by limits."""
    found = {(tuple(sorted(each.asked.items())), each.limit, each.by): each for each in _ports(pods) if each.asked}
    named: list[str] = []
    for key, by in _DOMAINS.items():
        for each in _apart(pods, key, by, named):
            found.setdefault((tuple(sorted((each.asked or {}).items())), each.limit, each.by), each)
    return tuple(found.values()), tuple(named)


def _kind(pod: Pod) -> tuple[object, ...]:
    return pod.rules, pod.namespace, tuple(sorted(pod.labels.items())), pod.peers


def _taken(pod: Pod, nodes: Sequence[Node]) -> Iterator[tuple[str, str]]:
    """Yield nodes on which a running pod has a host port that a pod to be placed needs."""
    for node in nodes if pod.peers.ports else ():
        for running in node.running:
            for port in pod.peers.ports:
                if any(port.clashes(other) for other in running.peers.ports):
                    yield node.name, f"{running.name} has the host port {port.number}"


def _near(pod: Pod, wanting: Sequence[Pod], nodes: Sequence[Node]) -> Iterator[tuple[str, str]]:
    """Yield nodes that required anti-affinity closes: the pod's to running ones, and theirs to it."""
    theirs = {id(other): keys for other in wanting if (keys := _avoided(other.peers.apart, pod))}
    barred: dict[tuple[str, str], str] = {}
    for node in nodes if theirs or pod.peers.apart else ():
        for other in node.running:
            for key in theirs.get(id(other), ()):
                barred.setdefault((key, node.labels.get(key, "")), f"{other.name} there wants no such pod near it")
            for key in _avoided(pod.peers.apart, other):
                barred.setdefault((key, node.labels.get(key, "")), f"its anti-affinity keeps it away from {other.name}")
    for node in nodes if barred else ():
        for (key, value), reason in barred.items():
            if node.labels.get(key) == value:
                yield node.name, reason


def _avoided(terms: Sequence[Apart], other: Pod) -> set[str]:
    """Return the keys of the domains in which terms do not want another pod."""
    return {term.key for term in terms if term.meets(other.namespace, other.labels)}


def _ports(pods: Sequence[Pod]) -> Iterator[Spread]:
    """Yield a limit of one a node for each host port; a port on all addresses takes that of each address."""
    ports = sorted({port for pod in pods for port in pod.peers.ports} | {
        Port(port.number, port.protocol) for pod in pods for port in pod.peers.ports
    })  # fmt: skip
    for port in ports:
        asked = {
            pod.name: 1
            for pod in pods
            if any(own == port or own == Port(port.number, port.protocol, EVERY_IP) for own in pod.peers.ports)
        }
        group = f"host port {port.number}"
        yield Spread(group, 1, asked=asked, what=f"the {group} (one per node)")


def _apart(pods: Sequence[Pod], key: str, by: Literal["node", "zone"], named: list[str]) -> Iterator[Spread]:
    """Yield limits that keep pods apart which do not want each other in a domain; name what limits cannot say."""
    kinds: dict[tuple[object, ...], list[Pod]] = defaultdict(list)
    for pod in pods:
        kinds[_kind(pod)].append(pod)
    members = list(kinds.values())

    def clash(a: int, b: int) -> bool:
        one, other = members[a][0], members[b][0]
        return key in _avoided(one.peers.apart, other) or key in _avoided(other.peers.apart, one)

    every = range(len(members))
    # Of a kind with one pod no two can meet, so it may stand among those of which one is enough.
    alone = [k for k in every if clash(k, k) or len(members[k]) == 1]
    pairs = {(a, b) for a, b in combinations(every, 2) if clash(a, b)} | {(k, k) for k in every if clash(k, k)}
    while pairs:
        a, b = min(pairs)
        one, other = members[a], members[b]
        if a in alone and b in alone:
            clique = [a, b] if a != b else [a]
            clique += [k for k in alone if k not in clique and all(clash(k, member) for member in clique)]
            asked = {pod.name: 1 for k in clique for pod in members[k]}
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
        groups = sorted({pod.group for pod in pods if pod.name in asked})
        yield Spread(" and ".join(groups), limit, by, asked=asked, what=f"anti-affinity (one {groups[0]} per {by})")
