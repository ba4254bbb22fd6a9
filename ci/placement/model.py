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
    """At most `limit` tasks of a group on one node, or in one zone; tasks named in `besides` are not counted.

    With `asked`, other tasks share the limit: it says how much of it each takes, by the task's name. `what` then says
    for people what is limited.
    """

    group: str
    limit: int
    by: Literal["node", "zone"] = "node"
    besides: frozenset[str] = frozenset()
    asked: Mapping[str, int] | None = None
    what: str = ""

    def counts(self, task: Pod) -> int:
        """Return how much of the limit a task takes: of a group's, one."""
        if self.asked is not None:
            return self.asked.get(task.name, 0)
        return int(task.group == self.group and task.name not in self.besides)

    def told(self) -> str:
        """Return in words what is limited, and to how much."""
        return self.what or f"the number of {self.group} tasks (at most {self.limit} per {self.by})"


def build(tasks: Sequence[Pod], nodes: Sequence[Node], spreads: Sequence[Spread] = ()) -> Problem:
    """Return the program of placing tasks on nodes.

    Raises:
        InputError: two tasks have one name, they ask for more than can be counted, or no node is ready.
    """
    if twice := [name for name, times in Counter(task.name for task in tasks).items() if times > 1]:
        raise InputError(f"two tasks are named {twice[0]}: give every task a name of its own")
    if not any(node.ready for node in nodes):
        raise InputError(f"none of the {len(nodes)} nodes is ready: look at `kubectl get nodes`")
    real = sorted({name for task in tasks for name in task.requests})
    total = {r: sum(task.requests.get(r, 0) for task in tasks) for r in real}
    if excess := [r for r, amount in total.items() if amount >= MOST]:
        raise InputError(f"the tasks ask for {total[excess[0]]} of {excess[0]}, which is more than can be counted")
    # What a node has beyond all requests makes no difference, but could be too large to be added up.
    most = {r: max(amount, MOST // len(nodes)) for r, amount in total.items()}
    rules = sorted({task.rules for task in tasks})
    asked = [[t.requests.get(r, 0) for r in real] + [s.counts(t) for s in spreads] for t in tasks]
    free = [[min(node.free.get(r, 0), most[r]) for r in real] + [s.limit for s in spreads] for node in nodes]
    allowed = [[exclusion(rule, node) is None for node in nodes] for rule in rules]
    return Problem(
        requests=np.array(asked, dtype=np.int64).reshape(len(tasks), -1),
        free=np.array(free, dtype=np.int64).reshape(len(nodes), -1),
        resources=(*real, *(f"{spread.group} per {spread.by}" for spread in spreads)),
        rule=np.array([rules.index(task.rules) for task in tasks], dtype=np.int64),
        allowed=np.array(allowed, dtype=bool).reshape(len(rules), len(nodes)),
        zone=np.unique([node.zone for node in nodes], return_inverse=True)[1],
        zoned=tuple(len(real) + index for index, spread in enumerate(spreads) if spread.by == "zone"),
        preferred=np.array([bool(node.running) for node in nodes]),
    )
