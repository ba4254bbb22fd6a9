"""From pods and nodes to the integer program that the packing engine solves."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ci.errors import InputError
from ci.placement.inventory import Node, Pod, exclusion
from ci.placement.packing.problem import MOST, Problem


@dataclass(frozen=True)
class Spread:
    """At most `limit` pods of a group on one node, or in one zone; pods named in `besides` are not counted.

    With `asked`, other pods share the limit: it says how much of it each takes, by the pod's name. `what` then says
    for people what is limited.
    """

    group: str
    limit: int
    by: Literal["node", "zone"] = "node"
    besides: frozenset[str] = frozenset()
    asked: Mapping[str, int] | None = None
    what: str = ""

    def counts(self, pod: Pod) -> int:
        """Return how much of the limit a pod takes: of a group's, one."""
        if self.asked is not None:
            return self.asked.get(pod.name, 0)
        return int(pod.group == self.group and pod.name not in self.besides)

    def told(self) -> str:
        """Return in words what is limited, and to how much."""
        return self.what or f"the number of {self.group} pods (at most {self.limit} per {self.by})"


def build(pods: Sequence[Pod], nodes: Sequence[Node], spreads: Sequence[Spread] = ()) -> Problem:
    """Return the program of placing pods on nodes.

    Raises:
        InputError: two pods have one name, they ask for more than can be counted, or no node is ready.
    """
    if twice := [name for name, times in Counter(pod.name for pod in pods).items() if times > 1]:
        raise InputError(f"two pods are named {twice[0]}: give every pod a name of its own")
    if not any(node.ready for node in nodes):
        raise InputError(f"none of the {len(nodes)} nodes is ready: look at `kubectl get nodes`")
    real = sorted({name for pod in pods for name in pod.requests})
    total = {r: sum(pod.requests.get(r, 0) for pod in pods) for r in real}
    if excess := [r for r, amount in total.items() if amount >= MOST]:
        raise InputError(f"the pods ask for {total[excess[0]]} of {excess[0]}, which is more than can be counted")
    # What a node has beyond all requests makes no difference, but could be too large to be added up.
    most = {r: max(amount, MOST // len(nodes)) for r, amount in total.items()}
    rules = sorted({pod.rules for pod in pods})
    asked = [[t.requests.get(r, 0) for r in real] + [s.counts(t) for s in spreads] for t in pods]
    free = [[min(node.free.get(r, 0), most[r]) for r in real] + [s.limit for s in spreads] for node in nodes]
    allowed = [[exclusion(rule, node) is None for node in nodes] for rule in rules]
    return Problem(
        requests=np.array(asked, dtype=np.int64).reshape(len(pods), -1),
        free=np.array(free, dtype=np.int64).reshape(len(nodes), -1),
        resources=(*real, *(f"{spread.group} per {spread.by}" for spread in spreads)),
        rule=np.array([rules.index(pod.rules) for pod in pods], dtype=np.int64),
        allowed=np.array(allowed, dtype=bool).reshape(len(rules), len(nodes)),
        zone=np.unique([node.zone for node in nodes], return_inverse=True)[1],
        zoned=tuple(len(real) + index for index, spread in enumerate(spreads) if spread.by == "zone"),
        preferred=np.array([bool(node.running) for node in nodes]),
    )
