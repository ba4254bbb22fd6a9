"""Patterns that are worth enough on a node, listed task by task, where no grid of amounts is fine enough.

With many scarce resources few tasks fit on a node together, and a list of all ways is shorter than any table. A weight
w_r ≥ 0 for each resource tells how much a pattern that has some tasks already can become worth at most,

    Σ_{i in it} (π_i − w·q_i) + Σ_{i later} max(0, π_i − w·q_i) + w·f,

and one that cannot become worth enough is not followed (Lagrange's bound; the weights are the knapsack's duals). Tasks
come by falling π_i − w·q_i, so what may still follow a pattern is one range of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ci.placement.packing.clock import Until
from ci.placement.packing.kinds import Kinds
from ci.placement.packing.pricing import Floats, fill
from ci.placement.packing.problem import Ints

_MANY, _OFTEN, _GIVEN = 3000, 8, 200
"""Patterns that are looked for while prices still change; how many a task may be in, and all, that are given back."""
_SAFE = 1e-9
"""More than what rounding changes in a sum of prices."""
_TOGETHER, _LOOKED = 250_000, 20_000_000
"""Patterns that are looked at together (30 MB), and in all."""


@dataclass(frozen=True)
class Listed:
    """Patterns (patterns, kinds of tasks), what they are worth, and what one that is not listed is worth at most."""

    patterns: Ints
    worth: Floats
    beyond: float


class Lister:
    """Finds patterns that are worth more than a node costs; `exact` says that none was left out the last time.

    Args:
        kinds: what to place; no resource may be shared by a zone.
        cost: of a node of each kind; shape (kinds of nodes,).
        wide: how many patterns are followed at once.
    """

    def __init__(self, kinds: Kinds, cost: Floats, wide: int, patience: int = 8) -> None:
        self.kinds, self.cost, self.wide, self.patience, self.exact = kinds, cost, wide, patience, True
        self.size: Floats = (kinds.requests / kinds.free.max(axis=0).clip(1)).sum(axis=1)

    def __call__(self, prices: Floats, until: Until) -> tuple[Ints, Ints, Floats]:
        """Return kinds of nodes, patterns for them, and what any pattern is worth at most on each kind of node.

        Raises:
            TimeoutError: at `until`.
        """
        node, held = [np.zeros(0, dtype=np.int64)], [np.zeros((0, len(self.kinds.demand)), dtype=np.int64)]
        most, self.exact = self.cost.copy(), True
        for t in np.flatnonzero(self.kinds.count).tolist():
            found = self.list(t, prices[0], float(self.cost[t]) + 1e-7, self.wide, until)
            most[t] = max(most[t], found.worth.max(initial=0), found.beyond)
            self.exact &= found.beyond == -inf
            held.append(found.patterns[:_GIVEN])
            node.append(np.full(len(held[-1]), t))
        here, patterns = np.concatenate(node), np.concatenate(held)
        return here, fill(self.kinds, prices[0], self.size, here, patterns), most

    def list(self, t: int, value: Floats, least: float, wide: int, until: Until) -> Listed:
        """Return patterns for nodes of kind t that are worth `least` or more; at most `wide` are followed at once.

        Only about `_MANY` are asked for, the best; tasks of no value are left out of them.

        Raises:
            TimeoutError: at `until`.
        """
        kinds, room = self.kinds, self.kinds.free[t]
        useful = (value > 1e-9) & (kinds.demand > 0) & kinds.allowed[kinds.rule, t]
        tasks = np.flatnonzero(useful & np.all(kinds.requests <= room, axis=1))
        weights = knapsack(kinds.requests[tasks], value[tasks], kinds.demand[tasks], room)
        tasks = tasks[np.argsort(kinds.requests[tasks] @ weights - value[tasks], kind="stable")]
        asked, worth, times = kinds.requests[tasks], value[tasks], kinds.demand[tasks]
        save = worth - asked @ weights
        later = np.append(np.cumsum((times * save.clip(0))[::-1])[::-1], 0.0)
        # What one more of a task and all that may follow it can save; it falls from task to task.
        reach = save + later[1:] + (times - 1) * save.clip(0)
        waiting, beyond, looked = [_Front.first(room, float(room @ weights))], -inf, 0
        found: list[_Front] = []
        while waiting:
            if until.over:
                raise TimeoutError
            front = waiting.pop()
            ends = np.searchsorted(-reach, front.base - least + _SAFE, side="right")
            rows = np.flatnonzero(ends > front.last)
            front, ends = front.of(rows), ends[rows]
            hope = front.base + later[front.last]
            if front.base.size > wide or looked > _LOOKED:
                order = front.best(hope)
                end = wide if looked <= _LOOKED else 0
                beyond = max(beyond, float(hope[order[end:]].max(initial=-inf)))
                front, ends, hope = front.of(order[:end]), ends[order[:end]], hope[order[:end]]
            # Too many to be gone on with at once are parted; the most hopeful come last, so they are the next ones.
            if (total := int(front.following(ends).sum())) > _TOGETHER and len(parts := front.parts(hope, ends)) > 1:
                waiting += reversed(parts)
                continue
            looked += total
            front = front.longer(asked, save, worth, times, ends)
            waiting += [front] * bool(front.base.size)
            found.append(front.of(np.flatnonzero(front.worth >= least)))
            if sum(each.base.size for each in found) > _MANY:
                worths = np.concatenate([each.worth for each in found])
                least = max(least, float(-np.partition(-worths, _MANY)[_MANY]))
                found = [each.of(np.flatnonzero(each.worth >= least)) for each in found]
        return Listed(*_several(found, tasks, len(value), _OFTEN), beyond)


@dataclass(frozen=True)
class _Front:
    """Patterns of equally many tasks, one a row: what they save, are worth, leave free, and their tasks in order."""

    base: Floats
    worth: Floats
    left: Ints
    last: Ints
    copies: Ints
    members: NDArray[np.int32]

    @classmethod
    def first(cls, room: Ints, base: float) -> "_Front":
        """Return the pattern of an empty node, which saves what the whole node is worth."""
        none = np.zeros(1, dtype=np.int64)
        return cls(np.array([base]), np.zeros(1), room[None, :], none, none, np.zeros((1, 0), dtype=np.int32))

    def of(self, rows: Ints) -> "_Front":
        """Return some of them."""
        return _Front(*(getattr(self, each.name)[rows] for each in fields(self)))

    def best(self, hope: Floats) -> Ints:
        """Return their rows, the most hopeful first of those that each task leads, then the second of each, and on."""
        order = np.argsort(-hope, kind="stable")
        leader = self.members[order, :1].sum(axis=1)
        by_leader = np.argsort(leader, kind="stable")
        number = np.bincount(leader)
        rank = np.empty(len(order), dtype=np.int64)
        rank[by_leader] = np.arange(len(order)) - np.repeat(np.cumsum(number) - number, number)
        rows: Ints = order[np.argsort(rank, kind="stable")]
        return rows

    def parts(self, hope: Floats, ends: Ints) -> list["_Front"]:
        """Return them in parts of about as many as are looked at together, the most hopeful first."""
        order = np.argsort(-hope, kind="stable")
        following = self.following(ends)[order]
        new = np.diff((np.cumsum(following) - following) // _TOGETHER)
        return [self.of(rows) for rows in np.split(order, np.flatnonzero(new) + 1)]

    def following(self, ends: Ints) -> Ints:
        """Return how many tasks may follow each: the last one once more, and later ones before `ends`."""
        number: Ints = np.maximum(0, ends - self.last)
        return number

    def longer(self, asked: Ints, save: Floats, worth: Floats, times: Ints, ends: Ints) -> "_Front":
        """Return them with one task more: the same once more or a later one, before `ends`, where it fits."""
        follow = self.following(ends)
        parent = np.repeat(np.arange(len(follow)), follow)
        task = np.arange(parent.size) - np.repeat(np.cumsum(follow) - follow - self.last, follow)
        copies = np.where(task == self.last[parent], self.copies[parent], 0) + 1
        for r in range(-1, asked.shape[1]):
            fits = copies <= times[task] if r < 0 else asked[task, r] <= self.left[parent, r]
            parent, task, copies = parent[fits], task[fits], copies[fits]
        members = np.column_stack([self.members[parent], task]).astype(np.int32)
        base, total = self.base[parent] + save[task], self.worth[parent] + worth[task]
        return _Front(base, total, self.left[parent] - asked[task], task, copies, members)


def knapsack(asked: Ints, worth: Floats, times: Ints, room: Ints) -> Floats:
    """Return the duals of the fractional knapsack: what a unit of each resource of a node is worth."""
    from ci.placement.packing.patterns import columns, highs

    solver: Any = highs()
    scale = room.clip(1).astype(float)
    for _ in room:
        solver.addRow(-inf, 1.0, 0, [], [])
    columns(solver, -worth, times, asked / scale)
    solver.run()
    weights: Floats = np.maximum(0, -np.array(solver.getSolution().row_dual)) / scale
    return weights


def _several(found: Sequence[_Front], tasks: Ints, kinds: int, often: int) -> tuple[Ints, Floats]:
    """Return patterns (patterns, kinds of tasks) and what they are worth: the best, with no task in many of them."""
    worth = np.concatenate([*(each.worth for each in found), np.zeros(0)])
    members = [row for each in found for row in tasks[each.members]]
    used, kept = np.zeros(kinds, dtype=np.int64), []
    for p in np.argsort(-worth, kind="stable").tolist():
        if (used[members[p]] < often).all():
            used[members[p]] += 1
            kept.append(p)
    patterns = np.zeros((len(kept), kinds), dtype=np.int64)
    for row, p in enumerate(kept):
        np.add.at(patterns[row], members[p], 1)
    return patterns, worth[kept]
