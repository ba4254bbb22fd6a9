"""The integer program: tasks i on nodes j, as few nodes as possible.

    minimise    Σ_j y_j
    subject to  Σ_j x_ij = 1                        every task i once
                Σ_i q_ir x_ij ≤ f_jr y_j            every node j and resource r
                x_ij, y_j ∈ {0, 1}

with q the requests and f what is free; y_j = 1 if this plan puts a task on j, whatever already runs there. A task's
rules fix x_ij = 0 where it may not run. `plain` hands this to a general solver: it is the definition, good for a few
hundred tasks.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, gcd
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ci.errors import InputError
from ci.placement.inventory import Node, Pod, exclusion

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Problem:
    """The program's data, in exact integers.

    Shapes: `requests` (tasks, resources), `free` (nodes, resources), `rule` (tasks,) the row of `allowed` (rules,
    nodes) that holds for a task.
    """

    tasks: tuple[str, ...]
    nodes: tuple[str, ...]
    resources: tuple[str, ...]
    requests: Ints
    free: Ints
    rule: Ints
    allowed: NDArray[np.bool_]

    def may(self, task: int) -> NDArray[np.bool_]:
        """Return on which nodes a task may run when they are empty of other tasks; shape (nodes,)."""
        row: NDArray[np.bool_] = self.allowed[self.rule[task]] & np.all(self.requests[task] <= self.free, axis=1)
        return row


@dataclass(frozen=True)
class Solution:
    """What a solver found: `node_of[i]` is the node of task i, or -1 where the task could not be placed.

    Attributes:
        node_of: one node for each task; indices into the problem's nodes.
        bound: no plan that places as many tasks uses fewer nodes.
        seconds: wall time, from the problem to this solution.
    """

    node_of: tuple[int, ...]
    bound: int
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
        """Whether no better plan exists."""
        return self.bound == self.objective

    @property
    def unplaced(self) -> tuple[int, ...]:
        """Tasks without a node; empty if the plan is complete."""
        return tuple(task for task, node in enumerate(self.node_of) if node < 0)


def build(tasks: Sequence[Pod], nodes: Sequence[Node]) -> Problem:
    """Return the program of placing tasks on nodes.

    Raises:
        InputError: two tasks have one name, or no node is ready.
    """
    names = [task.name for task in tasks]
    if twice := sorted({name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else ()):
        raise InputError(f"two tasks are named {twice[0]}: give every task a name of its own")
    if not any(node.ready for node in nodes):
        raise InputError(f"none of the {len(nodes)} nodes is ready: look at `kubectl get nodes`")
    resources = tuple(sorted({name for task in tasks for name in task.requests}))
    rules = sorted({task.rules for task in tasks})
    return Problem(
        tasks=tuple(names),
        nodes=tuple(node.name for node in nodes),
        resources=resources,
        requests=_matrix([[task.requests.get(name, 0) for name in resources] for task in tasks], len(resources)),
        free=_matrix([[node.free.get(name, 0) for name in resources] for node in nodes], len(resources)),
        rule=np.array([rules.index(task.rules) for task in tasks], dtype=np.int64),
        allowed=np.array([[exclusion(rule, node) is None for node in nodes] for rule in rules], dtype=bool).reshape(
            len(rules), len(nodes)
        ),
    )


def plain(problem: Problem, time_limit: float) -> Solution:
    """Solve the program as it is written above, by branch and bound.

    If not all tasks can be placed, as few as possible stay without a node.

    Args:
        problem: the program's data.
        time_limit: wall-clock limit of the whole call; seconds.
    """
    started = monotonic()
    solution = _branch_and_bound(problem, started, time_limit, complete=True)
    if solution is None:
        solution = _branch_and_bound(problem, started, time_limit, complete=False)
    if solution is None:
        solution = (-1,) * len(problem.tasks), 0
    return Solution(*solution, seconds=monotonic() - started)


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
    # A task left over costs more than all nodes together.
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
    remaining = time_limit - (monotonic() - started)
    if remaining <= 0:
        return None
    silence()
    # The objective is whole: less than one node between plan and bound is a proof.
    program.solve(pulp.HiGHS(msg=False, output_flag=False, timeLimit=remaining, threads=1, gapRel=0, gapAbs=0.99))
    if program.sol_status not in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible):
        return None
    node_of = tuple(next((j for j, x in nodes.items() if x.varValue > 0.5), -1) for nodes in on)
    penalty = (len(used) + 1) * node_of.count(-1)
    bound = ceil(program.solverModel.getInfo().mip_dual_bound - 1e-6)
    return node_of, max(0, bound - penalty)


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


def _matrix(rows: list[list[int]], columns: int) -> Ints:
    return np.array(rows, dtype=np.int64).reshape(len(rows), columns)
