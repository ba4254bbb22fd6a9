"""Plans task by task: a greedy start, and a local search that empties one node after the other."""

import numpy as np
from numpy.typing import NDArray

from ci.placement.packing.clock import Until
from ci.placement.packing.kinds import Chosen, Kinds
from ci.placement.packing.pricing import Floats
from ci.placement.packing.problem import Ints, Problem


def greedy(kinds: Kinds, weights: Floats, small: float, until: Until, scale: Floats | float = 1.0) -> Chosen:
    """Return patterns that place all tasks if they can and time allows: node after node, the most valuable first.

    A node with f left takes the task whose requests q make q·f − small·|q|² largest, in shares of all requests: with 0
    that is the dot product, with ½ the task that leaves the node nearest to full (Panigrahy et al., 2011). `weights` is
    what one unit of each resource is worth, and `scale` makes some count more in the product; shape (resources,).
    """
    total = np.maximum(1, kinds.requests.T @ kinds.demand)
    share = np.ascontiguousarray((kinds.requests * scale / total).T)
    total = total / scale
    rest, chosen = kinds, []
    for t in best_first(kinds, weights).tolist():
        if not rest.demand.any() or until.over:
            break
        while rest.count[t] and rest.demand.any() and not until.over:
            if not (pattern := _fill(rest, t, share, total, small, until)).any():
                break
            chosen.append((t, pattern, rest.times(t, pattern)))
            rest = rest.without(*chosen[-1])
    return chosen


def best_first(kinds: Kinds, weights: Floats) -> Ints:
    """Return the kinds of nodes, those with most of what is scarce first, and nodes in use before their equals."""
    total = np.maximum(1, kinds.requests.T @ kinds.demand)
    worth = kinds.free @ weights + 1e-3 * (kinds.free / total).sum(axis=1) + 1e-9 * kinds.preferred
    order: Ints = np.argsort(-worth, kind="stable")
    return order


def _fill(rest: Kinds, t: int, share: Floats, total: Ints, small: float, until: Until) -> Ints:
    """Return what one empty node of kind t takes in time; `share` has the shape (resources, kinds of tasks)."""
    left, pattern = (rest.free[t] / total)[:, None], np.zeros_like(rest.demand)
    demand = np.where(rest.allowed[rest.rule, t], rest.demand, 0)
    open_to = np.flatnonzero((demand > 0) & np.all(share <= left + 1e-15, axis=0))
    asked, more = share[:, open_to], demand[open_to]
    value = (asked * (left - small * asked)).sum(axis=0)
    while open_to.size and not until.over:
        best = int(np.argmax(value))
        pattern[open_to[best]] += 1
        more[best] -= 1
        step = asked[:, [best]]
        left, value = left - step, value - (asked * step).sum(axis=0)
        if not (kept := (more > 0) & np.all(asked <= left + 1e-15, axis=0)).all():
            open_to, asked, more, value = open_to[kept], asked[:, kept], more[kept], value[kept]
    return pattern


def first_fit(problem: Problem, node_of: Ints, weights: Floats, until: Until) -> Ints:
    """Return the plan with its tasks without a node, the largest first, where they leave least; quick, not good."""
    plan, every = _Plan(problem, node_of, weights), np.ones(len(problem.free), dtype=bool)
    missing = np.flatnonzero(node_of < 0)
    for task in missing[np.argsort(-plan.worth[missing], kind="stable")]:
        out: int | None = int(task)
        while out is not None and out >= 0 and not until.over:
            out = plan.place(out, every)
    return plan.node_of


def squeeze(problem: Problem, node_of: Ints, weights: Floats, bound: int, until: Until) -> Ints:
    """Return a complete plan with fewer nodes, down to `bound`: the least filled are emptied while it works."""
    while len(used := np.unique(node_of)) > bound and not until.over:
        emptied = used[np.argmin(np.bincount(node_of, problem.requests @ weights)[used])]
        open_to = np.isin(np.arange(len(problem.free)), used[used != emptied])
        fewer = seat(problem, np.where(node_of == emptied, -1, node_of), open_to, weights, until)
        if (fewer < 0).any():
            break
        node_of = fewer
    return node_of


def seat(problem: Problem, node_of: Ints, open_to: NDArray[np.bool_], weights: Floats, until: Until) -> Ints:
    """Return a plan in which as many tasks without a node as can be found one have one of the open nodes.

    Such a task may take the place of a smaller one, which then looks for a place itself; when that is stuck, random
    exchanges gather what is free on fewer nodes.
    """
    plan, random = _Plan(problem, node_of, weights), np.random.default_rng(0)
    best, waiting = node_of, [int(i) for i in np.flatnonzero(node_of < 0)]
    for _ in range(60):
        still: list[int] = []
        while waiting and not until.over:
            waiting.sort(key=lambda i: plan.worth[i])
            out = plan.place(task := waiting.pop(), open_to)
            if out is None:
                still.append(task)
            elif out >= 0:
                waiting.append(out)
        waiting += still
        if (plan.node_of < 0).sum() < (best < 0).sum():
            best = plan.node_of.copy()
        if not waiting or until.over:
            break
        plan.gather(random, until)
    return best


class _Plan:
    """Which task is on which node (-1: none), what is still free on each node, and what tasks are worth."""

    def __init__(self, problem: Problem, node_of: Ints, weights: Floats) -> None:
        # In columns, because the questions are whether all resources suffice: ten times faster than in rows.
        self.problem, self.node_of, self.left = problem, node_of.copy(), np.asfortranarray(problem.left(node_of))
        self.worth, self.weights, self.room = problem.requests @ weights, weights, self.left @ weights

    def put(self, task: int, node: int) -> None:
        """Move a task to a node, or to none."""
        asked, zone, zoned = self.problem.requests[task], self.problem.zone, list(self.problem.zoned)
        for host, sign in ((self.node_of[task], 1), (node, -1)):
            if host >= 0:
                shared = self.left[host, zoned] + sign * asked[zoned]
                self.left[host] += sign * asked
                self.room[host] = self.left[host] @ self.weights
                if zoned:
                    self.left[np.ix_(zone == zone[host], zoned)] = shared
                    self.room = self.left @ self.weights
        self.node_of[task] = node

    def place(self, task: int, open_to: NDArray[np.bool_]) -> int | None:
        """Place a task. Return the smaller task that was moved away for it, -1 if none was, None if it fits nowhere."""
        asked, may = self.problem.requests[task], self.problem.allowed[self.problem.rule[task]] & open_to
        worth = self.worth
        fits = may & np.all(self.left >= asked, axis=1)
        fullest = int(np.argmin(np.where(fits, self.room, np.inf)))
        if fits[fullest]:
            self.put(task, fullest)
            return -1
        placed = np.flatnonzero((self.node_of >= 0) & (worth < worth[task] * (1 - 1e-9)))
        hosts = self.node_of[placed]
        swap = may[hosts] & np.all(self.left[hosts] + self.problem.requests[placed] >= asked, axis=1)
        if not swap.any():
            return None
        out = int(placed[swap][np.argmin(worth[placed[swap]])])
        host = int(self.node_of[out])
        self.put(out, -1)
        self.put(task, host)
        return out

    def gather(self, random: np.random.Generator, until: Until) -> None:
        """Exchange tasks between nodes so that what is free differs more from node to node."""
        requests, allowed, rule = self.problem.requests, self.problem.allowed, self.problem.rule
        placed, worth, left = np.flatnonzero(self.node_of >= 0), self.worth, self.left
        for a in random.choice(placed, size=min(300, len(placed)), replace=False):
            if until.over:
                break
            here, hosts = int(self.node_of[a]), self.node_of[placed]
            possible = (hosts != here) & allowed[rule[placed], here] & allowed[rule[a], hosts]
            possible &= np.all(requests[placed] <= left[here] + requests[a], axis=1)
            possible &= np.all(left[hosts] + requests[placed] >= requests[a], axis=1)
            if not possible.any():
                continue
            others, there = placed[possible], hosts[possible]
            # By how much the sum of squares of what is free on the two nodes grows, halved.
            move = worth[a] - worth[others]
            gain = move * (move + self.room[here] - self.room[there])
            b = np.argmax(gain + 1e-3 * random.random(len(gain)) * abs(gain).max())
            if gain[b] > 0:
                self.put(int(a), -1)
                self.put(int(others[b]), here)
                self.put(int(a), int(there[b]))
