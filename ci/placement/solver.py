"""The solver for size: greedy start, bound, patterns, integer master, local search.

It stops as soon as plan and bound meet. Bounds come from `ci.placement.certificate`, which knows nothing of how the
prices were found; the plan is for the caller to check with `ci.placement.check`.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import inf
from time import monotonic

import numpy as np

from ci.placement.certificate import Certificate, lower_bound
from ci.placement.columns import (
    Column,
    Duals,
    Floats,
    Kinds,
    Master,
    binding,
    column,
    dense,
    generate,
    highs,
    kinds,
    units,
)
from ci.placement.model import Ints, Problem, Solution
from ci.placement.search import greedy, seat, squeeze

_SCALE = 2**24
_CELLS, _PROOF, _EXACT = 20_000, 100_000, 1_500_000
_THRESHOLDS, _WHOLE = (0.8, 0.6, 0.95, 0.5), 2.0
_FEW = 400
"""Kinds of tasks up to which patterns are generated; beyond, the master would be too slow to solve again and again."""


def solve(problem: Problem, time_limit: float) -> Solution:
    """Return the best plan found, a proven bound, and how long it took.

    If not all tasks can be placed, as few as possible stay without a node.

    Args:
        problem: the program's data.
        time_limit: wall-clock limit of the whole call; seconds.
    """
    started = monotonic()
    if not problem.tasks:
        return Solution((), 0, 0, monotonic() - started)
    until = started + time_limit
    weights = _cover(problem)
    bound, least = lower_bound(problem, _linear(problem, weights)), 0
    grouped, task_kind, node_kind = kinds(problem)
    starts = (_unpack(task_kind, node_kind, greedy(grouped, weights, near=near)) for near in (False, True))
    best = min(starts, key=lambda node_of: ((node_of < 0).sum(), _nodes(node_of)))
    if (best < 0).any():
        half = started + time_limit / 2
        best, least = _fewest_left(problem, grouped, task_kind, node_kind, best, half)
        if (best < 0).any() and not least:
            everywhere, even = np.ones(len(problem.nodes), dtype=bool), 1 / np.maximum(1, problem.free.sum(axis=0))
            random = np.random.default_rng(0)
            found = seat(problem, best, everywhere, even, (half + until) / 2, random)
            best = best if found is None else found
    if not (best < 0).any() and _nodes(best) > bound:
        if len(grouped.demand) <= _FEW:
            best, bound = _by_patterns(problem, grouped, task_kind, node_kind, best, bound, until)
        best = squeeze(problem, best, weights, bound, until)
    if not (best < 0).any():
        best = _prefer(problem, grouped, task_kind, node_kind, best, until)
    return Solution(tuple(best.tolist()), 0 if (best < 0).any() else bound, least, monotonic() - started)


def _nodes(node_of: Ints) -> int:
    return len(np.unique(node_of[node_of >= 0]))


def _cover(problem: Problem) -> Floats:
    """Return what one unit of each resource is worth, in nodes: the prices of covering all requests by whole nodes."""
    own = [r for r in range(len(problem.resources)) if r not in problem.zoned and problem.requests[:, r].any()]
    total = problem.requests.sum(axis=0)
    free, count = np.unique(np.minimum(problem.free, total)[:, own], axis=0, return_counts=True)
    solver = highs()
    for _ in own:
        solver.addRow(1.0, inf, 0, [], [])
    for amounts, most in zip(free / total[own], count, strict=True):
        solver.addCol(1.0, 0, float(most), len(own), np.arange(len(own), dtype=np.int32), amounts)
    # Where all nodes together do not suffice, the price is still a direction to sort by.
    for r in range(len(own)):
        solver.addCol(float(len(problem.nodes) + 1), 0, inf, 1, [r], [1.0])
    solver.run()
    weights = np.zeros(len(problem.resources))
    weights[own] = np.maximum(0, solver.getSolution().row_dual) / total[own]
    return weights


def _linear(problem: Problem, weights: Floats) -> Certificate:
    """Return the proof that covering gives: each task is worth what its requests are worth."""
    exact = tuple(Fraction(float(weight)) * _SCALE for weight in weights)
    kinds_of = {
        row: int(sum(w * q for w, q in zip(exact, row, strict=True)))
        for row in set(map(tuple, problem.requests.tolist()))
    }
    return Certificate(_SCALE, tuple(kinds_of[tuple(row)] for row in problem.requests.tolist()), exact)


def _proof(grouped: Kinds, task_kind: Ints, duals: Duals, unit: dict[int, int]) -> Certificate:
    """Return the proof that the master's duals give."""
    prices = np.floor(duals.tasks * _SCALE).astype(int)[task_kind]
    fees = {
        (int(zone), r): int(fee * _SCALE) + 1
        for zone, row in enumerate(duals.zones)
        for r, fee in zip(grouped.zoned, row, strict=True)
        if fee > 1e-9
    }
    return Certificate(_SCALE, tuple(prices.tolist()), units=unit, fees=fees)


def _columns(grouped: Kinds, task_kind: Ints, node_kind: Ints, node_of: Ints) -> list[tuple[int, Ints]]:
    """Return the patterns of a plan."""
    return [
        (int(node_kind[j]), np.bincount(task_kind[node_of == j], minlength=len(grouped.demand)))
        for j in np.unique(node_of[node_of >= 0])
    ]


def _unpack(task_kind: Ints, node_kind: Ints, chosen: Sequence[tuple[Column, int]]) -> Ints:
    """Return the plan that uses the chosen patterns; what they hold too many of is left out."""
    tasks = {kind: list(np.flatnonzero(task_kind == kind)[::-1]) for kind in range(int(task_kind.max()) + 1)}
    nodes = {kind: list(np.flatnonzero(node_kind == kind)[::-1]) for kind in range(int(node_kind.max()) + 1)}
    node_of = np.full(len(task_kind), -1)
    for (t, pattern), times in chosen:
        for _ in range(times):
            here = [tasks[i].pop() for i, most in pattern for _ in range(min(most, len(tasks[i])))]
            if here:
                node_of[here] = nodes[t].pop()
    return node_of


def _generate(master: Master, until: float) -> tuple[Duals, Duals, dict[int, int]]:
    """Generate patterns on finer and finer grids; return the last duals, those of the best bound, and its units.

    A grid that is exact ends it; where none of a size that can be worked with is, the first one does.
    """
    duals, pricer, proof = generate(master, _CELLS, until)
    unit = pricer.units
    if not pricer.exact:
        axes = binding(master.kinds)
        unit = units(master.kinds, axes, _EXACT)
        if not np.any(master.kinds.requests[:, axes] % np.array([unit[r] for r in axes])):
            for cells in (8 * _CELLS, _EXACT):
                duals, pricer, proof = generate(master, cells, until)
        else:
            unit = units(master.kinds, axes, _PROOF)
    return duals, proof, unit


def _by_patterns(
    problem: Problem, grouped: Kinds, task_kind: Ints, node_kind: Ints, best: Ints, bound: int, until: float
) -> tuple[Ints, int]:
    """Return a plan at least as good and a bound at least as good, by column generation."""
    master = Master(grouped, np.ones(len(grouped.count)))
    for t, pattern in _columns(grouped, task_kind, node_kind, best):
        master.add(t, pattern)
    duals, proof, unit = _generate(master, until)
    bound = max(bound, lower_bound(problem, _proof(grouped, task_kind, proof, unit)))
    for threshold in _THRESHOLDS:
        for dive in (False, True):
            if _nodes(best) > bound and monotonic() < until:
                if dive:
                    chosen = _dive(master, duals, _nodes(best), threshold, until)
                else:
                    chosen = master.integer(min(_WHOLE, until - monotonic()), bound) or []
                found = _unpack(task_kind, node_kind, chosen)
                if (found >= 0).all() and _nodes(found) < _nodes(best):
                    best = found
    return best, bound


def _dive(master: Master, duals: Duals, best: int, threshold: float, until: float) -> list[tuple[Column, int]]:
    """Fix patterns that the relaxation uses most, then generate patterns for what remains, until nothing does.

    The patterns that are found on the way go to the master.
    """
    chosen: list[tuple[Column, int]] = []
    rest, columns, fixed_nodes = master.kinds, list(master.columns), 0
    while monotonic() < until:
        fixed = np.floor(duals.use + 1e-6)
        if not fixed.any():
            fixed = (duals.use >= min(threshold, duals.use.max() - 1e-9)).astype(float)
        for c in np.argsort(-duals.use, kind="stable")[: np.count_nonzero(fixed)]:
            t, pattern = columns[c][0], np.minimum(dense(columns[c], len(rest.demand)), rest.demand)
            if pattern.any() and (times := min(int(fixed[c]), rest.times(t, pattern))):
                chosen.append((column(t, pattern), times))
                rest = rest.without(t, pattern, times)
                fixed_nodes += times
        if not rest.demand.any():
            return chosen
        smaller = Master(rest, master.cost)
        for held in columns:
            if rest.count[held[0]]:
                smaller.add(held[0], np.minimum(dense(held, len(rest.demand)), rest.demand))
        duals, _, _ = generate(smaller, _CELLS, until)
        columns = list(smaller.columns)
        for held in columns:
            master.add(held[0], dense(held, len(rest.demand)))
        if not duals.use.any() or fixed_nodes + np.ceil(duals.value - 1e-6) >= best:
            break
    return []


def _fewest_left(
    problem: Problem, grouped: Kinds, task_kind: Ints, node_kind: Ints, best: Ints, until: float
) -> tuple[Ints, int]:
    """Return a plan that leaves as few tasks over as can be, and how many every plan leaves."""
    master = Master(grouped, np.zeros(len(grouped.count)), left_over=1.0)
    for t, pattern in _columns(grouped, task_kind, node_kind, best):
        master.add(t, pattern)
    _, proof, unit = _generate(master, until)
    least = lower_bound(problem, _proof(grouped, task_kind, proof, unit), unplaced=True)
    found = _unpack(task_kind, node_kind, master.integer(until - monotonic(), least) or ())
    return (found if (found < 0).sum() < (best < 0).sum() else best), least


def _prefer(problem: Problem, grouped: Kinds, task_kind: Ints, node_kind: Ints, best: Ints, until: float) -> Ints:
    """Return a plan with as many nodes, as many of them preferred ones as can be found."""
    if problem.preferred[best].all() or not problem.preferred.any():
        return best
    master = Master(grouped, np.where(grouped.preferred, 0.0, 1.0), budget=float(_nodes(best)))
    for t, pattern in _columns(grouped, task_kind, node_kind, best):
        master.add(t, pattern)
    generate(master, _CELLS, until)
    found = _unpack(task_kind, node_kind, master.integer(until - monotonic(), 0) or ())
    other = np.count_nonzero(~problem.preferred[np.unique(best)])
    if (
        (found >= 0).all()
        and _nodes(found) <= _nodes(best)
        and np.count_nonzero(~problem.preferred[np.unique(found)]) < other
    ):
        return found
    return best
