"""Vector bin packing by published recipes, all tasks distinct, and the heuristics of the literature as peers.

The recipes are classes of Caprara and Toth, "Lower bounds and algorithms for the 2-dimensional vector packing problem"
(Discrete Applied Mathematics, 2001), with more resources as in Panigrahy et al., "Heuristics for vector bin packing"
(Microsoft Research, 2011): independent resources repeat the recipe, correlated ones repeat it in pairs. Class 5, whose
40 tasks fit on three nodes, and class 9 are left out. The instances are drawn here by seed; the published files are not
used. Dot product and L2 norm are heuristics of the second paper; those by pairs compare pairs of tasks by the same two.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from benchmarks.lines import Line
from ci.placement.packing.problem import Problem

Floats = NDArray[np.float64]
UNIFORM = {1: (100, 400, 1000), 2: (1, 1000, 1000), 3: (200, 800, 1000), 4: (50, 200, 1000), 6: (20, 100, 150)}
"""Classes of independent resources: least and largest request, and what a node has."""
PAIRED = (7, 8)
"""Classes whose resources are correlated in pairs, or against each other; requests of 20 to 100, nodes of 150."""
TRIPLETS = 10
"""Three tasks fill a node exactly in every resource: the optimum is a third of the tasks."""
CLASSES = (*UNIFORM, *PAIRED, TRIPLETS)
CLASS = "class "
"""How names of these instances begin."""


def instances(*, quick: bool) -> list[tuple[str, Problem, float]]:
    """Return names, instances and time limits in seconds: of 40 tasks, which are to be proven, and of more."""
    sizes = [(40, 10, 20.0), (100, 5, 5.0)]
    if not quick:
        sizes = [(40, resources, 20.0) for resources in (3, 5, 10)]
        sizes += [(tasks, resources, 5.0) for tasks in (100, 200, 500) for resources in (3, 5, 10)]
    return [
        (f"{CLASS}{kind}, {tasks} x {resources}, seed 0", draw(kind, tasks, resources, 0), limit)
        for tasks, resources, limit in sizes
        for kind in CLASSES
    ]


def lines(found: Mapping[str, tuple[int, int]], best: Mapping[str, int]) -> list[Line]:
    """Return in which share of the instances the solver does what it should.

    Args:
        found: nodes and lower bound by name.
        best: nodes of the best heuristic.
    """
    small = [name for name in found if " 40 x " in name]
    large = [name for name in found if name not in small]
    shares = [
        ("5 s: no worse than the best heuristic", large, [found[name][0] <= best[name] for name in large], 0.95),
        ("5 s: better than it", large, [found[name][0] < best[name] for name in large], 0.0),
        ("5 s: proven", large, [found[name][0] == found[name][1] for name in large], 0.0),
        ("20 s, 40 pods: no worse than it", small, [found[name][0] <= best[name] for name in small], 1.0),
        ("20 s, 40 pods: proven", small, [found[name][0] == found[name][1] for name in small], 0.8),
    ]
    return [
        Line(
            f"recipes, {what}: share of {len(of)}",
            float(np.mean(held)),
            f">= {least:g}" if least else "printed",
            bool(np.mean(held) >= least),
        )
        for what, of, held, least in shares
    ]


def draw(kind: int, tasks: int, resources: int, seed: int) -> Problem:
    """Return an instance of a class of Caprara and Toth."""
    random = np.random.default_rng([kind, tasks, resources, seed])
    if kind in UNIFORM:
        low, high, room = UNIFORM[kind]
        asked = random.integers(low, high + 1, (tasks, resources))
    elif kind in PAIRED:
        room, columns = 150, []
        for _ in range((resources + 1) // 2):
            first = random.integers(20, 101, tasks)
            second = random.integers(-10, 11, tasks) + first if kind == 7 else random.integers(110, 131, tasks) - first
            columns += [first, second]
        asked = np.column_stack(columns)[:, :resources].clip(1, room)
    else:
        room, third = 100, tasks // 3
        two = random.integers(25, 51, (2, third, resources)).clip(max=49)
        asked = np.concatenate([*two, room - two.sum(axis=0)])
        asked = np.concatenate([asked, random.integers(25, 51, (tasks - 3 * third, resources))])
    return Problem.of(asked, np.full((tasks, resources), room))


def first_fit(problem: Problem) -> int:
    """Tasks by falling sum of shares, each on the first node that has room."""
    return _item_by_item(problem, lambda left, _asked: -np.arange(len(left)))


def best_fit(problem: Problem) -> int:
    """The same, each on the fullest node that has room."""
    return _item_by_item(problem, lambda left, _asked: -left.sum(axis=1))


def _item_by_item(problem: Problem, score: Callable[[Floats, Floats], Floats]) -> int:
    asked = problem.requests / problem.free[0]
    left = np.ones_like(asked)
    for i in np.argsort(-asked.sum(axis=1), kind="stable"):
        fits = np.flatnonzero(np.all(left >= asked[i] - 1e-12, axis=1))
        # Nodes that are still empty come last.
        opened = fits[(left[fits] < 1).any(axis=1)]
        j = opened[np.argmax(score(left[opened], asked[i]))] if opened.size else fits[0]
        left[j] -= asked[i]
    return int((left < 1).any(axis=1).sum())


def dot_product(problem: Problem) -> int:
    """Node after node, the task with the largest weighted product of its request and what is free."""
    return _node_by_node(problem, lambda left, asked, weight: (asked * left * weight).sum(axis=1))


def norm(problem: Problem) -> int:
    """Node after node, the task that leaves the smallest weighted L2 norm of what is free."""
    return _node_by_node(problem, lambda left, asked, weight: -((left - asked) ** 2 * weight).sum(axis=1))


def pairs_by_product(problem: Problem) -> int:
    """Node after node, the pair of tasks, or the last one, with the largest weighted product."""
    return _node_by_node(problem, lambda left, asked, weight: (asked * left * weight).sum(axis=1), pairs=True)


def pairs_by_norm(problem: Problem) -> int:
    """Node after node, the pair of tasks, or the last one, that leaves the smallest weighted L2 norm."""
    return _node_by_node(problem, lambda left, asked, weight: -((left - asked) ** 2 * weight).sum(axis=1), pairs=True)


def _node_by_node(problem: Problem, score: Callable[[Floats, Floats, Floats], Floats], *, pairs: bool = False) -> int:
    asked = problem.requests / problem.free[0]
    waiting, nodes = np.arange(len(asked)), 0
    while waiting.size:
        nodes, left, weight = nodes + 1, np.ones(asked.shape[1]), asked[waiting].mean(axis=0)
        while True:
            fits = waiting[np.all(asked[waiting] <= left + 1e-12, axis=1)]
            if not fits.size:
                break
            chosen = fits[[np.argmax(score(left, asked[fits], weight))]]
            if pairs and fits.size > 1:
                first, second = np.triu_indices(len(fits), 1)
                together = asked[fits[first]] + asked[fits[second]]
                possible = np.flatnonzero(np.all(together <= left + 1e-12, axis=1))
                if possible.size:
                    best = possible[np.argmax(score(left, together[possible], weight))]
                    chosen = fits[[first[best], second[best]]]
            left = left - asked[chosen].sum(axis=0)
            waiting = np.setdiff1d(waiting, chosen, assume_unique=True)
    return nodes


PEERS = {
    "first fit": first_fit,
    "best fit": best_fit,
    "dot product, weighted": dot_product,
    "L2 norm, weighted": norm,
    "pairs by dot product": pairs_by_product,
    "pairs by L2 norm": pairs_by_norm,
}
