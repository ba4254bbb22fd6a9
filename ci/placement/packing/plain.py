"""The program solved as it is written, by a general solver: the definition, good for a few hundred tasks."""

import os
import sys
from collections.abc import Sequence
from functools import cache
from math import ceil, gcd
from time import monotonic
from typing import Any

import numpy as np

from ci.placement.packing.problem import Problem
from ci.placement.packing.solution import Solution


def plain(
    problem: Problem, time_limit: float, *, solver: str = "HiGHS", complete: bool = False, spare: bool = False
) -> Solution:
    """Solve the program as it is written above, by branch and bound.

    If not all tasks can be placed, as few as possible stay without a node.

    Args:
        problem: the program's data.
        time_limit: wall-clock limit of the whole call; seconds.
        solver: HiGHS or CBC; CBC tells no bound before it has proven the optimum.
        complete: all tasks can be placed, which spares the program their variables for staying without a node.
        spare: leave a hundred-thousandth of every node free. Solvers take 1.000001 for 1, so that a plan may overfill a
            node by as much of it: such a plan is thrown away, and another one looked for with this.
    """
    import pulp

    started = monotonic()
    tasks, nodes = range(len(problem.requests)), range(len(problem.free))
    program = pulp.LpProblem("placement", pulp.LpMinimize)

    def binary(name: str) -> Any:
        return program.add_variable(name, cat=pulp.LpBinary)

    used = [binary(f"y_{j}") for j in nodes]
    on = [{int(j): binary(f"x_{i}_{j}") for j in np.flatnonzero(problem.may(i))} for i in tasks]
    left = [] if complete else [binary(f"u_{i}") for i in tasks]
    # Whole numbers: a node weighs more than all nodes' preferences together, a task left over more than all nodes.
    node = len(nodes) + 1 if problem.preferred.any() else 1
    cost = [node + (node > 1 and not preferred) for preferred in problem.preferred]
    program += pulp.lpDot(cost, used) + (sum(cost) + 1) * pulp.lpSum(left)
    for i in tasks:
        program += pulp.lpSum(on[i].values()) + pulp.lpSum(left[i : i + 1]) == 1
    # The largest unit in which all requests are whole keeps coefficients small, and so does leaving out what is beyond
    # all requests together: solvers refuse those above 10^15.
    unit = [gcd(*map(int, column)) or 1 for column in problem.requests.T]
    total = problem.requests.sum(axis=0).tolist()
    for j in nodes:
        here = [i for i in tasks if j in on[i]]
        for r, size in enumerate(unit):
            large = max(1.0, total[r] / size / 2**40)
            asked = pulp.lpSum(
                int(problem.requests[i, r] // size) / large * on[i][j] for i in here if problem.requests[i, r]
            )
            whole = min(int(problem.free[j, r]), total[r]) // size
            program += asked <= (whole - spare * (whole // 100_000)) / large * used[j]
        for i in here:
            if not problem.requests[i].any():
                program += on[i][j] <= used[j]
    for r in problem.zoned:
        for z in np.unique(problem.zone):
            inside = np.flatnonzero(problem.zone == z).tolist()
            members = [on[i][j] for i in np.flatnonzero(problem.requests[:, r]) for j in inside if j in on[i]]
            program += pulp.lpSum(members) <= int(problem.free[inside[0], r])
    silence()
    # The objective is whole: less than one between plan and bound is a proof.
    limit = max(0.01, time_limit - (monotonic() - started))
    options = {"msg": False, "timeLimit": limit, "threads": 1, "gapRel": 0, "gapAbs": 0.99}
    if solver == "CBC":
        program.solve(pulp.PULP_CBC_CMD(**options))
        bound = program.objective.value() if program.sol_status == pulp.LpSolutionOptimal else 0
    else:
        program.solve(pulp.HiGHS(output_flag=False, **options))
        bound = program.solverModel.getInfo().mip_dual_bound
    found = program.sol_status in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible)
    node_of = tuple(next((j for j, x in row.items() if found and x.varValue > 0.5), -1) for row in on)
    if _overfull(problem, node_of):
        left_of_it = time_limit - (monotonic() - started)
        node_of = (-1,) * len(tasks) if spare else plain(problem, left_of_it, solver=solver, spare=True).node_of
    least, rest = divmod(max(0, ceil(bound - 1e-6)) if abs(bound) < 1e15 else 0, sum(cost) + 1)
    # Each node costs at most `node`, or one more where nodes in use are preferred.
    nodes_at_least = 0 if least else ceil(rest / max(cost, default=1))
    return Solution(node_of, nodes_at_least, least, monotonic() - started)


def _overfull(problem: Problem, node_of: Sequence[int]) -> bool:
    """Tell whether a plan asks more of a node than it has free, in whole numbers."""
    asked = np.zeros_like(problem.free)
    for i, j in enumerate(node_of):
        if j >= 0:
            asked[j] += problem.requests[i]
    return bool((asked > problem.free).any())


@cache
def silence() -> None:
    """Have HiGHS print its greeting, which it does once per process and past all options, where nobody reads it."""
    import highspy

    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    highspy.Highs()
    os.dup2(kept, 1)
    os.close(kept)
    os.close(nowhere)
