"""The integer program: tasks i on nodes j, as few nodes as possible.

    minimise    Σ_j y_j
    subject to  Σ_j x_ij = 1                        every task i once
                Σ_i q_ir x_ij ≤ f_jr y_j            every node j and resource r
                x_ij, y_j ∈ {0, 1}

with q the requests and f what is free; y_j = 1 if this plan puts a task on j, whatever already runs there. A task's
rules fix x_ij = 0 where it may not run. A spread (at most k tasks of a group on a node, or in a zone) is one more
resource, of which a member asks 1 and a node, or all nodes of a zone together, have k; so is a host port, of which each
node has one. Among plans with equally many
nodes, those on nodes in use are better. `plain` hands this to a general solver: it is the definition, good for a few
hundred tasks; `ci.placement.solver` solves it for thousands.
"""

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil, gcd
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ci.errors import InputError
from ci.placement.inventory import Node, Pod, exclusion

if TYPE_CHECKING:
    from ci.placement.certificate import Certificate

Ints = NDArray[np.int64]
_MOST = 2**62
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
            InputError: amounts are no whole numbers, negative, or of other resources.
        """
        requests, free = np.asarray(requests), np.asarray(free)
        if requests.ndim != 2 or free.ndim != 2 or requests.shape[1] != free.shape[1]:
            raise InputError(
                f"requests {requests.shape} and free {free.shape} must have a row each, of the same resources"
            )
        if {requests.dtype.kind, free.dtype.kind} - {*"iu"} or (requests < 0).any() or (free < 0).any():
            raise InputError("amounts must be whole numbers from 0 on, such as bytes and millicores")
        if any(total >= _MOST for total in requests.sum(axis=0, dtype=object)):
            raise InputError("the tasks ask for more than can be counted: use larger units")
        names = tuple(f"resource-{r}" for r in range(requests.shape[1]))
        rule, none = np.zeros(len(requests), dtype=np.int64), np.zeros(len(free), dtype=np.int64)
        allowed = np.ones((1, len(free)), dtype=bool)
        free = np.minimum(free, _MOST).astype(np.int64)
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

    def only(self, nodes: Ints) -> "Problem":
        """Return the program of the same tasks on some of the nodes."""
        return replace(
            self,
            free=self.free[nodes],
            allowed=self.allowed[:, nodes],
            zone=self.zone[nodes],
            preferred=self.preferred[nodes],
        )


@dataclass(frozen=True)
class Solution:
    """What a solver found: `node_of[i]` is the node of task i, or -1 where it has none.

    No plan with all tasks uses fewer than `bound` nodes, and every plan leaves at least `least_unplaced` tasks without
    a node. `seconds` is the wall time from the problem to this solution. `proof` shows the bound that counts: on tasks
    without a node if there are any, else on nodes. Where branch and bound has found a better one, it shows less.
    """

    node_of: tuple[int, ...]
    bound: int
    least_unplaced: int
    seconds: float
    proof: "Certificate | None" = None

    @property
    def objective(self) -> int:
        """The number of nodes that the plan uses."""
        return len(set(self.node_of) - {-1})

    @property
    def gap(self) -> float:
        """How far the objective can be from the optimum at most, as a share of the objective."""
        return (self.objective - self.bound) / self.objective if self.objective else 0.0

    @property
    def proven(self) -> bool:
        """Whether no plan places more tasks or, if all are placed, uses fewer nodes.

        It says nothing of which nodes: that no plan with as many has more nodes in use is proven for small problems
        only (see `ci.placement.solver`).
        """
        return len(self.unplaced) == self.least_unplaced if self.unplaced else self.bound == self.objective

    def plan(self, tasks: Sequence[Pod], nodes: Sequence[Node]) -> dict[str, str]:
        """Return the name of its node for each task that has one, by the task's name."""
        return {task.name: nodes[j].name for task, j in zip(tasks, self.node_of, strict=True) if j >= 0}

    @property
    def unplaced(self) -> tuple[int, ...]:
        """Tasks without a node; empty if the plan is complete."""
        return tuple(task for task, node in enumerate(self.node_of) if node < 0)


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
    if excess := [r for r, amount in total.items() if amount >= _MOST]:
        raise InputError(f"the tasks ask for {total[excess[0]]} of {excess[0]}, which is more than can be counted")
    # What a node has beyond all requests makes no difference, but could be too large to be added up.
    most = {r: max(amount, _MOST // len(nodes)) for r, amount in total.items()}
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
