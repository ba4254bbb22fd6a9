"""Which patterns of tasks are worth most on a node, found by dynamic programming over a grid of amounts."""

from math import gcd

import numpy as np
from numpy.typing import NDArray

from ci.placement.packing.clock import Until
from ci.placement.packing.kinds import Kinds
from ci.placement.packing.problem import Ints

Floats = NDArray[np.float64]

_MORE = 200
_BITS = 1_000_000_000
"""What a table remembers of the way to each cell, at most: 125 MB."""


def scarce(kinds: Kinds) -> list[int]:
    """Return the resources that can run out on a node; at least one."""
    total, free = kinds.demand @ kinds.requests, kinds.free
    axes = [r for r in range(len(total)) if np.any(total[r] > free[:, r])] or [0]
    for r in sorted(axes, key=lambda r: -float((free[:, r] / max(1, kinds.requests[:, r].max())).min())):
        asked = kinds.requests[kinds.requests[:, r] > 0]
        # Where another resource that they all ask for is used up, enough of this one is left.
        others = [other for other in axes if other != r and asked[:, other].all()]
        if any(np.all((asked[:, r] / asked[:, o]).max() * free[:, o] <= free[:, r]) for o in others):
            axes.remove(r)
    return axes


def grid(kinds: Kinds, cells: int) -> dict[int, int]:
    """Return a unit for each scarce resource, such that a grid has about so many cells."""
    free, axes = kinds.free, scarce(kinds)
    cells = min(cells, _BITS // max(1, kinds.steps))
    fine = {r: gcd(*map(int, kinds.requests[:, r])) or 1 for r in axes}
    steps = {r: int(free[:, r].max()) // fine[r] for r in axes}
    units = {}
    for done, r in enumerate(sorted(axes, key=lambda r: steps[r])):
        budget = max(2, int(cells ** (1 / (len(axes) - done))))
        units[r] = fine[r] * (steps[r] // budget + 1)
        cells = max(2, cells // (int(free[:, r].max()) // units[r] + 1))
    return units


def fill(kinds: Kinds, value: Floats, size: Floats, node: Ints, held: Ints) -> Ints:
    """Return patterns with all tasks that fit besides, those first that are worth most for their size."""
    left, held = kinds.free[node] - held @ kinds.requests, held.copy()
    for i in np.argsort(-value / size.clip(1e-12))[: np.count_nonzero(value > 0)]:
        asked = np.flatnonzero(kinds.requests[i])
        fit = (left[:, asked] // kinds.requests[i, asked]).min(axis=1, initial=kinds.demand[i])
        fit = np.minimum(fit, np.where(kinds.allowed[kinds.rule[i], node], kinds.demand[i], 0) - held[:, i])
        held[:, i] += fit
        left -= fit[:, None] * kinds.requests[i]
    return held


class Pricer:
    """Finds the patterns that are worth most at given prices, on a grid of about `cells` cells.

    Requests are rounded up to the grid and free amounts down, so a pattern always fits. `exact` says that rounding
    changed nothing.
    """

    patience = 1000

    def __init__(self, kinds: Kinds, cells: int) -> None:
        self.kinds, self.units = kinds, grid(kinds, cells)
        axes, unit = list(self.units), np.array(list(self.units.values()))
        self.size, self.room = -(-kinds.requests[:, axes] // unit), kinds.free[:, axes] // unit
        self.exact = not np.any(kinds.requests[:, axes] % unit)
        self.alike = kinds.alike

    def __call__(self, prices: Floats, until: Until) -> tuple[Ints, Ints, Floats]:
        """Return patterns worth much: kinds of nodes (patterns,) and what is on them (patterns, kinds of tasks).

        The first are the best for each kind of node, in order, and the third result is what they are worth; others, the
        best that hold a certain task, follow.
        `prices` has the shape (zones, kinds of tasks).

        Raises:
            TimeoutError: at `until`.
        """
        kinds = self.kinds
        node, held = np.arange(len(kinds.count)), np.zeros((len(kinds.count), len(kinds.demand)), dtype=np.int64)
        for each in range(int(self.alike.max()) + 1):
            here = np.flatnonzero(self.alike == each)
            t, patterns = self._knapsack(here, prices[kinds.zone[here[0]]], until)
            held[here] = patterns[: len(here)]
            node, held = np.append(node, t[len(here) :]), np.concatenate([held, patterns[len(here) :]])
        if not self.exact:
            size = (self.size / self.room.max(axis=0).clip(1)).sum(axis=1)
            held = fill(kinds, prices[0], size, node, held)
        worth = (held[: len(kinds.count)] * prices[kinds.zone]).sum(axis=1)
        return node, held, worth

    def _knapsack(self, here: Ints, value: Floats, until: Until) -> tuple[Ints, Ints]:
        """Solve the bounded knapsacks of some kinds of nodes: copies in powers of two, then back through the table."""
        top = self.room[here].max(axis=0)
        table = np.zeros(tuple(top + 1), dtype=np.float32)
        steps: list[tuple[int, int, Ints, tuple[int, ...], NDArray[np.uint8]]] = []
        kinds = self.kinds
        useful = np.flatnonzero((value > 1e-9) & kinds.allowed[kinds.rule, here[0]] & (kinds.demand > 0))
        for i in useful:
            size = self.size[i]
            left, step = int(min([kinds.demand[i], *(top[size > 0] // size[size > 0])])), 1
            while left > 0:
                _in_time(until)
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
            _in_time(until)
            inside = np.flatnonzero(np.all(cell >= start, axis=1))
            flat = np.ravel_multi_index(tuple((cell[inside] - start).T), shape)
            rows = inside[(taken[flat >> 3] >> (7 - (flat & 7)) & 1).astype(bool)]
            pattern[rows, task] += copies
            cell[rows] -= start
        fits = np.all(cell >= 0, axis=1)
        return node[fits], np.minimum(pattern[fits], kinds.demand)


def _in_time(until: Until) -> None:
    if until.over:
        raise TimeoutError
