"""Column generation: patterns of tasks for nodes, priced by dynamic programming over a grid of amounts.

Identical tasks are one kind, identical nodes another. The master program chooses how often each pattern is used,

    minimise Σ_p c_t λ_p   subject to   Σ_p a_ip λ_p ≥ d_i   for each kind of task i,
                                        Σ_{p on t} λ_p ≤ n_t for each kind of node t,

and a pattern on t is worth adding where its tasks' prices exceed c_t plus the price of a node t (Gilmore and Gomory,
1961). One table of the knapsack's values over all amounts prices the patterns of all kinds of nodes at once.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ci.placement.packing.clock import Until
from ci.placement.packing.kinds import Chosen, Kinds
from ci.placement.packing.plain import silence
from ci.placement.packing.pricing import Floats
from ci.placement.packing.problem import Ints

_PULL, _NEAR, _SLOW, _MORE = 0.6, 0.001, 0.0002, 200
_HELD = 20_000_000
"""Patterns times kinds of tasks that a master holds at most: 80 MB."""


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


class Finder(Protocol):
    """Finds patterns that are worth much."""

    exact: bool
    """Whether what it says of the most that a pattern is worth is true."""
    patience: int
    """Turns in which the relaxation may get hardly better before the last part of the way is left out, if not exact."""

    def __call__(self, prices: Floats, until: Until) -> tuple[Ints, Ints, Floats]:
        """Return kinds of nodes, patterns, and the most that one is worth on each kind of node; see `Pricer`."""


class Master:
    """The master program over the patterns known so far.

    Args:
        kinds: what to place.
        cost: of a node of each kind; shape (kinds of nodes,).
        left_over: cost of a task that stays without a node, which makes the program feasible from the start.
        options: of HiGHS, for the relaxation.
    """

    def __init__(self, kinds: Kinds, cost: Floats, left_over: float, **options: float) -> None:
        self.kinds, self.cost, self.left_over = kinds, cost, left_over
        self.node, self.patterns = np.zeros(0, dtype=np.int64), np.zeros((0, len(kinds.demand)), dtype=np.int32)
        self._known: set[tuple[int, bytes]] = set()
        self._solver, self.options = highs(**options), options
        # Tasks at least as often as they are there, then nodes and what zones share at most.
        amounts = np.concatenate([kinds.demand, kinds.count, kinds.shared.reshape(-1)]).astype(float)
        task = np.arange(len(amounts)) < len(kinds.demand)
        lower, upper = np.where(task, amounts, -inf), np.where(task, inf, amounts)
        none = np.zeros(0, dtype=np.int32)
        self._solver.addRows(len(amounts), lower, upper, 0, np.zeros(len(amounts), dtype=np.int32), none, np.zeros(0))
        every = np.arange(len(kinds.demand))
        _columns(self._solver, np.full(len(every), left_over), inf, every, every, np.ones(len(every)))

    def add(self, node: Ints, patterns: NDArray[np.integer]) -> bool:
        """Add patterns (patterns, kinds of tasks) for kinds of nodes (patterns,); return whether any is new."""
        kinds, room = self.kinds, _HELD // len(self.kinds.demand) - len(self.node)
        new: list[int] = []
        patterns = patterns.astype(np.int32)
        for p in np.flatnonzero(patterns.any(axis=1)).tolist():
            if len(new) < room and (key := (int(node[p]), patterns[p].tobytes())) not in self._known:
                self._known.add(key)
                new.append(p)
        node, patterns = node[new], patterns[new]
        self.node, self.patterns = np.append(self.node, node), np.concatenate([self.patterns, patterns])
        every, first = np.arange(len(new)), len(kinds.demand) + len(kinds.count)
        shares = (patterns @ kinds.requests)[:, list(kinds.zoned)]
        (with_task, task), (with_share, k) = np.nonzero(patterns), np.nonzero(shares)
        at = np.concatenate([with_task, every, with_share])
        row = np.concatenate(
            [task, len(kinds.demand) + node, first + kinds.zone[node][with_share] * len(kinds.zoned) + k]
        )
        value = np.concatenate([patterns[with_task, task], np.ones(len(new)), shares[with_share, k]])
        order = np.lexsort((row, at))
        _columns(self._solver, self.cost[node], inf, at[order], row[order], value[order])
        return bool(new)

    def relax(self, until: Until) -> Duals:
        """Solve the linear relaxation; at `until` the prices are what they are."""
        # HiGHS counts the time of all its runs together.
        self._solver.setOptionValue("time_limit", self._solver.getRunTime() + until.wall)
        self._solver.run()
        solution, kinds = self._solver.getSolution(), self.kinds
        tasks, nodes, zones = np.split(np.abs(solution.row_dual), np.cumsum([len(kinds.demand), len(kinds.count)]))
        use, value = np.array(solution.col_value)[len(kinds.demand) :], self._solver.getObjectiveValue()
        return Duals(value, use, tasks, nodes, zones.reshape(kinds.shared.shape))

    def integer(self, until: Until, enough: float) -> tuple[Chosen, float]:
        """Return the best whole use of the known patterns found in time, and a bound on what any of them costs.

        A value of `enough` is good enough.
        """
        import highspy

        first, limit = len(self.kinds.demand), max(0.05, until.wall)
        solver = highs(time_limit=limit, mip_rel_gap=0.0, mip_abs_gap=0.99, objective_target=enough + 0.5)
        solver.passModel(self._solver.getLp())
        every = np.arange(first + len(self.node), dtype=np.int32)
        solver.changeColsIntegrality(len(every), every, np.full(len(every), highspy.HighsVarType.kInteger))
        with _interrupts() as seen:
            solver.cbMipInterrupt += lambda event: event.interrupt(until.over or bool(seen))
            solver.run()
        if seen:
            raise KeyboardInterrupt
        if not solver.getInfo().primal_solution_status:
            return [], solver.getInfo().mip_dual_bound
        use = np.rint(solver.getSolution().col_value).astype(int)[first:]
        bound = solver.getInfo().mip_dual_bound
        return [(int(self.node[p]), self.patterns[p], int(use[p])) for p in np.flatnonzero(use)], bound


def generate(master: Master, pricer: Finder, until: Until) -> tuple[Duals, Duals]:
    """Add patterns until none is worth adding; return the last duals, and the duals with the best bound.

    Args:
        master: gets the patterns.
        pricer: finds them.
        until: when to stop.
    """
    kinds = master.kinds
    best, proof, pull = -inf, None, _PULL
    values: list[float] = []
    while True:
        asked = duals = master.relax(until)
        values.append(duals.value)
        if proof:
            # Prices between the last and the best ones so far jump less (Wentges, 1997).
            tasks = pull * proof.tasks + (1 - pull) * duals.tasks
            asked = replace(duals, tasks=tasks, zones=pull * proof.zones + (1 - pull) * duals.zones)
        prices = asked.prices(kinds)
        try:
            node, patterns, worth = pricer(prices, until)
        except TimeoutError:
            return duals, proof or duals
        excess = np.maximum(0, worth - master.cost) @ kinds.count
        bound = asked.tasks @ kinds.demand - excess - (asked.zones * kinds.shared).sum()
        if bound > best:
            best, proof = bound, asked
        gain = (patterns * duals.prices(kinds)[kinds.zone[node]]).sum(axis=1) - (master.cost + duals.nodes)[node]
        worthwhile = np.argsort(-gain)[: min(_MORE, np.count_nonzero(gain > 1e-6))]
        new = master.add(node[worthwhile], patterns[worthwhile])
        # What rounding to a coarse grid loses makes the last part of the way pointless.
        goal = duals.value if pricer.exact else duals.value * (1 - _NEAR)
        met = np.ceil(best - 1e-6) >= np.ceil(goal - 1e-6)
        before = values[-pricer.patience - 1 :][0]
        slow = len(values) > pricer.patience and before - duals.value < _SLOW * pricer.patience * before
        if met or (slow and not pricer.exact) or until.over or not (new or pull):
            return duals, proof or duals
        # Where prices in between find nothing, the last ones decide.
        pull = _PULL if new else 0.0


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collect interrupts instead of raising them: an exception cannot pass through HiGHS."""
    seen: list[int] = []
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
        try:
            yield seen
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    else:
        yield seen


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
    _columns(solver, cost, most, at, row, rows[at, row])


def _columns(solver: Any, cost: Floats, most: Ints | float, at: Ints, row: Ints, value: Floats) -> None:
    """Do the same with the entries that are not zero alone, in order: variable, row and value of each."""
    starts, none = np.searchsorted(at, np.arange(len(cost))).astype(np.int32), np.zeros(len(cost))
    solver.addCols(len(cost), cost, none, none + most, len(row), starts, row.astype(np.int32), value.astype(float))
