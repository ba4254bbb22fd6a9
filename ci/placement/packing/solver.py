"""The solver for size: greedy start, bound, patterns, integer master and dives, local search.

It stops as soon as plan and bound meet. Bounds come from the certificate, which knows nothing of how the
prices were found; the plan is for the caller to check with `ci.placement.check`.
"""

from fractions import Fraction
from math import inf
from time import monotonic

import numpy as np

from ci.placement.packing.certificate import Certificate, lower_bound
from ci.placement.packing.clock import Clock, Until
from ci.placement.packing.generation import by_patterns, exact, nothing, one, one_and_a_bit
from ci.placement.packing.incumbent import Incumbent, Watch
from ci.placement.packing.kinds import Kinds
from ci.placement.packing.patterns import columns, highs
from ci.placement.packing.plain import plain
from ci.placement.packing.pricing import Floats, scarce
from ci.placement.packing.problem import Problem
from ci.placement.packing.refine import by_lists, listable, repair
from ci.placement.packing.search import first_fit, greedy, seat, squeeze
from ci.placement.packing.solution import Bound, Solution

_SCALE = 2**24
"""Parts of a node in which a certificate counts prices, so that they are whole numbers."""
_LATE = 1.0
"""Seconds after the limit in which a first plan may still become complete."""
_SMALL = 1000
"""Tasks times nodes up to which the plain formulation settles what is still open."""
_LARGER = 4000
"""The same at the end, when nothing else is left to try."""
_FEW, _AXES, _GROUPS = 400, 12, 100
"""Kinds of tasks, scarce resources, and kinds of nodes by the tasks that they take, up to which patterns are generated;
beyond, the master would be too slow to solve again and again, or no grid fine enough."""


def solve(problem: Problem, time_limit: float, *, clock: Clock = monotonic, watch: Watch | None = None) -> Solution:
    """Return the best plan found, a proven bound, and how long it took.

    If not all tasks can be placed, as few as possible stay without a node. An interrupt (KeyboardInterrupt) returns
    what was found so far, as soon as there is a plan.

    Args:
        problem: the program's data.
        time_limit: limit of the whole call; seconds. What completes a first plan may take one more.
        clock: tells the time, in seconds; processor time, for instance, makes a busy machine no difference.
        watch: is told of progress.
    """
    until = Until(clock() + time_limit, clock)
    if not len(problem.requests):
        return Solution((), 0, 0, clock() - until.at + time_limit)
    weights = _cover(problem)
    proof = _linear(problem, weights)
    found = Incumbent(problem, proof, lower_bound(problem, proof), until, time_limit, watch)
    try:
        _search(found, weights)
    except KeyboardInterrupt:
        if not (found.plan >= 0).any():
            raise
        return found.solution(stopped=True)
    return found.solution()


def _search(found: Incumbent, weights: Floats) -> None:
    problem, until, kinds = found.problem, found.until, Kinds.of(found.problem)
    half = until.part(0.5)
    found.offer(kinds.unpack(greedy(kinds, weights, 0.0, half)))
    if found.missing and half.over:
        found.offer(first_fit(problem, found.plan, weights, until.within(until.left + _LATE)))
    if (found.missing or found.open) and not until.over:
        found.offer(kinds.unpack(greedy(kinds, weights, 0.5, until)))
    few = len(kinds.demand) <= _FEW and len(scarce(kinds)) <= _AXES and kinds.alike.max() < _GROUPS
    if found.missing:
        half = until.part(0.5)
        if few:
            by_patterns(found, kinds, weights, half, nothing, 1.0)
        if found.missing > found.least:
            even = 1 / problem.free.sum(axis=0, dtype=float).clip(1)
            found.offer(seat(problem, found.plan, np.ones(len(problem.free), dtype=bool), even, until.part(0.5)))
    if not found.missing:
        listed = listable(kinds)
        if found.open and few and (exact(kinds) or not listed):
            by_patterns(found, kinds, weights, until, one)
        if found.open and listed:
            by_lists(found, kinds, weights, until)
        if not listed:
            found.offer(squeeze(problem, found.plan, weights, found.bound, until))
        if few and problem.preferred.any() and found.score[2]:
            by_patterns(found, kinds, weights, until, one_and_a_bit)
    # Amounts that no grid holds exactly, and nodes in use: of this size, branch and bound settles both.
    done = found.missing <= found.least if found.missing else not found.open
    done &= bool(found.missing or not problem.preferred.any() or not found.score[2])
    if problem.allowed.shape[1] * len(problem.requests) <= _SMALL and not done and not until.over:
        settled = plain(problem, until.left)
        found.least = max(found.least, settled.least_unplaced)
        found.prove(settled.bound, Bound.BRANCHING)
        found.offer(np.array(settled.node_of))
    if not found.missing and not problem.zoned:
        repair(found, weights, until)
    if found.open and not found.missing and not until.over:
        _branch(found, kinds, until)


def _branch(found: Incumbent, kinds: Kinds, until: Until) -> None:
    """Look for a plan with one node less by branch and bound, where it is small; of each kind so many nodes do."""
    fewer = found.score[1] - 1
    nodes = np.concatenate([np.flatnonzero(kinds.of_node == t)[:fewer] for t in range(len(kinds.count))])
    if len(nodes) * len(found.plan) <= _LARGER:
        part = plain(found.problem.only(nodes), until.left)
        # More than that is shown of these nodes alone.
        found.prove(fewer + 1 if part.least_unplaced else min(part.bound, fewer + 1), Bound.BRANCHING)
        if not part.unplaced:
            found.offer(nodes[np.array(part.node_of)])


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
