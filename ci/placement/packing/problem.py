"""The integer program: tasks i on nodes j, as few nodes as possible.

    minimise    Σ_j y_j
    subject to  Σ_j x_ij = 1                        every task i once
                Σ_i q_ir x_ij ≤ f_jr y_j            every node j and resource r
                x_ij, y_j ∈ {0, 1}

with q the requests and f what is free; y_j = 1 if this plan puts a task on j, whatever already runs there. A task's
rules fix x_ij = 0 where it may not run. A spread (at most k tasks of a group on a node, or in a zone) is one more
resource, of which a member asks 1 and a node, or all nodes of a zone together, have k; so is a host port, of which each
node has one. Among plans with equally many nodes, those on nodes in use are better. `packing.plain` hands this to a
general solver: it is the definition, good for a few hundred tasks; `packing.solver` solves it for thousands.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
MOST = 2**62
"""Sums of 64-bit integers stay below this."""


@dataclass(frozen=True)
class Problem:
    """The program's data, in exact integers.

    Shapes: `requests` (tasks, resources), `free` (nodes, resources), `rule` (tasks,) the row of `allowed` (rules,
    nodes) that holds for a task, `zone` (nodes,) numbers of zones, `preferred` (nodes,) nodes in use. Resources whose
    index is in `zoned` are shared by the nodes of a zone: `free` holds the zone's amount on each of them.
    """

    requests: Ints
    free: Ints
    resources: tuple[str, ...]
    rule: Ints
    allowed: NDArray[np.bool_]
    zone: Ints
    zoned: tuple[int, ...]
    preferred: NDArray[np.bool_]

    @classmethod
    def of(cls, requests: Ints, free: Ints) -> "Problem":
        """Return the problem of bare amounts: vector bin packing with bins of several sizes.

        Args:
            requests: of each task; shape (tasks, resources).
            free: of each node; shape (nodes, resources).

        Raises:
            ValueError: amounts are no whole numbers, negative, or of other resources.
        """
        requests, free = np.asarray(requests), np.asarray(free)
        if requests.ndim != 2 or free.ndim != 2 or requests.shape[1] != free.shape[1]:
            raise ValueError(
                f"requests {requests.shape} and free {free.shape} must have a row each, of the same resources"
            )
        if {requests.dtype.kind, free.dtype.kind} - {*"iu"} or (requests < 0).any() or (free < 0).any():
            raise ValueError("amounts must be whole numbers from 0 on, such as bytes and millicores")
        if any(total >= MOST for total in requests.sum(axis=0, dtype=object)):
            raise ValueError("the tasks ask for more than can be counted: use larger units")
        names = tuple(f"resource-{r}" for r in range(requests.shape[1]))
        rule, none = np.zeros(len(requests), dtype=np.int64), np.zeros(len(free), dtype=np.int64)
        allowed = np.ones((1, len(free)), dtype=bool)
        free = np.minimum(free, MOST).astype(np.int64)
        return cls(requests.astype(np.int64), free, names, rule, allowed, none, (), none.astype(bool))

    def may(self, task: int) -> NDArray[np.bool_]:
        """Return on which nodes a task may run when they are empty of other tasks; shape (nodes,)."""
        row: NDArray[np.bool_] = self.allowed[self.rule[task]] & np.all(self.requests[task] <= self.free, axis=1)
        return row

    def left(self, node_of: Ints) -> Ints:
        """Return what a plan leaves of each node; of what a zone shares, what it leaves of the zone."""
        taken, placed = np.zeros_like(self.free), node_of >= 0
        np.add.at(taken, node_of[placed], self.requests[placed])
        for r in self.zoned:
            in_zone = np.zeros(self.zone.max(initial=0) + 1, dtype=np.int64)
            np.add.at(in_zone, self.zone, taken[:, r])
            taken[:, r] = in_zone[self.zone]
        return self.free - taken

    def only(self, nodes: Ints, tasks: Ints | None = None) -> "Problem":
        """Return the program of the same tasks, or of some, on some of the nodes."""
        some = slice(None) if tasks is None else tasks
        return replace(
            self,
            requests=self.requests[some],
            rule=self.rule[some],
            free=self.free[nodes],
            allowed=self.allowed[:, nodes],
            zone=self.zone[nodes],
            preferred=self.preferred[nodes],
        )
