"""Column generation: patterns of tasks for nodes, priced by dynamic programming over a grid of amounts.

Identical tasks are one kind, identical nodes another. The master program chooses how often each pattern is used,

    minimise Σ_p c_t λ_p   subject to   Σ_p a_ip λ_p ≥ d_i   for each kind of task i,
                                        Σ_{p on t} λ_p ≤ n_t for each kind of node t,

and a pattern on t is worth adding where its tasks' prices exceed c_t plus the price of a node t (Gilmore and Gomory,
1961). One table of the knapsack's values over all amounts prices the patterns of all kinds of nodes at once.
"""

from dataclasses import dataclass, replace
from math import gcd, inf
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ci.placement.model import Ints, Problem, silence

Floats = NDArray[np.float64]
Chosen = list[tuple[int, Ints, int]]
"""Patterns with their kind of node and on how many nodes they are used."""

_PULL, _NEAR, _MORE = 0.6, 0.001, 200


@dataclass(frozen=True)
class Kinds:
    """A problem with identical tasks and identical nodes counted instead of listed.

    Shapes: `requests` (kinds of tasks, resources), `demand` (kinds of tasks,), `free` (kinds of nodes, resources),
    `count`, `zone` and `preferred` (kinds of nodes,), `allowed` (kinds of tasks, kinds of nodes), `shared` (zones,
    zoned resources) what is left of each for a whole zone, and the kind of each task and each node.
    """

    requests: Ints
    demand: Ints
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
        shared = problem.free[np.unique(zone, return_index=True)[1]][:, list(problem.zoned)]
        free = np.minimum(problem.free, problem.requests.sum(axis=0))
        listed = np.column_stack([free, zone, problem.preferred, problem.allowed.T])
        _, at, of_node, count = np.unique(listed, axis=0, return_index=True, return_inverse=True, return_counts=True)
        allowed, preferred = problem.allowed[tasks[:, 0]][:, at], problem.preferred[at]
        return cls(
            tasks[:, 1:], demand, free[at], count, allowed, zone[at], problem.zoned, shared, preferred, of_task, of_node
        )

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
        tasks = [list(np.flatnonzero(self.of_task == kind)[::-1]) for kind in range(len(self.demand))]
        nodes = [list(np.flatnonzero(self.of_node == kind)[::-1]) for kind in range(len(self.count))]
        node_of = np.full(len(self.of_task), -1)
        for t, pattern, times in chosen:
            for _ in range(times):
                here = [tasks[i].pop() for i in np.flatnonzero(pattern) for _ in range(min(pattern[i], len(tasks[i])))]
                if here:
                    node_of[here] = nodes[t].pop()
        return node_of


def grid(kinds: Kinds, cells: int) -> dict[int, int]:
    """Return a unit for each resource that can run out, such that a grid has about so many cells."""
    total, free = kinds.demand @ kinds.requests, kinds.free
    axes = [r for r in range(len(total)) if np.any(total[r] > free[:, r])] or [0]
    for r in sorted(axes, key=lambda r: -float((free[:, r] / max(1, kinds.requests[:, r].max())).min())):
        asked = kinds.requests[kinds.requests[:, r] > 0]
        # Where another resource that they all ask for is used up, enough of this one is left.
        others = [other for other in axes if other != r and asked[:, other].all()]
        if any(np.all((asked[:, r] / asked[:, o]).max() * free[:, o] <= free[:, r]) for o in others):
            axes.remove(r)
    fine = {r: gcd(*map(int, kinds.requests[:, r])) or 1 for r in axes}
    steps = {r: int(free[:, r].max()) // fine[r] for r in axes}
    units = {}
    for done, r in enumerate(sorted(axes, key=lambda r: steps[r])):
        budget = max(2, int(cells ** (1 / (len(axes) - done))))
        units[r] = fine[r] * (steps[r] // budget + 1)
        cells = max(2, cells // (int(free[:, r].max()) // units[r] + 1))
    return units


class Pricer:
    """Finds the patterns that are worth most at given prices, on a grid of about `cells` cells.

    Requests are rounded up to the grid and free amounts down, so a pattern always fits. `exact` says that rounding
    changed nothing.
    """

    def __init__(self, kinds: Kinds, cells: int) -> None:
        self.kinds, self.units = kinds, grid(kinds, cells)
        axes, unit = list(self.units), np.array(list(self.units.values()))
        self.size, self.room = -(-kinds.requests[:, axes] // unit), kinds.free[:, axes] // unit
        self.exact = not np.any(kinds.requests[:, axes] % unit)
        alike = np.column_stack([kinds.zone, kinds.allowed.T])
        self.alike = np.unique(alike, axis=0, return_inverse=True)[1]

    def __call__(self, prices: Floats) -> tuple[Ints, Ints]:
        """Return patterns worth much: kinds of nodes (patterns,) and what is on them (patterns, kinds of tasks).

        The first are the best for each kind of node, in order; others, the best that hold a certain task, follow.
        `prices` has the shape (zones, kinds of tasks).
        """
        kinds = self.kinds
        node, held = np.arange(len(kinds.count)), np.zeros((len(kinds.count), len(kinds.demand)), dtype=np.int64)
        for each in range(int(self.alike.max()) + 1):
            here = np.flatnonzero(self.alike == each)
            t, patterns = self._knapsack(here, prices[kinds.zone[here[0]]])
            held[here] = patterns[: len(here)]
            node, held = np.append(node, t[len(here) :]), np.concatenate([held, patterns[len(here) :]])
        if not self.exact:
            # What rounding has left free takes more tasks, those first that are worth most for their size.
            value, left = prices[0], kinds.free[node] - held @ kinds.requests
            size = (self.size / self.room.max(axis=0).clip(1)).sum(axis=1)
            for i in np.argsort(-value / size.clip(1e-12))[: np.count_nonzero(value > 0)]:
                asked = np.flatnonzero(kinds.requests[i])
                fit = (left[:, asked] // kinds.requests[i, asked]).min(axis=1, initial=kinds.demand[i])
                fit = np.minimum(fit, np.where(kinds.allowed[i, node], kinds.demand[i], 0) - held[:, i])
                held[:, i] += fit
                left -= fit[:, None] * kinds.requests[i]
        return node, held

    def _knapsack(self, here: Ints, value: Floats) -> tuple[Ints, Ints]:
        """Solve the bounded knapsacks of some kinds of nodes: copies in powers of two, then back through the table."""
        top = self.room[here].max(axis=0)
        table = np.zeros(tuple(top + 1), dtype=np.float32)
        steps: list[tuple[int, int, Ints, tuple[int, ...], NDArray[np.uint8]]] = []
        kinds = self.kinds
        useful = np.flatnonzero((value > 1e-9) & kinds.allowed[:, here[0]] & (kinds.demand > 0))
        for i in useful:
            size = self.size[i]
            left, step = int(min([kinds.demand[i], *(top[size > 0] // size[size > 0])])), 1
            while left > 0:
                copies = min(step, left)
                left, step = left - copies, step * 2
                start = copies * size
                with_them = table[tuple(slice(None, -a or None) for a in start)] + np.float32(copies * value[i])
                target = table[tuple(slice(a, None) for a in start)]
                better = with_them > target
                steps.append((int(i), copies, start, better.shape, np.packbits(better)))
                np.maximum(target, with_them, out=target)
        common = here[np.argsort(-kinds.count[here], kind="stable")][: _MORE // (len(useful) + 1)]
        node = np.concatenate([here, np.repeat(common, len(useful))])
        forced = np.tile(useful, len(common))
        cell, pattern = self.room[node].copy(), np.zeros((len(node), len(value)), dtype=np.int64)
        pattern[np.arange(len(here), len(node)), forced] = 1
        cell[len(here) :] -= self.size[forced]
        for task, copies, start, shape, taken in reversed(steps):
            inside = np.flatnonzero(np.all(cell >= start, axis=1))
            flat = np.ravel_multi_index(tuple((cell[inside] - start).T), shape)
            rows = inside[(taken[flat >> 3] >> (7 - (flat & 7)) & 1).astype(bool)]
            pattern[rows, task] += copies
            cell[rows] -= start
        fits = np.all(cell >= 0, axis=1)
        return node[fits], np.minimum(pattern[fits], kinds.demand)


@dataclass(frozen=True)
class Duals:
    """A solution of the master's relaxation: its value, the use of each pattern, and prices of tasks, nodes, zones."""

    value: float
    use: Floats
    tasks: Floats
    nodes: Floats
    zones: Floats

    def prices(self, kinds: Kinds) -> Floats:
        """Return the prices of tasks in each zone, its fees taken off; shape (zones, kinds of tasks)."""
        prices: Floats = self.tasks - self.zones @ kinds.requests[:, list(kinds.zoned)].T
        return prices


class Master:
    """The master program over the patterns known so far.

    Args:
        kinds: what to place.
        cost: of a node of each kind; shape (kinds of nodes,).
        left_over: cost of a task that stays without a node, which makes the program feasible from the start.
    """

    def __init__(self, kinds: Kinds, cost: Floats, left_over: float) -> None:
        self.kinds, self.cost, self.left_over = kinds, cost, left_over
        self.node, self.patterns = np.zeros(0, dtype=np.int64), np.zeros((0, len(kinds.demand)), dtype=np.int64)
        self._known: set[tuple[int, bytes]] = set()
        self._solver = highs()
        rows = [*kinds.demand, *kinds.count, *kinds.shared.reshape(-1)]
        for row, amount in enumerate(rows):
            lower, upper = (float(amount), inf) if row < len(kinds.demand) else (-inf, float(amount))
            self._solver.addRow(lower, upper, 0, [], [])
        columns(self._solver, np.full(len(kinds.demand), left_over), inf, np.eye(len(kinds.demand), len(rows)))

    def add(self, node: Ints, patterns: Ints) -> bool:
        """Add patterns (patterns, kinds of tasks) for kinds of nodes (patterns,); return whether any is new."""
        kinds, new = self.kinds, []
        for p in np.flatnonzero(patterns.any(axis=1)):
            if (key := (int(node[p]), patterns[p].tobytes())) not in self._known:
                self._known.add(key)
                new.append(p)
        node, patterns = node[new], patterns[new]
        self.node, self.patterns = np.append(self.node, node), np.concatenate([self.patterns, patterns])
        zones = np.zeros((len(new), *kinds.shared.shape))
        zones[np.arange(len(new)), kinds.zone[node]] = (patterns @ kinds.requests)[:, list(kinds.zoned)]
        used = np.column_stack([patterns, np.eye(len(kinds.count))[node], zones.reshape(len(new), kinds.shared.size)])
        columns(self._solver, self.cost[node], inf, used)
        return bool(new)

    def relax(self) -> Duals:
        """Solve the linear relaxation."""
        self._solver.run()
        solution, kinds = self._solver.getSolution(), self.kinds
        tasks, nodes, zones = np.split(np.abs(solution.row_dual), np.cumsum([len(kinds.demand), len(kinds.count)]))
        use, value = np.array(solution.col_value)[len(kinds.demand) :], self._solver.getObjectiveValue()
        return Duals(value, use, tasks, nodes, zones.reshape(kinds.shared.shape))

    def integer(self, seconds: float, enough: float) -> Chosen:
        """Return the best whole use of the known patterns found in time; a value of `enough` is good enough."""
        import highspy

        first, limit = len(self.kinds.demand), max(0.05, seconds)
        solver = highs(time_limit=limit, mip_rel_gap=0.0, mip_abs_gap=0.99, objective_target=enough + 0.5)
        solver.passModel(self._solver.getLp())
        every = np.arange(first + len(self.node), dtype=np.int32)
        solver.changeColsIntegrality(len(every), every, np.full(len(every), highspy.HighsVarType.kInteger))
        solver.run()
        if not solver.getInfo().primal_solution_status:
            return []
        use = np.rint(solver.getSolution().col_value).astype(int)[first:]
        return [(int(self.node[p]), self.patterns[p], int(use[p])) for p in np.flatnonzero(use)]


def generate(master: Master, cells: int, until: float) -> tuple[Duals, Pricer, Duals]:
    """Add patterns until none is worth adding; return the last duals, the pricer, and the duals with the best bound.

    Args:
        master: gets the patterns.
        cells: size of the grid for pricing.
        until: the monotonic time to stop at; seconds.
    """
    kinds, pricer = master.kinds, Pricer(master.kinds, cells)
    best, proof, pull = -inf, None, _PULL
    while True:
        asked = duals = master.relax()
        if proof:
            # Prices between the last and the best ones so far jump less (Wentges, 1997).
            tasks = pull * proof.tasks + (1 - pull) * duals.tasks
            asked = replace(duals, tasks=tasks, zones=pull * proof.zones + (1 - pull) * duals.zones)
        prices = asked.prices(kinds)
        node, patterns = pricer(prices)
        worth = (patterns * prices[kinds.zone[node]]).sum(axis=1)
        excess = np.maximum(0, worth[: len(kinds.count)] - master.cost) @ kinds.count
        bound = asked.tasks @ kinds.demand - excess - (asked.zones * kinds.shared).sum()
        if bound > best:
            best, proof = bound, asked
        gain = (patterns * duals.prices(kinds)[kinds.zone[node]]).sum(axis=1) - (master.cost + duals.nodes)[node]
        worthwhile = np.argsort(-gain)[: min(_MORE, np.count_nonzero(gain > 1e-6))]
        new = master.add(node[worthwhile], patterns[worthwhile])
        # What rounding to a coarse grid loses makes the last part of the way pointless.
        goal = duals.value if pricer.exact else duals.value * (1 - _NEAR)
        met = np.ceil(best - 1e-6) >= np.ceil(goal - 1e-6)
        if met or monotonic() > until or not (new or pull):
            return duals, pricer, proof or duals
        # Where prices in between find nothing, the last ones decide.
        pull = _PULL if new else 0.0


def highs(**options: float) -> Any:
    """Return a quiet HiGHS that does the same every time, with further options."""
    import highspy

    silence()
    solver = highspy.Highs()
    for name, value in {"output_flag": False, "threads": 1, "random_seed": 1, **options}.items():
        solver.setOptionValue(name, value)
    return solver


def columns(solver: Any, cost: Floats, most: Ints | float, rows: Floats) -> None:
    """Add variables of 0 to `most` to a HiGHS; shapes: `cost` (variables,), `rows` (variables, rows of the program)."""
    at, row = np.nonzero(rows)
    starts, none = np.searchsorted(at, np.arange(len(cost))).astype(np.int32), np.zeros(len(cost))
    solver.addCols(len(cost), cost, none, none + most, len(row), starts, row.astype(np.int32), rows[at, row])
