"""A problem with identical tasks and identical nodes counted instead of listed."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ci.placement.packing.problem import Ints, Problem

Chosen = list[tuple[int, Ints, int]]
"""Patterns with their kind of node and on how many nodes they are used."""


@dataclass(frozen=True)
class Kinds:
    """A problem with identical tasks and identical nodes counted instead of listed.

    Shapes: `requests` (kinds of tasks, resources), `demand` and `rule` (kinds of tasks,), `free` (kinds of nodes,
    resources), `count`, `zone` and `preferred` (kinds of nodes,), `allowed` (rules, kinds of nodes), `shared` (zones,
    zoned resources) what is left of each for a whole zone, and the kind of each task and each node.
    """

    requests: Ints
    demand: Ints
    rule: Ints
    free: Ints
    count: Ints
    allowed: NDArray[np.bool_]
    zone: Ints
    zoned: tuple[int, ...]
    shared: Ints
    preferred: NDArray[np.bool_]
    of_task: Ints
    of_node: Ints

    @classmethod
    def of(cls, problem: Problem) -> "Kinds":
        """Return a problem's kinds; more than all tasks together ask for is as good as that."""
        listed = np.column_stack([problem.rule, problem.requests])
        tasks, of_task, demand = np.unique(listed, axis=0, return_inverse=True, return_counts=True)
        zone = problem.zone if problem.zoned else np.zeros_like(problem.zone)
        shared = np.zeros((zone.max(initial=0) + 1, len(problem.zoned)), dtype=np.int64)
        shared[zone] = problem.free[:, list(problem.zoned)]
        free = np.minimum(problem.free, problem.requests.sum(axis=0))
        listed = np.column_stack([free, zone, problem.preferred, problem.allowed.T])
        _, at, of_node, count = np.unique(listed, axis=0, return_index=True, return_inverse=True, return_counts=True)
        return cls(
            requests=tasks[:, 1:],
            demand=demand,
            rule=tasks[:, 0],
            free=free[at],
            count=count,
            allowed=problem.allowed[:, at],
            zone=zone[at],
            zoned=problem.zoned,
            shared=shared,
            preferred=problem.preferred[at],
            of_task=of_task,
            of_node=of_node,
        )

    @property
    def steps(self) -> int:
        """How often a knapsack's table is gone through at most: copies are taken in powers of two."""
        return sum(int(times).bit_length() for times in self.demand)

    @property
    def alike(self) -> Ints:
        """Number the kinds of nodes so that those of a zone that take the same tasks have one number."""
        listed = np.column_stack([self.zone, np.packbits(self.allowed, axis=0).T])
        numbers: Ints = np.unique(listed, axis=0, return_inverse=True)[1]
        return numbers

    def times(self, t: int, pattern: Ints) -> int:
        """Return on how many nodes a pattern can be used before demand, nodes or a zone's share run out."""
        used, share = np.flatnonzero(pattern), (pattern @ self.requests)[list(self.zoned)]
        zones = self.shared[self.zone[t]][share > 0] // share[share > 0]
        return int(min((self.demand[used] // pattern[used]).min(), self.count[t], zones.min(initial=self.count[t])))

    def without(self, t: int, pattern: Ints, times: int) -> "Kinds":
        """Return what remains when a pattern is used on so many nodes of kind t."""
        count, shared, free = self.count.copy(), self.shared.copy(), self.free.copy()
        count[t] -= times
        shared[self.zone[t]] -= times * (pattern @ self.requests)[list(self.zoned)]
        free[:, list(self.zoned)] = shared[self.zone]
        return replace(self, demand=self.demand - times * pattern, count=count, shared=shared, free=free)

    def pack(self, node_of: Ints) -> tuple[Ints, Ints]:
        """Return the kinds of nodes (patterns,) and the patterns (patterns, kinds of tasks) of a plan."""
        used, host = np.unique(node_of[node_of >= 0], return_inverse=True)
        patterns = np.zeros((len(used), len(self.demand)), dtype=np.int64)
        np.add.at(patterns, (host, self.of_task[node_of >= 0]), 1)
        return self.of_node[used], patterns

    def unpack(self, chosen: Chosen) -> Ints:
        """Return the plan that uses the chosen patterns; what they hold too many of is left out."""
        tasks, nodes = _members(self.of_task, len(self.demand)), _members(self.of_node, len(self.count))
        node_of = np.full(len(self.of_task), -1)
        for t, pattern, times in chosen:
            for _ in range(times):
                here = [tasks[i].pop() for i in np.flatnonzero(pattern) for _ in range(min(pattern[i], len(tasks[i])))]
                if here:
                    node_of[here] = nodes[t].pop()
        return node_of


def _members(kind: Ints, kinds: int) -> list[list[int]]:
    """Return what is of each kind, the last first."""
    order = np.argsort(kind, kind="stable")
    ends = np.cumsum(np.bincount(kind, minlength=kinds))
    return [each[::-1].tolist() for each in np.split(order, ends[:-1])]
