"""Plans and bounds by generating patterns: dives that fix some, and integer programs over those known."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ci.placement.packing.certificate import WORK, Certificate, lower_bound
from ci.placement.packing.clock import Until
from ci.placement.packing.incumbent import Incumbent
from ci.placement.packing.kinds import Chosen, Kinds
from ci.placement.packing.patterns import Duals, Finder, Master, generate
from ci.placement.packing.pricing import Floats, Pricer, grid
from ci.placement.packing.problem import Ints, Problem
from ci.placement.packing.search import best_first
from ci.placement.packing.solution import Bound

_SCALE = 2**24
"""Parts of a node in which a certificate counts prices, so that they are whole numbers."""
_COARSE, _EXACT, _PROOF = 20_000, 1_500_000, 100_000
"""Cells of a grid at most: for the first prices, for an exact grid, and for a proof where no exact grid is used."""
_TRIES, _WHOLE = (0.8, None, 0.6, None, 0.95, None, 0.5, None), 2.0
_PAIRS = 2_000_000
"""Kinds of tasks times kinds of nodes that patterns are generated for; of more nodes it is the best."""


def _proof(kinds: Kinds, duals: Duals, units: dict[int, int]) -> Certificate:
    """Return the proof that the master's duals give."""
    charged = np.argwhere(duals.zones > 1e-9)
    fees = {(int(zone), kinds.zoned[k]): int(duals.zones[zone, k] * _SCALE) + 1 for zone, k in charged}
    prices = (duals.tasks * _SCALE).astype(int)[kinds.of_task]
    return Certificate(_SCALE, tuple(prices.tolist()), units=units, fees=fees)


def nothing(nodes: Kinds) -> Floats:
    """Return what nodes cost where only tasks left over count."""
    return np.zeros(len(nodes.count))


def one(nodes: Kinds) -> Floats:
    """Return what nodes cost where their number counts."""
    return np.ones(len(nodes.count))


def one_and_a_bit(nodes: Kinds) -> Floats:
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


def by_patterns(
    found: Incumbent,
    kinds: Kinds,
    weights: Floats,
    until: Until,
    costs: Callable[[Kinds], Floats],
    left_over: float = 1000.0,
) -> None:
    """Look for a better plan, and a better bound on nodes or, where nodes are free, on tasks left over, on a grid."""
    pool = _Pool.of(found.problem, kinds, found.plan, weights)
    kinds, cost = pool.kinds, costs(pool.kinds)
    master = Master(kinds, cost, left_over)
    master.add(*pool.pack(found.plan))
    pricer = Pricer(kinds, _COARSE)
    duals, dearest = generate(master, pricer, until.part(0.5))
    units = pricer.units
    if not pricer.exact:
        # An exact grid, where one of a size that can be worked with is; elsewhere the coarse one's prices will do.
        if exact(kinds):
            units = grid(kinds, min(_EXACT, _most(kinds)))
            duals, dearest = generate(master, Pricer(kinds, _EXACT), until.part(0.5))
        else:
            units = grid(kinds, min(_PROOF, _most(kinds)))
    proof = _proof(kinds, dearest, units)
    value = lower_bound(found.problem, proof, unplaced=not cost.any())
    if cost.any():
        found.prove(value, Bound.PATTERNS, proof)
    else:
        found.least, found.lack = value, proof
    goal = float(cost.min()) * found.bound if cost.any() else float(found.least)
    for threshold in _TRIES:
        spent = float(cost[pool.pack(found.plan)[0]].sum() + left_over * found.missing)
        if spent < goal + 1e-6 or until.over:
            break
        if threshold is None:
            chosen, _ = master.integer(until.soon(_WHOLE), goal)
        else:
            chosen, _ = dive(master, duals, spent, threshold, until, lambda rest: Pricer(rest, _COARSE))
        found.offer(pool.unpack(chosen))


def exact(kinds: Kinds) -> bool:
    """Tell whether a grid that can be worked with holds all requests exactly."""
    units = grid(kinds, min(_EXACT, _most(kinds)))
    return not np.any(kinds.requests[:, list(units)] % list(units.values()))


def _most(kinds: Kinds) -> int:
    """Return how many cells a proof's tables may have, so that they are gone through in time."""
    return WORK // (kinds.steps * int(kinds.alike.max() + 1))


def dive(
    master: Master, duals: Duals, best: float, threshold: float, until: Until, finder: Callable[[Kinds], Finder]
) -> tuple[Chosen, Kinds]:
    """Fix patterns that the relaxation uses most, then generate patterns for what remains, until nothing does.

    Returns the patterns, and what still remains at `until` or where this cannot become better than `best`.

    The patterns that are found on the way go to the master.
    """
    chosen: Chosen = []
    rest, spent, took, node, patterns = master.kinds, 0.0, 0.0, master.node, master.patterns
    while not until.over:
        fixed = np.floor(duals.use + 1e-6)
        if not fixed.any():
            fixed = (duals.use >= min(threshold, duals.use.max(initial=0) - 1e-9)).astype(float)
        before, sure = len(chosen), np.count_nonzero(fixed)
        # Where time is too short for as many steps as this would take, more are fixed, those that lose nothing.
        more = int(duals.value * took / max(until.left, 1e-9))
        for k, p in enumerate(np.argsort(-duals.use, kind="stable")[: max(sure, more)]):
            t, pattern = int(node[p]), np.minimum(patterns[p], rest.demand)
            wanted = int(fixed[p]) if k < sure else int((pattern == patterns[p]).all())
            if pattern.any() and (times := min(wanted, rest.times(t, pattern))):
                chosen.append((t, pattern, times))
                rest, spent = rest.without(t, pattern, times), spent + times * float(master.cost[t])
        # What the relaxation uses in part may not fit whole into what a zone has left.
        if not rest.demand.any() or len(chosen) == before:
            break
        smaller, still = Master(rest, master.cost, master.left_over, **master.options), rest.count[node] > 0
        smaller.add(node[still], np.minimum(patterns[still], rest.demand))
        took = until.left
        duals, _ = generate(smaller, finder(rest), until.part(0.25))
        took -= until.left
        node, patterns = smaller.node, smaller.patterns
        master.add(node, patterns)
        if not duals.use.any() or spent + duals.value > best - 1e-6:
            break
    return chosen, rest
