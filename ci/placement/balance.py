"""Hard topology spread: no domain may have more than `skew` pods beyond the domain with the fewest.

How many a domain may have depends on how many the emptiest one gets, which is no linear limit. So each number g that
the emptiest may get is a program of its own: at most g + skew in each domain, and g pods tied to each. Pods that
count alike may be exchanged, so it does not matter which are tied. What all these programs have in common, at most
skew more than the largest g, is solved first: its bound holds for every plan, and often its plan is even already.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice, product
from math import ceil
from time import monotonic
from typing import Literal

from ci.placement.inventory import Node, Pod, exclusion, unmatched, untolerated
from ci.placement.model import Spread, build
from ci.placement.packing import solver
from ci.placement.packing.certificate import Certificate
from ci.placement.packing.incumbent import Watch
from ci.placement.packing.problem import Problem
from ci.placement.packing.solution import Bound, Solution
from ci.placement.peers import HOST, REVISION, ZONE, Even
from ci.placement.selectors import matches

_BY: dict[str, Literal["node", "zone"]] = {HOST: "node", ZONE: "zone"}
_PROGRAMS = 24
"""Programs that are solved at most beside the common one."""
_DOMAINS = 1000
"""Domains that pods are tied to at most."""


@dataclass(frozen=True)
class Balance:
    """One hard spread over the pods that it counts.

    Attributes:
        key: label of nodes whose values are the domains.
        skew: most pods beyond the domain with fewest.
        members: names of the pods that count, those that are alike first.
        domains: values of the label on the nodes that count as domains.
        fewest: most that the domain with fewest can get.
    """

    key: str
    skew: int
    members: tuple[str, ...]
    domains: tuple[str, ...]
    fewest: int

    def spread(self, least: int) -> Spread:
        """Return the limit that holds where each domain has so many."""
        by, limit = _BY[self.key], least + self.skew
        what = f"the hard spread of the pods' own (at most {limit} per {by})"
        return Spread(f"spread over {self.key}", limit, by, asked=dict.fromkeys(self.members, 1), what=what)

    def sizes(self) -> range:
        """Return what the domain with fewest can get in a plan with all pods."""
        return range(max(0, ceil(len(self.members) / max(1, len(self.domains))) - self.skew), self.fewest + 1)

    def needed(self) -> int:
        """Return how many domains every plan uses: all, or so many that each has no more than the skew."""
        full = ceil(len(self.members) / self.skew)
        return min(full, len(self.domains)) if self.fewest else full

    def fault(self, plan: Mapping[str, str], nodes: Sequence[Node]) -> str | None:
        """Return in a sentence where a plan is less even than this allows, or None."""
        value = {node.name: node.labels.get(self.key, "") for node in nodes}
        counts = Counter(value[plan[name]] for name in self.members if name in plan)
        least = min((counts[each] for each in self.domains), default=0) if self.fewest else 0
        for domain, count in sorted(counts.items()):
            if count > least + self.skew:
                return f"{self.key}={domain}: {count} pods, {least} in the domain with fewest, {self.skew} more allowed"
        return None


def balances(pods: Sequence[Pod], nodes: Sequence[Node]) -> tuple[tuple[Balance, ...], tuple[str, ...]]:
    """Return the hard spreads of pods over nodes and zones, and in words what of them is not modelled."""
    found: dict[Balance, None] = {}
    named: dict[str, None] = {}
    carried = {(each, pod.namespace): pod for pod in reversed(pods) for each in pod.peers.even if each.key in _BY}
    for (each, namespace), first in reversed(carried.items()):
        if not each.pods:  # it counts nothing
            continue
        members = [pod for pod in pods if pod.namespace == namespace and matches(each.pods, pod.labels)]
        over = f"the spread over {each.key} counts other pods"
        if others := [pod.name for node in nodes for pod in node.running if _counts(each, namespace, pod)]:
            named[f"{over} that run, such as {others[0]}"] = None
        if members != [pod for pod in pods if pod.namespace == namespace and each in pod.peers.even]:
            named[f"{over} than those that have it"] = None
        if members:
            found[_balance(each, first, members, nodes)] = None
    return tuple(found), tuple(named)


def _counts(each: Even, namespace: str, pod: Pod) -> bool:
    return pod.namespace == namespace and not pod.ending and matches(each.pods, pod.labels)


def _balance(each: Even, carrier: Pod, members: Sequence[Pod], nodes: Sequence[Node]) -> Balance:
    keys = json.loads(carrier.rules).get("labels", [each.key])
    usable: dict[str, bool] = {}
    for node in nodes:
        if any(key not in node.labels for key in (*keys, each.key)):
            continue
        if (each.by_rules and unmatched(carrier.rules, node)) or (each.by_taints and untolerated(carrier.rules, node)):
            continue
        value = node.labels[each.key]
        usable[value] = usable.get(value, False) or exclusion(carrier.rules, node) is None
    alike = Counter((pod.rules, pod.labels.get(REVISION)) for pod in members)
    members = sorted(members, key=lambda pod: -alike[pod.rules, pod.labels.get(REVISION)])
    # A domain that takes no pods stays empty, and where there are too few domains the fewest counts as zero.
    least = len(members) // len(usable) if usable and all(usable.values()) and len(usable) >= each.domains else 0
    return Balance(each.key, each.skew, tuple(pod.name for pod in members), tuple(sorted(usable)), least)


def solve_evenly(
    pods: Sequence[Pod],
    nodes: Sequence[Node],
    spreads: Sequence[Spread],
    even: Sequence[Balance],
    time_limit: float,
    watch: Watch | None = None,
) -> tuple[Problem, Solution]:
    """Return the program that all plans obey, and the best plan found that is as even as it must be.

    Args:
        pods: the pods to place.
        nodes: all nodes.
        spreads: limits that hold besides, those of `even` at their largest among them.
        even: the hard spreads.
        time_limit: wall-clock limit of the whole call; seconds.
        watch: is told of progress.
    """
    begin = monotonic()
    problem = build(pods, nodes, spreads)
    common = solver.solve(problem, time_limit / 2 if even else time_limit, watch=watch)
    bound = max([common.bound, *(each.needed() for each in even)]) if not common.unplaced else common.bound
    if not any(each.fault(common.plan(pods, nodes), nodes) for each in even):
        bound = max(common.bound, min(bound, common.objective))
        return problem, replace(common, bound=bound, by=Bound.EVEN if bound > common.bound else common.by)
    best, stopped, by = None, common.stopped, Bound.EVEN if bound > common.bound else common.by
    programs = _programs(even)
    for index, least in enumerate(programs):
        left = time_limit - (monotonic() - begin)
        if stopped or (best is not None and (left <= 0 or (not best.unplaced and best.objective <= bound))):
            break
        tied = _tied(pods, nodes, even, least)
        limits = [*spreads, *(each.spread(n) for each, n in zip(even, least, strict=True))]
        tried = solver.solve(build(tied, nodes, limits), max(0.1, left / (len(programs) - index)), watch=watch)
        stopped = tried.stopped
        # A plan that leaves pods over may leave tied ones, and then be less even than it was meant to be.
        obeys = not any(each.fault(tried.plan(pods, nodes), nodes) for each in even)
        if obeys and (best is None or _cost(tried) < _cost(best)):
            best = tried
    node_of = best.node_of if best else (-1,) * len(pods)
    proof, bound = common.proof, min(bound, len(set(node_of)))
    if -1 in node_of:
        bound = 0
        if not common.unplaced:  # its prices are about nodes, and nothing is known of pods that are left over
            proof = Certificate(1, (0,) * len(pods), (Fraction(0),) * len(problem.resources))
    return problem, Solution(node_of, bound, common.least_unplaced, monotonic() - begin, proof, by, stopped)


def _programs(even: Sequence[Balance]) -> list[tuple[int, ...]]:
    """Return what the emptiest domains may get, for each hard spread: in whole plans, last in any."""
    every = islice(product(*(each.sizes() for each in even)), _PROGRAMS)
    few = [sizes for sizes in every if sum(len(e.domains) for n, e in zip(sizes, even, strict=True) if n) <= _DOMAINS]
    return list(dict.fromkeys([*few, (0,) * len(even)]))


def _cost(found: Solution) -> tuple[int, int]:
    return len(found.unplaced), found.objective


def _tied(pods: Sequence[Pod], nodes: Sequence[Node], even: Sequence[Balance], least: Sequence[int]) -> list[Pod]:
    """Return the pods with so many of them tied to each domain; those tied to a node count for its zone."""
    tie: dict[str, dict[str, str]] = {}
    zone = {node.labels.get(HOST, ""): node.labels.get(ZONE, "") for node in nodes}
    for each, count in sorted(zip(even, least, strict=True), key=lambda pair: pair[0].key != HOST):
        there = {name: zone[tie[name][HOST]] if HOST in tie.get(name, ()) else None for name in each.members}
        waiting = [name for name in each.members if there[name] is None]
        for domain in each.domains:
            chosen = [name for name in each.members if there[name] == domain and each.key == ZONE][:count]
            while len(chosen) < count and waiting:
                chosen.append(waiting.pop(0))
            for name in chosen:
                tie.setdefault(name, {})[each.key] = domain
    result = []
    for pod in pods:
        rules = json.loads(pod.rules)
        wanted = {**rules.get("nodeSelector", {}), **tie.get(pod.name, {})}
        result.append(replace(pod, rules=json.dumps({**rules, "nodeSelector": wanted}, sort_keys=True)))
    return result
