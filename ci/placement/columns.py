"""Column generation: patterns of tasks for nodes, priced by dynamic programming over a grid of amounts.

Identical tasks are one kind, identical nodes another. The master program chooses how often each pattern is used,

    minimise Σ_p λ_p   subject to   Σ_p a_ip λ_p ≥ d_i for each kind of task,   Σ_{p on t} λ_p ≤ n_t for each of nodes,

and a pattern on t is worth adding where its tasks' prices exceed 1 plus the price of a node t (Gilmore and Gomory,
1961). One table of the knapsack's values over all amounts prices the patterns of all kinds of nodes at once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import gcd, inf
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ci.placement.model import Ints, Problem, silence

Floats = NDArray[np.float64]
Column = tuple[int, tuple[tuple[int, int], ...]]
"""A pattern: kind of node, and how many of which kinds of tasks are on it."""


def column(t: int, pattern: Ints) -> Column:
    """Return a pattern as a value that can be looked up."""
    used = np.flatnonzero(pattern)
    return t, tuple(zip(used.tolist(), pattern[used].tolist(), strict=True))


def dense(held: Column, tasks: int) -> Ints:
    """Return a pattern's number of each kind of task; shape (kinds of tasks,)."""
    pattern = np.zeros(tasks, dtype=np.int64)
    for i, times in held[1]:
        pattern[i] = times
    return pattern


_PULL, _NEAR, _MORE = 0.6, 0.001, 200

LEFT_OVER = 1000.0
"""Cost of a task without a node, in nodes; the master's way to be feasible from the start."""


@dataclass(frozen=True)
class Kinds:
    """A problem with identical tasks and identical nodes counted instead of listed.

    Shapes: `requests` (kinds of tasks, resources), `demand` (kinds of tasks,), `free` (kinds of nodes, resources),
    `count` (kinds of nodes,), `allowed` (kinds of tasks, kinds of nodes), `zone` (kinds of nodes,), `shared` (zones,
    zoned resources) what is left of each for a whole zone.
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

    def fill(self, node: Ints, wanted: Ints, order: Iterable[int], left: Ints) -> Ints:
        """Return patterns that hold as many of the wanted tasks as fit, earlier ones in `order` first.

        Shapes: `node` (patterns,) kinds of nodes, `wanted` and result (patterns, kinds of tasks); `left` (patterns,
        resources), what the nodes have, is lessened by what the patterns take.
        """
        pattern = np.zeros_like(wanted)
        for i in order:
            asked = np.flatnonzero(self.requests[i])
            fit = np.where(self.allowed[i, node], wanted[:, i], 0)
            if asked.size:
                fit = np.minimum(fit, (left[:, asked] // self.requests[i, asked]).min(axis=1))
            pattern[:, i] = fit
            left -= fit[:, None] * self.requests[i]
        return pattern

    def left(self) -> Ints:
        """Return what a node may hold, its zone's share included; shape (kinds of nodes, resources)."""
        left = self.free.copy()
        left[:, list(self.zoned)] = self.shared[self.zone]
        return left

    def without(self, t: int, pattern: Ints, times: int) -> "Kinds":
        """Return what remains when a pattern is used on so many nodes of kind t."""
        count, shared = self.count.copy(), self.shared.copy()
        count[t] -= times
        shared[self.zone[t]] -= times * (pattern @ self.requests)[list(self.zoned)]
        return replace(self, demand=np.maximum(0, self.demand - times * pattern), count=count, shared=shared)

    def times(self, t: int, pattern: Ints) -> int:
        """Return on how many nodes a pattern can be used before demand, nodes or a zone's share run out."""
        used = np.flatnonzero(pattern)
        share = (pattern @ self.requests)[list(self.zoned)]
        zones = self.shared[self.zone[t]][share > 0] // share[share > 0]
        return int(min((self.demand[used] // pattern[used]).min(), self.count[t], zones.min(initial=self.count[t])))


def kinds(problem: Problem) -> tuple[Kinds, Ints, Ints]:
    """Return the problem's kinds, and of which kind each task and each node is."""
    tasks = np.column_stack([problem.rule, problem.requests])
    tasks, task_kind, demand = np.unique(tasks, axis=0, return_inverse=True, return_counts=True)
    zone = problem.zone if problem.zoned else np.zeros_like(problem.zone)
    # More than all tasks together ask for is as good as that.
    free = np.minimum(problem.free, problem.requests.sum(axis=0))
    nodes = np.column_stack([zone, problem.preferred, problem.allowed.T, free])
    nodes, node_kind, count = np.unique(nodes, axis=0, return_inverse=True, return_counts=True)
    rules = len(problem.allowed)
    first = [int(np.flatnonzero(zone == z)[0]) for z in range(int(zone.max()) + 1)]
    grouped = Kinds(
        requests=tasks[:, 1:],
        demand=demand,
        free=nodes[:, 2 + rules :],
        count=count,
        allowed=nodes[:, 2 : 2 + rules].T.astype(bool)[tasks[:, 0]],
        zone=nodes[:, 0],
        zoned=problem.zoned,
        shared=problem.free[np.ix_(first, list(problem.zoned))],
        preferred=nodes[:, 1].astype(bool),
    )
    return grouped, task_kind.reshape(-1), node_kind.reshape(-1)


def binding(kinds: Kinds) -> list[int]:
    """Return the resources that can run out on some node while the other ones returned do not."""
    keep = [r for r in range(kinds.requests.shape[1]) if (kinds.requests[:, r] > 0).sum() > 1]
    keep = keep or [int(np.argmax(kinds.requests.max(axis=0)))]
    for r in sorted(keep, key=lambda r: -float((kinds.left()[:, r] / max(1, kinds.requests[:, r].max())).min())):
        others = [other for other in keep if other != r]
        asked = kinds.requests[kinds.requests[:, r] > 0]
        for other in others:
            if asked[:, other].all():
                ratio = (asked[:, r] / asked[:, other]).max()
                if np.all(ratio * kinds.left()[:, other] <= kinds.left()[:, r]):
                    keep = others
                    break
    return keep


def units(kinds: Kinds, axes: list[int], cells: int) -> dict[int, int]:
    """Return a unit for each axis such that the grid has about so many cells, losing little to rounding."""
    chosen: dict[int, int] = {}
    fine = {r: gcd(*map(int, kinds.requests[:, r])) or 1 for r in axes}
    span = {r: int(kinds.free[:, r].max()) for r in axes}
    for done, r in enumerate(sorted(axes, key=lambda r: span[r] // fine[r])):
        budget = max(2, int(cells ** (1 / (len(axes) - done))))
        chosen[r] = fine[r] if span[r] // fine[r] < budget else _unit(kinds, r, span[r] // budget + 1)
        cells = max(2, cells // (span[r] // chosen[r] + 1))
    return chosen


def _unit(kinds: Kinds, r: int, least: int) -> int:
    """Return the unit from `least` to 1.6 times that in which rounding requests down loses least."""
    asked, weight = kinds.requests[:, r], kinds.demand.astype(float)
    sizes = np.unique(np.concatenate([np.linspace(least, 1.6 * least, 200), asked // np.maximum(1, asked // least)]))
    sizes = sizes[(sizes >= least) & (sizes <= 1.6 * least)].astype(np.int64)
    lost = [(weight * (asked % size + (-asked) % size)).sum() for size in sizes]
    return int(sizes[int(np.argmin(lost))])


class Pricer:
    """Finds the patterns that are worth most at given prices, on a grid of about `cells` cells.

    Requests are rounded up to the grid and free amounts down, so a pattern always fits. `exact` says that rounding
    changed nothing.
    """

    def __init__(self, kinds: Kinds, cells: int) -> None:
        self.kinds = kinds
        axes = binding(kinds)
        self.units = units(kinds, axes, cells)
        unit = np.array([self.units[r] for r in axes], dtype=np.int64)
        self.size = -(-kinds.requests[:, axes] // unit)
        self.room = kinds.left()[:, axes] // unit
        self.exact = not np.any(kinds.requests[:, axes] % unit)
        single = np.minimum(kinds.demand[:, None], np.where(kinds.allowed, np.iinfo(np.int64).max, 0))
        for i, asked in enumerate(kinds.requests):
            if asked.any():
                single[i] = np.minimum(single[i], (kinds.left()[:, asked > 0] // asked[asked > 0]).min(axis=1))
        self.most, self.asked, self.demand = single, kinds.requests, kinds.demand
        alike = np.column_stack([kinds.zone if kinds.zoned else np.zeros_like(kinds.zone), kinds.allowed.T])
        self.alike = np.unique(alike, axis=0, return_inverse=True)[1].reshape(-1)

    def __call__(self, prices: Callable[[int], Floats]) -> tuple[Ints, Ints]:
        """Return patterns worth much: kinds of nodes (patterns,) and what is on them (patterns, kinds of tasks).

        The first are the best for each kind of node, in order; others, the best that hold a certain task, follow.

        Args:
            prices: gives the prices of all kinds of tasks in a zone.
        """
        kinds = self.kinds
        node, held = np.arange(len(kinds.count)), np.zeros((len(kinds.count), len(kinds.demand)), dtype=np.int64)
        for each in range(int(self.alike.max()) + 1):
            here = np.flatnonzero(self.alike == each)
            t, patterns = self._knapsack(here, prices(int(kinds.zone[here[0]])))
            held[here] = patterns[: len(here)]
            node, held = np.append(node, t[len(here) :]), np.concatenate([held, patterns[len(here) :]])
        left = kinds.left()[node]
        if self.exact and np.all(held @ kinds.requests <= left):
            return node, held
        value = prices(0)
        dense = np.argsort(-value / np.maximum(1e-12, (self.size / self.room.max(axis=0).clip(1)).sum(axis=1)))
        kept = kinds.fill(node, held, dense, left)
        return node, kept + kinds.fill(node, np.where(value > 0, kinds.demand, 0) - kept, dense, left)

    def _useful(self, here: Ints, value: Floats) -> Ints:
        """Return the tasks that another kind, no larger, worth as much and never short, cannot stand in for."""
        useful = np.flatnonzero((value > 1e-9) & (self.most[:, here].max(axis=1) > 0))
        ample = useful[self.most[useful][:, here].max(axis=1) < self.demand[useful]]
        instead = np.all(self.asked[ample][None] <= self.asked[useful][:, None], axis=2)
        instead &= value[ample][None] >= value[useful][:, None]
        # Of two that could stand in for each other the first stays.
        same = np.all(self.asked[ample][None] == self.asked[useful][:, None], axis=2)
        same &= value[ample][None] == value[useful][:, None]
        instead &= ~same | (ample[None] < useful[:, None])
        kept: Ints = useful[~instead.any(axis=1)]
        return kept

    def _knapsack(self, here: Ints, value: Floats) -> tuple[Ints, Ints]:
        """Solve the bounded knapsacks of some kinds of nodes: copies in powers of two, then back through the table."""
        top = self.room[here].max(axis=0)
        table = np.zeros(tuple(top + 1), dtype=np.float32)
        steps: list[tuple[int, int, Ints, tuple[int, ...], NDArray[np.uint8]]] = []
        useful = self._useful(here, value)
        for i in useful:
            size = self.size[i]
            left = int(min([self.most[i, here].max(), *(top[size > 0] // size[size > 0])]))
            step = 1
            while left > 0:
                copies = min(step, left)
                left, step = left - copies, step * 2
                start = copies * size
                with_them = table[tuple(slice(None, -a or None) for a in start)] + np.float32(copies * value[i])
                target = table[tuple(slice(a, None) for a in start)]
                better = with_them > target
                steps.append((int(i), copies, start, better.shape, np.packbits(better)))
                np.maximum(target, with_them, out=target)
        common = here[np.argsort(-self.kinds.count[here], kind="stable")][: _MORE // (len(useful) + 1)]
        node = np.concatenate([here, np.repeat(common, len(useful))])
        forced = np.tile(useful, len(common))
        cell = self.room[node].copy()
        pattern = np.zeros((len(node), len(value)), dtype=np.int64)
        pattern[np.arange(len(here), len(node)), forced] = 1
        cell[len(here) :] -= self.size[forced]
        for i, copies, start, shape, taken in reversed(steps):
            inside = np.flatnonzero(np.all(cell >= start, axis=1))
            flat = np.ravel_multi_index(tuple((cell[inside] - start).T), shape)
            rows = inside[(taken[flat >> 3] >> (7 - (flat & 7)) & 1).astype(bool)]
            pattern[rows, i] += copies
            cell[rows] -= start
        fits = np.all(cell >= 0, axis=1)
        return node[fits], np.minimum(pattern[fits], self.most[:, node[fits]].T)


@dataclass(frozen=True)
class Duals:
    """A solution of the master's relaxation: its value, the use of each column, and prices of all rows."""

    value: float
    use: Floats
    tasks: Floats
    nodes: Floats
    zones: Floats
    budget: float

    def prices(self, kinds: Kinds) -> Callable[[int], Floats]:
        """Return the prices of tasks in a zone, its fees taken off."""
        share = kinds.requests[:, list(kinds.zoned)]
        return lambda zone: self.tasks - share @ self.zones[zone]

    def towards(self, other: "Duals", part: float) -> "Duals":
        """Return duals on the way to other ones (Wentges, 1997)."""
        tasks, zones = (
            (1 - part) * one + part * two for one, two in ((self.tasks, other.tasks), (self.zones, other.zones))
        )
        return replace(self, tasks=tasks, zones=zones, budget=(1 - part) * self.budget + part * other.budget)

    def bound(self, kinds: Kinds, worth: Floats, cost: Floats) -> float:
        """Return the bound that follows from what the best pattern of each kind of node is worth."""
        excess = np.maximum(0, worth - cost - self.budget) @ kinds.count
        return float(self.tasks @ kinds.demand - excess - (self.zones * kinds.shared).sum())


class Master:
    """The master program over the patterns known so far.

    Args:
        kinds: what to place.
        cost: of a node of each kind; shape (kinds of nodes,).
        left_over: cost of a task that stays without a node.
        budget: nodes at most, in all.
    """

    def __init__(self, kinds: Kinds, cost: Floats, left_over: float = LEFT_OVER, budget: float = inf) -> None:
        self.kinds, self.cost = kinds, cost
        self.columns: dict[Column, None] = {}
        self._solver = highs()
        zones = kinds.shared.reshape(-1)
        for need in kinds.demand:
            self._solver.addRow(float(need), inf, 0, [], [])
        for most in [*kinds.count, *zones, budget]:
            self._solver.addRow(-inf, float(most), 0, [], [])
        self._left = len(kinds.demand)
        for i in range(self._left):
            self._solver.addCol(left_over, 0, inf, 1, [i], [1.0])

    def add(self, t: int, pattern: Ints) -> bool:
        """Add a pattern for a kind of node; return whether it is new."""
        used = np.flatnonzero(pattern)
        if not used.size or (new := column(t, pattern)) in self.columns:
            return False
        self.columns[new] = None
        kinds, tasks = self.kinds, len(self.kinds.demand)
        share = (pattern @ kinds.requests)[list(kinds.zoned)]
        zone_rows = tasks + len(kinds.count) + kinds.zone[t] * len(share) + np.flatnonzero(share)
        last = tasks + len(kinds.count) + kinds.shared.size
        rows = np.concatenate([used, [tasks + t], zone_rows, [last]]).astype(np.int32)
        values = np.concatenate([pattern[used], [1], share[share > 0], [1]]).astype(float)
        self._solver.addCol(float(self.cost[t]), 0, inf, len(rows), rows, values)
        return True

    def relax(self) -> Duals:
        """Solve the linear relaxation."""
        self._solver.run()
        solution, kinds = self._solver.getSolution(), self.kinds
        dual = np.array(solution.row_dual)
        tasks, nodes = len(kinds.demand), len(kinds.count)
        return Duals(
            value=self._solver.getInfo().objective_function_value,
            use=np.array(solution.col_value)[self._left :],
            tasks=np.maximum(0, dual[:tasks]),
            nodes=np.maximum(0, -dual[tasks : tasks + nodes]),
            zones=np.maximum(0, -dual[tasks + nodes : -1]).reshape(kinds.shared.shape),
            budget=max(0.0, -float(dual[-1])),
        )

    def integer(self, seconds: float, enough: float) -> list[tuple[Column, int]] | None:
        """Return the best whole use of the columns found in time, or None; `enough` is a value to stop at."""
        import highspy

        solver = highs()
        solver.passModel(self._solver.getLp())
        columns = self._left + len(self.columns)
        solver.changeColsIntegrality(
            columns, np.arange(columns, dtype=np.int32), np.full(columns, highspy.HighsVarType.kInteger)
        )
        solver.setOptionValue("time_limit", max(0.05, seconds))
        solver.setOptionValue("mip_rel_gap", 0.0)
        solver.setOptionValue("mip_abs_gap", 0.99)
        solver.setOptionValue("objective_target", enough + 0.5)
        solver.run()
        value = np.array(solver.getSolution().col_value)
        if not solver.getInfo().primal_solution_status:
            return None
        use = np.rint(value[self._left :]).astype(int)
        return [(column, int(times)) for column, times in zip(self.columns, use, strict=True) if times]


def generate(master: Master, cells: int, until: float, enough: float = inf) -> tuple[Duals, Pricer, Duals]:
    """Add patterns until none is worth adding; return the last duals, the pricer, and the duals with the best bound.

    Args:
        master: gets the patterns.
        cells: size of the grid for pricing.
        until: the monotonic time to stop at; seconds.
        enough: stop when a bound of this value is reached.
    """
    kinds = master.kinds
    pricer = Pricer(kinds, cells)
    best, proof, pull = -inf, None, _PULL
    while True:
        duals = master.relax()
        asked = duals if proof is None else duals.towards(proof, pull)
        prices = asked.prices(kinds)
        node, patterns = pricer(prices)
        worth = _worth(node, patterns, prices, kinds)
        bound = asked.bound(kinds, worth[: len(kinds.count)], master.cost)
        if bound > best:
            best, proof = bound, asked
        gain = _worth(node, patterns, duals.prices(kinds), kinds) - (master.cost + duals.nodes)[node] - duals.budget
        new = [master.add(int(node[c]), patterns[c]) for c in np.argsort(-gain)[:_MORE] if gain[c] > 1e-6]
        # What rounding to a coarse grid loses makes the last part of the way pointless.
        goal = duals.value if pricer.exact else duals.value * (1 - _NEAR)
        if np.ceil(best - 1e-6) >= min(enough, np.ceil(goal - 1e-6)) or monotonic() > until:
            break
        if not any(new) and pull == 0:
            break
        # Prices between the last and the best ones so far jump less; where they find nothing, the last ones decide.
        pull = _PULL if any(new) else 0.0
    return duals, pricer, proof or duals


def _worth(node: Ints, patterns: Ints, prices: Callable[[int], Floats], kinds: Kinds) -> Floats:
    by_zone = np.array([prices(zone) for zone in range(int(kinds.zone.max()) + 1)])
    worth: Floats = (patterns * by_zone[kinds.zone[node]]).sum(axis=1)
    return worth


def highs() -> Any:
    """Return a quiet HiGHS that does the same every time."""
    import highspy

    silence()
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("random_seed", 1)
    return solver
