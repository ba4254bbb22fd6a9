"""The solver for size: greedy start, bound, patterns, integer master and dives, local search.

It stops as soon as plan and bound meet. Bounds come from the certificate, which knows nothing of how the
prices were found; the plan is for the caller to check with `ci.placement.check`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from time import monotonic

import numpy as np

from ci.placement.packing.certificate import WORK, Certificate, lower_bound
from ci.placement.packing.kinds import Chosen, Kinds
from ci.placement.packing.patterns import Duals, Master, columns, generate, highs
from ci.placement.packing.plain import plain
from ci.placement.packing.pricing import Floats, grid, scarce
from ci.placement.packing.problem import Ints, Problem
from ci.placement.packing.search import best_first, first_fit, greedy, seat, squeeze
from ci.placement.packing.solution import Solution

_SCALE = 2**24
"""Parts of a node in which a certificate counts prices, so that they are whole numbers."""
_COARSE, _EXACT, _PROOF = 20_000, 1_500_000, 100_000
"""Cells of a grid at most: for the first prices, for an exact grid, and for a proof where no exact grid is used."""
_TRIES, _WHOLE = (0.8, None, 0.6, None, 0.95, None, 0.5, None), 2.0
_LATE = 1.0
"""Seconds after the limit in which a first plan may still become complete."""
_SMALL = 1000
"""Tasks times nodes up to which the plain formulation settles what is still open."""
_FEW, _AXES, _GROUPS = 400, 12, 100
"""Kinds of tasks, scarce resources, and kinds of nodes by the tasks that they take, up to which patterns are generated;
beyond, the master would be too slow to solve again and again, or no grid fine enough."""
_PAIRS = 2_000_000
"""Kinds of tasks times kinds of nodes that patterns are generated for; of more nodes it is the best."""


def solve(problem: Problem, time_limit: float) -> Solution:
    """Return the best plan found, a proven bound, and how long it took.

    If not all tasks can be placed, as few as possible stay without a node.

    Args:
        problem: the program's data.
        time_limit: wall-clock limit of the whole call; seconds. What completes a first plan may take one more.
    """
    started = monotonic()
    if not len(problem.requests):
        return Solution((), 0, 0, monotonic() - started)
    until, half, kinds, least = started + time_limit, started + time_limit / 2, Kinds.of(problem), 0
    weights = _cover(problem)
    proof = lack = _linear(problem, weights)
    bound = lower_bound(problem, proof)
    best = kinds.unpack(greedy(kinds, weights, 0.0, half))
    if (best < 0).any() and monotonic() > half:
        best = first_fit(problem, best, weights, until + _LATE)
    if ((best < 0).any() or _score(problem, best)[1] > bound) and monotonic() < until:
        best = min(best, kinds.unpack(greedy(kinds, weights, 0.5, until)), key=lambda plan: _score(problem, plan))
    few = len(kinds.demand) <= _FEW and len(scarce(kinds)) <= _AXES and kinds.alike.max() < _GROUPS
    if (best < 0).any():
        half = (monotonic() + until) / 2
        if few:
            best, least, lack = _by_patterns(problem, kinds, weights, best, 0, lack, half, _nothing, 1.0)
        if (best < 0).sum() > least:
            even = 1 / problem.free.sum(axis=0, dtype=float).clip(1)
            best = seat(problem, best, np.ones(len(problem.free), dtype=bool), even, (half + until) / 2)
    if not (best < 0).any():
        if few and _score(problem, best)[1] > bound:
            best, bound, proof = _by_patterns(problem, kinds, weights, best, bound, proof, until, _one)
        best = squeeze(problem, best, weights, bound, until)
        if few and problem.preferred.any() and _score(problem, best)[2]:
            best, *_ = _by_patterns(problem, kinds, weights, best, bound, proof, until, _one_and_a_bit)
    solution = _solution(best, bound, least, started, (proof, lack))
    done = solution.proven and (solution.unplaced or not problem.preferred.any() or not _score(problem, best)[2])
    if problem.allowed.shape[1] * len(best) <= _SMALL and not done and monotonic() < until:
        # Amounts that no grid holds exactly, and nodes in use: of this size, branch and bound settles both.
        exact = plain(problem, until - monotonic())
        best = min(best, np.array(exact.node_of), key=lambda plan: _score(problem, plan))
        solution = _solution(best, max(bound, exact.bound), max(least, exact.least_unplaced), started, (proof, lack))
    return solution


def _solution(best: Ints, bound: int, least: int, started: float, proofs: tuple[Certificate, Certificate]) -> Solution:
    missing = bool((best < 0).any())
    return Solution(tuple(best.tolist()), 0 if missing else bound, least, monotonic() - started, proofs[missing])


def _score(problem: Problem, node_of: Ints) -> tuple[int, int, int]:
    """Return what a plan costs, the most important first: tasks left over, nodes, nodes that were not in use."""
    used = np.unique(node_of[node_of >= 0])
    return int((node_of < 0).sum()), len(used), int((~problem.preferred[used]).sum())


def _cover(problem: Problem) -> Floats:
    """Return what one unit of each resource is worth, in nodes: the prices of covering all requests by whole nodes."""
    own = [r for r in range(len(problem.resources)) if r not in problem.zoned and problem.requests[:, r].any()]
    total = problem.requests.sum(axis=0)
    free, count = np.unique(np.minimum(problem.free, total)[:, own], axis=0, return_counts=True)
    solver = highs()
    for _ in own:
        solver.addRow(1.0, inf, 0, [], [])
    columns(solver, np.ones(len(free)), count, free / total[own])
    # Where all nodes together do not suffice, the price is still a direction to sort by.
    columns(solver, np.full(len(own), len(problem.free) + 1.0), inf, np.eye(len(own)))
    solver.run()
    weights = np.zeros(len(problem.resources))
    weights[own] = np.maximum(0, solver.getSolution().row_dual) / total[own]
    return weights


def _linear(problem: Problem, weights: Floats) -> Certificate:
    """Return the proof that covering gives: each task is worth what its requests are worth."""
    exact = tuple(Fraction(float(weight)) * _SCALE for weight in weights)
    worth = np.floor(problem.requests @ weights * _SCALE * (1 - 1e-12)).astype(int)
    return Certificate(_SCALE, tuple(worth.tolist()), exact)


def _proof(kinds: Kinds, duals: Duals, units: dict[int, int]) -> Certificate:
    """Return the proof that the master's duals give."""
    charged = np.argwhere(duals.zones > 1e-9)
    fees = {(int(zone), kinds.zoned[k]): int(duals.zones[zone, k] * _SCALE) + 1 for zone, k in charged}
    prices = (duals.tasks * _SCALE).astype(int)[kinds.of_task]
    return Certificate(_SCALE, tuple(prices.tolist()), units=units, fees=fees)


def _nothing(nodes: Kinds) -> Floats:
    """Return what nodes cost where only tasks left over count."""
    return np.zeros(len(nodes.count))


def _one(nodes: Kinds) -> Floats:
    """Return what nodes cost where their number counts."""
    return np.ones(len(nodes.count))


def _one_and_a_bit(nodes: Kinds) -> Floats:
    """Return what nodes cost where nodes in use are a little better, all together by less than one node."""
    cost: Floats = 1.0 + ~nodes.preferred / (nodes.count.sum() + 1)
    return cost


@dataclass(frozen=True)
class _Pool:
    """The nodes that patterns are generated for, by their number in the problem, and their kinds."""

    nodes: Ints
    kinds: Kinds

    @classmethod
    def of(cls, problem: Problem, kinds: Kinds, best: Ints, weights: Floats) -> "_Pool":
        """Return all nodes or, of too many kinds, those of the plan and the best for each of the tasks' rules."""
        most = _PAIRS // len(kinds.demand)
        if len(kinds.count) <= most:
            return cls(np.arange(len(problem.free)), kinds)
        kept, order = np.zeros(len(kinds.count), dtype=bool), best_first(kinds, weights)
        kept[kinds.of_node[best[best >= 0]]] = True
        for allowed in kinds.allowed:
            kept[order[allowed[order]][: most // len(kinds.allowed)]] = True
        nodes = np.flatnonzero(kept[kinds.of_node])
        return cls(nodes, Kinds.of(problem.only(nodes)))

    def pack(self, plan: Ints) -> tuple[Ints, Ints]:
        """Return the patterns of a plan on these nodes; see `Kinds.pack`."""
        return self.kinds.pack(np.where(plan >= 0, np.searchsorted(self.nodes, plan), -1))

    def unpack(self, chosen: Chosen) -> Ints:
        """Return the plan that uses the chosen patterns; see `Kinds.unpack`."""
        plan = self.kinds.unpack(chosen)
        everywhere: Ints = np.where(plan >= 0, self.nodes[plan], -1)
        return everywhere


def _by_patterns(
    problem: Problem,
    kinds: Kinds,
    weights: Floats,
    best: Ints,
    bound: int,
    proof: Certificate,
    until: float,
    costs: Callable[[Kinds], Floats],
    left_over: float = 1000.0,
) -> tuple[Ints, int, Certificate]:
    """Return a plan at least as good, and a bound at least as good on nodes or, where nodes are free, on tasks left."""
    pool = _Pool.of(problem, kinds, best, weights)
    kinds, cost = pool.kinds, costs(pool.kinds)
    master = Master(kinds, cost, left_over)
    master.add(*pool.pack(best))
    duals, pricer, dearest = generate(master, _COARSE, (monotonic() + until) / 2)
    units = pricer.units
    if not pricer.exact:
        # An exact grid, where one of a size that can be worked with is; elsewhere the coarse one's prices will do.
        most = WORK // (kinds.steps * int(kinds.alike.max() + 1))
        units = grid(kinds, min(_EXACT, most))
        if np.any(kinds.requests[:, list(units)] % list(units.values())):
            units = grid(kinds, min(_PROOF, most))
        else:
            duals, _, dearest = generate(master, _EXACT, (monotonic() + until) / 2)
    found = _proof(kinds, dearest, units)
    if (value := lower_bound(problem, found, unplaced=not cost.any())) > bound or not cost.any():
        bound, proof = value, found
    goal = float(cost.min()) * bound if cost.any() else float(bound)
    for threshold in _TRIES:
        spent = float(cost[pool.pack(best)[0]].sum() + left_over * (best < 0).sum())
        if spent < goal + 1e-6 or monotonic() > until:
            break
        if threshold is None:
            chosen = master.integer(min(_WHOLE, until - monotonic()), goal)
        else:
            chosen = _dive(master, duals, spent, threshold, until)
        best = min(best, pool.unpack(chosen), key=lambda plan: _score(problem, plan))
    return best, bound, proof


def _dive(master: Master, duals: Duals, best: float, threshold: float, until: float) -> Chosen:
    """Fix patterns that the relaxation uses most, then generate patterns for what remains, until nothing does.

    The patterns that are found on the way go to the master.
    """
    chosen: Chosen = []
    rest, spent, node, patterns = master.kinds, 0.0, master.node, master.patterns
    while monotonic() < until:
        fixed = np.floor(duals.use + 1e-6)
        if not fixed.any():
            fixed = (duals.use >= min(threshold, duals.use.max(initial=0) - 1e-9)).astype(float)
        before = len(chosen)
        for p in np.argsort(-duals.use, kind="stable")[: np.count_nonzero(fixed)]:
            t, pattern = int(node[p]), np.minimum(patterns[p], rest.demand)
            if pattern.any() and (times := min(int(fixed[p]), rest.times(t, pattern))):
                chosen.append((t, pattern, times))
                rest, spent = rest.without(t, pattern, times), spent + times * float(master.cost[t])
        # What the relaxation uses in part may not fit whole into what a zone has left.
        if not rest.demand.any() or len(chosen) == before:
            break
        smaller, still = Master(rest, master.cost, master.left_over), rest.count[node] > 0
        smaller.add(node[still], np.minimum(patterns[still], rest.demand))
        duals, _, _ = generate(smaller, _COARSE, until)
        node, patterns = smaller.node, smaller.patterns
        master.add(node, patterns)
        if not duals.use.any() or spent + duals.value > best - 1e-6:
            break
    return chosen
