"""The integer program: tasks i on nodes j, as few nodes as possible.

    minimise    Σ_j y_j
    subject to  Σ_j x_ij = 1                        every task i once
                Σ_i q_ir x_ij ≤ f_jr y_j            every node j and resource r
                x_ij, y_j ∈ {0, 1}

with q the requests and f what is free; y_j = 1 if this plan puts a task on j, whatever already runs there. A task's
rules fix x_ij = 0 where it may not run. A spread (at most k tasks of a group on a node, or in a zone) is one more
resource, of which a member asks 1 and a node, or all nodes of a zone together, have k. `plain` hands this to a general
solver: it is the definition, good for a few hundred tasks; `ci.placement.solver` solves it for thousands.
"""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, gcd
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ci.errors import InputError
from ci.placement.inventory import Node, Pod, exclusion

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Problem:
    """The program's data, in exact integers.

    Shapes: `requests` (tasks, resources), `free` (nodes, resources), `rule` (tasks,) the row of `allowed` (rules,
    nodes) that holds for a task, `zone` (nodes,) numbers of zones, `preferred` (nodes,) which nodes are taken first
    among plans with equally many. Resources whose index is in `zoned` are shared by the nodes of a zone: `free` holds
    the zone's amount on each of them.
    """

    tasks: tuple[str, ...]
    nodes: tuple[str, ...]
    resources: tuple[str, ...]
    requests: Ints
    free: Ints
    rule: Ints
    allowed: NDArray[np.bool_]
    zone: Ints
    zoned: tuple[int, ...]
    preferred: NDArray[np.bool_]

    @classmethod
    def of(cls, requests: Ints, free: Ints) -> "Problem":
        """Return the problem of bare amounts: vector bin packing with bins of several sizes.

        Args:
            requests: what each task asks of each resource; shape (tasks, resources).
            free: what each node has; shape (nodes, resources).
        """
        tasks, nodes = len(requests), len(free)
        return cls(
            tasks=tuple(f"task-{i}" for i in range(tasks)),
            nodes=tuple(f"node-{j}" for j in range(nodes)),
            resources=tuple(f"resource-{r}" for r in range(requests.shape[1])),
            requests=np.asarray(requests, dtype=np.int64),
            free=np.asarray(free, dtype=np.int64),
            rule=np.zeros(tasks, dtype=np.int64),
            allowed=np.ones((1, nodes), dtype=bool),
            zone=np.zeros(nodes, dtype=np.int64),
            zoned=(),
            preferred=np.zeros(nodes, dtype=bool),
        )

    def may(self, task: int) -> NDArray[np.bool_]:
        """Return on which nodes a task may run when they are empty of other tasks; shape (nodes,)."""
        row: NDArray[np.bool_] = self.allowed[self.rule[task]] & np.all(self.requests[task] <= self.free, axis=1)
        return row


@dataclass(frozen=True)
class Solution:
    """What a solver found: `node_of[i]` is the node of task i, or -1 where the task could not be placed.

    Attributes:
        node_of: one node for each task; indices into the problem's nodes.
        bound: no plan with all tasks uses fewer nodes.
        least_unplaced: every plan leaves so many tasks without a node.
        seconds: wall time, from the problem to this solution.
    """

    node_of: tuple[int, ...]
    bound: int
    least_unplaced: int
    seconds: float

    @property
    def objective(self) -> int:
        """The number of nodes that the plan uses."""
        return len({node for node in self.node_of if node >= 0})

    @property
    def gap(self) -> float:
        """How far the objective can be from the optimum at most, as a share of the objective."""
        return (self.objective - self.bound) / self.objective if self.objective else 0.0

    @property
    def proven(self) -> bool:
        """Whether no plan places more tasks or, if all are placed, uses fewer nodes."""
        if self.unplaced:
            return len(self.unplaced) == self.least_unplaced
        return self.bound == self.objective

    @property
    def unplaced(self) -> tuple[int, ...]:
        """Tasks without a node; empty if the plan is complete."""
        return tuple(task for task, node in enumerate(self.node_of) if node < 0)


@dataclass(frozen=True)
class Spread:
    """At most `limit` tasks of a group on one node, or in one zone."""

    group: str
    limit: int
    by: Literal["node", "zone"] = "node"


def build(tasks: Sequence[Pod], nodes: Sequence[Node], spreads: Sequence[Spread] = ()) -> Problem:
    """Return the program of placing tasks on nodes; nodes in use are preferred among plans with equally many.

    Raises:
        InputError: two tasks have one name, or no node is ready.
    """
    names = Counter(task.name for task in tasks)
    if twice := [name for name, times in names.items() if times > 1]:
        raise InputError(f"two tasks are named {twice[0]}: give every task a name of its own")
    if not any(node.ready for node in nodes):
        raise InputError(f"none of the {len(nodes)} nodes is ready: look at `kubectl get nodes`")
    real = sorted({name for task in tasks for name in task.requests})
    zones = sorted({node.zone for node in nodes})
    rules = {task.rules: None for task in tasks}
    allowed = [[exclusion(rule, node) is None for node in nodes] for rule in rules]
    number = {rule: index for index, rule in enumerate(rules)}
    return Problem(
        tasks=tuple(names),
        nodes=tuple(node.name for node in nodes),
        resources=(*real, *(f"places for {spread.group} per {spread.by}" for spread in spreads)),
        requests=_matrix(
            [[task.requests.get(r, 0) for r in real] + [int(task.group == s.group) for s in spreads] for task in tasks]
        ),
        free=_matrix([[node.free.get(r, 0) for r in real] + [s.limit for s in spreads] for node in nodes]),
        rule=np.array([number[task.rules] for task in tasks], dtype=np.int64),
        allowed=np.array(allowed, dtype=bool).reshape(len(rules), len(nodes)),
        zone=np.array([zones.index(node.zone) for node in nodes], dtype=np.int64),
        zoned=tuple(len(real) + index for index, spread in enumerate(spreads) if spread.by == "zone"),
        preferred=np.array([bool(node.running) for node in nodes], dtype=bool),
    )


def plain(problem: Problem, time_limit: float) -> Solution:
    """Solve the program as it is written above, by branch and bound.

    If not all tasks can be placed, as few as possible stay without a node.

    Args:
        problem: the program's data.
        time_limit: wall-clock limit of the whole call; seconds.
    """
    started = monotonic()
    found = _branch_and_bound(problem, started, time_limit, complete=True)
    found = found or _branch_and_bound(problem, started, time_limit, complete=False)
    node_of, bound = found or ((-1,) * len(problem.tasks), 0)
    # A task left over costs more than all nodes together.
    least = bound // (len(problem.nodes) + 1)
    return Solution(node_of, 0 if least else bound, least, monotonic() - started)


def _branch_and_bound(
    problem: Problem, started: float, time_limit: float, *, complete: bool
) -> tuple[tuple[int, ...], int] | None:
    """Return nodes of tasks and the bound, or None if there is no plan (that was found in time)."""
    import pulp

    program = pulp.LpProblem("placement", pulp.LpMinimize)
    used = [program.add_variable(f"y_{j}", cat=pulp.LpBinary) for j in range(len(problem.nodes))]
    on: list[dict[int, Any]] = [
        {int(j): program.add_variable(f"x_{i}_{j}", cat=pulp.LpBinary) for j in np.flatnonzero(problem.may(i))}
        for i in range(len(problem.tasks))
    ]
    left = [] if complete else [program.add_variable(f"u_{i}", cat=pulp.LpBinary) for i in range(len(on))]
    program += pulp.lpSum(used) + (len(used) + 1) * pulp.lpSum(left)
    for i, nodes in enumerate(on):
        if complete and not nodes:
            return None
        program += pulp.lpSum(nodes.values()) + (left[i] if left else 0) == 1
    unit = _units(problem.requests)
    for j, y in enumerate(used):
        here = [(i, nodes[j]) for i, nodes in enumerate(on) if j in nodes]
        for r in range(len(problem.resources)):
            amount = [(int(problem.requests[i, r] // unit[r]), x) for i, x in here]
            program += pulp.lpSum(q * x for q, x in amount if q) <= int(problem.free[j, r] // unit[r]) * y
        for i, x in here:
            if not problem.requests[i].any():
                program += x <= y
    for r in problem.zoned:
        for z in np.unique(problem.zone):
            inside = np.flatnonzero(problem.zone == z)
            members = [on[i][j] for i in np.flatnonzero(problem.requests[:, r]) for j in map(int, inside) if j in on[i]]
            program += pulp.lpSum(members) <= int(problem.free[inside[0], r])
    remaining = time_limit - (monotonic() - started)
    if remaining <= 0:
        return None
    silence()
    # The objective is whole: less than one node between plan and bound is a proof.
    program.solve(pulp.HiGHS(msg=False, output_flag=False, timeLimit=remaining, threads=1, gapRel=0, gapAbs=0.99))
    if program.sol_status not in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible):
        return None
    node_of = tuple(next((j for j, x in nodes.items() if x.varValue > 0.5), -1) for nodes in on)
    return node_of, ceil(program.solverModel.getInfo().mip_dual_bound - 1e-6)


@cache
def silence() -> None:
    """Have HiGHS print its greeting, which it does once per process, where nobody reads it.

    It goes to the process' standard output, past every option and past Python, and that belongs to the commands.
    """
    import highspy

    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            highspy.Highs()
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _units(requests: Ints) -> list[int]:
    """Return the largest unit in which all requests of a resource are whole, which keeps coefficients small."""
    return [gcd(*map(int, column)) or 1 for column in requests.T]


def _matrix(rows: list[list[int]]) -> Ints:
    return np.array(rows, dtype=np.int64).reshape(len(rows), -1)
