"""Plans task by task: a greedy start, and a local search that empties one node after the other."""

from time import monotonic

import numpy as np
from numpy.typing import NDArray

from ci.placement.columns import Column, Floats, Kinds, column
from ci.placement.model import Ints, Problem


class _State:
    """Which task is on which node (-1: none), and what is left of every node."""

    def __init__(self, problem: Problem, node_of: Ints) -> None:
        self.problem, self.node_of, self.left = problem, node_of.copy(), problem.free.copy()
        self.shared, self.own = list(problem.zoned), np.ones(len(problem.resources), dtype=bool)
        self.own[self.shared] = False
        for i in np.flatnonzero(node_of >= 0):
            self._take(int(i), int(node_of[i]), 1)

    def put(self, task: int, node: int) -> None:
        """Move a task to a node, or to none."""
        if (old := int(self.node_of[task])) >= 0:
            self._take(task, old, -1)
        self.node_of[task] = node
        if node >= 0:
            self._take(task, node, 1)

    def _take(self, task: int, node: int, sign: int) -> None:
        asked = sign * self.problem.requests[task]
        self.left[node] -= np.where(self.own, asked, 0)
        if self.shared:
            inside = np.flatnonzero(self.problem.zone == self.problem.zone[node])
            self.left[inside[:, None], self.shared] -= asked[self.shared]


def greedy(kinds: Kinds, weights: Floats, *, near: bool) -> list[tuple[Column, int]]:
    """Return patterns that place all tasks if they can: one node after the other, the most valuable first.

    A node takes the task whose requests point most in the direction of what it has left, by dot product (Panigrahy et
    al., 2011), or if `near` the one that leaves it nearest to full; both in shares of all requests.

    Args:
        kinds: what to place.
        weights: what one unit of each resource is worth; shape (resources,).
        near: which of the two measures to use.
    """
    total = np.maximum(1, kinds.requests.T @ kinds.demand)
    share = kinds.requests / total
    useful = np.minimum(kinds.free, total)
    worth = useful @ weights + 1e-3 * (useful / total).sum(axis=1) + 1e-9 * kinds.preferred
    rest, chosen = kinds, []
    for t in np.argsort(-worth, kind="stable"):
        while rest.count[t] and rest.demand.any():
            pattern = _fill(rest, int(t), share, total, near)
            if not pattern.any():
                break
            times = rest.times(int(t), pattern)
            chosen.append((column(int(t), pattern), times))
            rest = rest.without(int(t), pattern, times)
    return chosen


def _fill(rest: Kinds, t: int, share: Floats, total: Ints, near: bool) -> Ints:
    left = rest.left()[t] / total
    demand = np.where(rest.allowed[:, t], rest.demand, 0)
    pattern = np.zeros_like(demand)
    open_to = np.flatnonzero((demand > 0) & np.all(share <= left + 1e-15, axis=1))
    while open_to.size:
        asked = share[open_to]
        score = -((left - asked) ** 2).sum(axis=1) if near else asked @ left
        i = open_to[np.argmax(score)]
        pattern[i] += 1
        left = left - share[i]
        open_to = open_to[(pattern[open_to] < demand[open_to]) & np.all(share[open_to] <= left + 1e-15, axis=1)]
    return pattern


def squeeze(problem: Problem, node_of: Ints, weights: Floats, bound: int, until: float, seed: int = 0) -> Ints:
    """Return a plan with fewer nodes if local search finds one, down to `bound`.

    The least filled node is emptied, and its tasks find places by taking those of smaller tasks, which then look for
    places themselves; when that is stuck, random exchanges gather what is free on fewer nodes.

    Args:
        problem: the program's data.
        node_of: a complete plan; shape (tasks,).
        weights: what one unit of each resource is worth; shape (resources,).
        bound: nodes below which no plan is.
        until: the monotonic time to stop at; seconds.
        seed: of the exchanges.
    """
    random = np.random.default_rng(seed)
    while len(used := np.unique(node_of)) > bound and monotonic() < until:
        filled = [(problem.requests[node_of == j] @ weights).sum() for j in used]
        emptied = int(used[int(np.argmin(filled))])
        open_to = np.isin(np.arange(len(problem.nodes)), used[used != emptied])
        fewer = seat(problem, np.where(node_of == emptied, -1, node_of), open_to, weights, until, random)
        if fewer is None:
            break
        node_of = fewer
    return node_of


def seat(
    problem: Problem,
    node_of: Ints,
    open_to: NDArray[np.bool_],
    weights: Floats,
    until: float,
    random: np.random.Generator,
) -> Ints | None:
    """Return a plan in which the tasks without a node have one of the open nodes, or None if the search is stuck."""
    state = _State(problem, node_of)
    worth = problem.requests @ weights
    waiting = [int(i) for i in np.flatnonzero(node_of < 0)]
    for _ in range(60):
        still: list[int] = []
        while waiting and monotonic() < until:
            waiting.sort(key=lambda i: worth[i])
            task = waiting.pop()
            out = _seat(state, task, worth, open_to, weights)
            if out is None:
                still.append(task)
            elif out >= 0:
                waiting.append(out)
        waiting += still
        if not waiting:
            return state.node_of
        if monotonic() > until:
            return None
        _gather(state, worth, weights, random)
    return None


def _seat(state: _State, task: int, worth: Floats, open_to: NDArray[np.bool_], weights: Floats) -> int | None:
    """Place a task; return the smaller task that made room for it, -1 if none had to, or None if it has no place."""
    problem = state.problem
    may = problem.allowed[problem.rule[task]] & open_to
    asked = problem.requests[task]
    fits = np.flatnonzero(may & np.all(state.left >= asked, axis=1))
    if fits.size:
        state.put(task, int(fits[np.argmin(state.left[fits] @ weights)]))
        return -1
    placed = np.flatnonzero((state.node_of >= 0) & (worth < worth[task] * (1 - 1e-9)))
    hosts = state.node_of[placed]
    swap = may[hosts] & np.all(state.left[hosts] + problem.requests[placed] >= asked, axis=1)
    if not swap.any():
        return None
    out = int(placed[swap][np.argmin(worth[placed[swap]])])
    host = int(state.node_of[out])
    state.put(out, -1)
    state.put(task, host)
    return out


def _gather(state: _State, worth: Floats, weights: Floats, random: np.random.Generator, tries: int = 300) -> None:
    """Exchange tasks between nodes so that what is free differs more from node to node."""
    problem = state.problem
    placed = np.flatnonzero(state.node_of >= 0)
    for a in random.choice(placed, size=min(tries, len(placed)), replace=False):
        here = int(state.node_of[a])
        room_here = state.left[here] + problem.requests[a]
        hosts = state.node_of[placed]
        possible = (
            (hosts != here)
            & problem.allowed[problem.rule[placed], here]
            & problem.allowed[problem.rule[a], hosts]
            & np.all(problem.requests[placed] <= room_here, axis=1)
            & np.all(state.left[hosts] + problem.requests[placed] >= problem.requests[a], axis=1)
        )
        if not possible.any():
            continue
        others = placed[possible]
        move = worth[a] - worth[others]
        free_here, free_there = float(state.left[here] @ weights), state.left[state.node_of[others]] @ weights
        gain = (free_here + move) ** 2 + (free_there - move) ** 2 - free_here**2 - free_there**2
        b = int(np.argmax(gain + 1e-3 * random.random(len(gain)) * abs(gain).max()))
        if gain[b] > 0:
            there, other = int(state.node_of[others[b]]), int(others[b])
            state.put(int(a), -1)
            state.put(other, here)
            state.put(int(a), there)
