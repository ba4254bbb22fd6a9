"""Lower bounds that anyone can check: dual prices, and what follows from them in exact arithmetic.

Give every task i a price π_i ≥ 0 in nodes, and let v_j be the most that the tasks on node j can be worth together. A
node that is used costs 1, so by linear programming duality every plan with all tasks uses at least

    Σ_i π_i − Σ_j max(0, v_j − 1)

nodes, and every plan leaves at least Σ_i π_i − Σ_j v_j tasks over if no π_i exceeds 1. Whoever found the prices and how
does not matter. v_j is bounded from above twice, and the smaller counts: for any weights w_r ≥ 0 by
Σ_r w_r f_jr + Σ_i max(0, π_i − Σ_r w_r q_ir), and by dynamic programming over amounts in whole units, rounded down,
which permits more than the node does. Where resources are too many for that, the patterns that could be worth more than
a node are listed, by the same weights. Where a resource is shared by a zone, a fee σ_zr ≥ 0 lowers the prices there and
costs σ_zr f_zr.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm, prod
from operator import le, mul
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ci.placement.packing.problem import Problem

_WEIGHT = re.compile(r"-?[0-9]{1,400}(/[0-9]{0,399}[1-9][0-9]{0,399})?", re.ASCII)
"""Longer numbers than those of a 64-bit float make no better proof."""
_ARRAYS, _LISTS = ("requests", "free", "rule", "allowed", "zone", "preferred"), ("resources", "zoned")
_CELLS, WORK, _PAIRS = 4_000_000, 500_000_000, 2_000_000
"""Most cells of a table (32 MB), cells times steps of all tables together (about a second), and kinds of nodes times
kinds of tasks."""
_LISTED, _ONCE, _STEP, _FREES = 20_000_000, 250_000, 1000, 100
"""Patterns that are looked at in a list (about a second), and at once (30 MB), what a step with as many counts besides,
and nodes that differ."""
Offered = Counter[tuple[int, tuple[int, ...]]]
"""How many tasks there are of each price and requests."""


@dataclass(frozen=True)
class Certificate:
    """Dual prices in whole parts of a node.

    Attributes:
        scale: so many parts are one node.
        prices: π of each task; parts.
        weights: w of each resource; parts for one unit of the resource.
        units: size of a unit of the dynamic programming by resource index; resources that are missing are left out.
        fees: σ by zone and resource index; parts.
        listed: whether patterns are listed, by the weights.
    """

    scale: int
    prices: tuple[int, ...]
    weights: tuple[Fraction, ...] = ()
    units: Mapping[int, int] = field(default_factory=dict)
    fees: Mapping[tuple[int, int], int] = field(default_factory=dict)
    listed: bool = False


def lower_bound(problem: Problem, proof: Certificate, *, unplaced: bool = False) -> int:
    """Return how many nodes a plan needs at least or, if `unplaced`, how many tasks every plan leaves over.

    Prices may be scaled by any factor; the best one is used. What is no proof (something negative, a fee for what no
    zone shares) proves nothing. Time and memory are bounded whatever the numbers are: beyond, v is bounded on larger
    units, which proves less.

    Raises:
        ValueError: the prices are too large for exact sums, or not one for each task.
    """
    if sum(proof.prices) >= 2**62:
        raise ValueError("prices are too large for exact 64-bit sums")
    if flaws(problem, proof):
        return 0
    # From here on everything is counted in this part of a node, in Python's integers, which have no largest one.
    fine = lcm(*(weight.denominator for weight in proof.weights))
    worth = Counter[int]()
    for value, times in _worth(problem, proof, fine):
        worth[value] += times
    total = sum(proof.prices) * fine
    for (zone, resource), fee in proof.fees.items():
        total -= fee * fine * int(problem.free[problem.zone == zone, resource].max(initial=0))
    if unplaced:
        left = total - sum(value * times for value, times in worth.items())
        return max(0, -(-left // (fine * max(proof.scale, max(proof.prices, default=0)))))
    # Concave and piecewise linear in the factor: the best is where some node is worth exactly 1.
    best, part, above_value, above_times = 0, 1, 0, 0
    for value in sorted(worth.keys() - {0}, reverse=True):
        here = total - above_value + above_times * value
        if here * part < best * value:
            break
        best, part = here, value
        above_value, above_times = above_value + value * worth[value], above_times + worth[value]
    return -(-best // part)


def flaws(problem: Problem, proof: Certificate) -> list[str]:
    """Return in sentences why numbers are no proof at all, whatever they would prove."""
    found = []
    if (problem.requests < 0).any() or (problem.free < 0).any():
        found.append("amounts are negative")
    if any(min(values, default=0) < 0 for values in (proof.prices, proof.fees.values(), proof.weights)):
        found.append("prices, weights or fees are negative")
    if proof.scale < 1 or min(proof.units.values(), default=1) < 1:
        found.append("the scale or a unit is less than 1")
    if not {resource for _, resource in proof.fees} <= set(problem.zoned):
        found.append("a fee is for a resource that no zone shares")
    if len(proof.weights) not in (0, len(problem.resources)):
        found.append("the weights are not one for each resource")
    return found


def _worth(problem: Problem, proof: Certificate, fine: int) -> Iterator[tuple[int, int]]:
    """Yield upper bounds on v, in parts of a part, each with the number of nodes that it holds for."""
    tasks = Counter(zip(problem.rule.tolist(), proof.prices, map(tuple, problem.requests.tolist()), strict=True))
    fees: dict[int | None, dict[int, int]] = defaultdict(dict)
    for (charged, resource), fee in proof.fees.items():
        fees[charged][resource] = fee
    rows: list[tuple[bool, ...]] = list(map(tuple, problem.allowed.T.tolist()))
    zones: list[int | None] = [zone if zone in fees else None for zone in problem.zone.tolist()]
    groups: dict[tuple[tuple[bool, ...], int | None], Counter[tuple[int, ...]]] = defaultdict(Counter)
    if len({*zip(rows, zones, strict=True)}) * len(tasks) > _PAIRS:
        # Too many to look at: as if all nodes took all tasks, and no fee were saved.
        rows, zones = [(True,) * len(problem.allowed)] * len(rows), [None] * len(rows)
    # Of more than all tasks ask for, all they ask for is as good.
    enough = [min(2**63 - 1, each) for each in problem.requests.sum(axis=0, dtype=object).tolist()]
    frees = np.minimum(problem.free, np.array(enough, dtype=np.int64))
    for rules, zone, free in zip(rows, zones, frees.tolist(), strict=True):
        groups[rules, zone][tuple(free)] += 1
    for (allowed, place), here in groups.items():
        offered = Counter[tuple[int, tuple[int, ...]]]()
        for (rule, price, asked), times in tasks.items():
            fee = sum(part * asked[r] for r, part in fees[place].items()) if place is not None else 0
            if allowed[rule] and price > fee:
                offered[price - fee, asked] += times
        bounds = [_by_weights(offered, list(here), proof.weights, fine)] if proof.weights else []
        if proof.units:
            bounds += [[fine * value for value in _by_units(offered, list(here), proof.units, WORK // len(groups))]]
        if proof.listed and proof.weights:
            bounds += [_by_list(offered, list(here), proof, fine)]
        everything = fine * sum(price * count for (price, _), count in offered.items())
        for times, *values in zip(here.values(), *bounds, strict=True):
            yield min(values, default=everything), times


def _by_weights(offered: Offered, frees: list[tuple[int, ...]], weights: tuple[Fraction, ...], fine: int) -> list[int]:
    whole, rest = [int(weight * fine) for weight in weights], 0
    for (price, asked), times in offered.items():
        rest += times * max(0, price * fine - sum(map(mul, whole, asked)))
    return [rest + sum(map(mul, whole, free)) for free in frees]


def _by_list(offered: Offered, frees: list[tuple[int, ...]], proof: Certificate, fine: int) -> list[int]:
    """List the patterns that could be worth more than a node; where too many could, some count as what they could be.

    Against the weights a task of price π saves π − w·q, here rounded up. Patterns are built task by task, those first
    that save most, so that what may follow a pattern is one range of tasks, and what it can still save is a sum.
    """
    whole = [int(weight * fine) for weight in proof.weights]
    nodes = [-(-sum(map(mul, whole, free)) // fine) for free in frees]
    # What fits on no node could be too much to be added up.
    fitting = [(each, n) for each, n in offered.items() if any(all(map(le, each[1], free)) for free in frees)]
    tasks = [(price - sum(map(mul, whole, asked)) // fine, price, n, asked) for (price, asked), n in fitting]
    if not tasks or len(frees) > _FREES or max(nodes) >= 2**61:
        return [fine * sum(price * times for _, price, times, _ in tasks)] * len(frees)
    tasks.sort(reverse=True)
    save, price, times = (np.array([task[k] for task in tasks], dtype=np.int64) for k in range(3))
    asked = np.array([task[3] for task in tasks], dtype=np.int64)
    later = np.append(np.cumsum((save.clip(0) * times)[::-1])[::-1], 0)
    reach, values = save + later[1:] + save.clip(0) * (times - 1), []
    for free, node in zip(frees, nodes, strict=True):
        most, work, none = proof.scale, _LISTED // len(frees), np.zeros(1, dtype=np.int64)
        waiting: list[tuple[NDArray[np.int64], ...]] = [(np.array([node]), none, np.array([free]), none, none)]
        while waiting:
            base, worth, left, last, copies = front = waiting.pop()
            follow = np.maximum(0, np.searchsorted(-reach, base - most) - last)
            # Too many to be gone on with at once are parted; the most hopeful come last on the list, so that they are
            # the next ones.
            order = np.argsort(-base - later[last], kind="stable")
            if (parts := np.flatnonzero(np.diff((np.cumsum(follow[order]) - follow[order]) // _ONCE)) + 1).size:
                waiting += [tuple(each[rows] for each in front) for rows in reversed(np.split(order, parts))]
                continue
            work -= int(follow.sum()) + _STEP
            if work < 0:
                most = max(most, int((base + later[last])[follow > 0].max(initial=0)))
                continue
            parent = np.repeat(np.arange(base.size), follow)
            task = np.arange(parent.size) - np.repeat(np.cumsum(follow) - follow - last, follow)
            again = np.where(task == last[parent], copies[parent], 0) + 1
            for r in range(-1, asked.shape[1]):
                kept = again <= times[task] if r < 0 else asked[task, r] <= left[parent, r]
                parent, task, again = parent[kept], task[kept], again[kept]
            base, worth, left = base[parent] + save[task], worth[parent] + price[task], left[parent] - asked[task]
            most = max(most, int(worth.max(initial=0)))
            waiting += [(base, worth, left, task, again)] * bool(base.size)
        values.append(fine * most)
    return values


def _by_units(offered: Offered, frees: list[tuple[int, ...]], units: Mapping[int, int], work: int) -> list[int]:
    """Bounded knapsack over all amounts at once: `most[a]` is the most that tasks asking a or less are worth.

    Units are doubled until the table has few enough cells, and is gone through in few enough steps.
    """
    amounts, unit = np.array(frees), dict(units)
    steps = sum(times.bit_length() for times in offered.values())
    top = {r: int(amounts[:, r].max()) // size for r, size in unit.items()}
    while prod(each + 1 for each in top.values()) > min(_CELLS, work // max(1, steps)) and any(top.values()):
        largest = max(top, key=lambda r: top[r])
        unit[largest] *= 2
        top[largest] = int(amounts[:, largest].max()) // unit[largest]
    axes = [r for r in unit if top[r]] or list(unit)[:1]
    has = np.column_stack([amounts[:, r] // unit[r] for r in axes])
    most: NDArray[np.int64] = np.zeros(tuple(top[r] + 1 for r in axes), dtype=np.int64)
    if len(frees) * len(offered) > _PAIRS:
        amounts = amounts.max(axis=0, keepdims=True)
    for (price, asked), times in offered.items():
        sizes = {r: asked[r] // unit[r] for r in unit}
        needs = [r for r, amount in enumerate(asked) if amount]
        # What may stand on one node is also limited by the resources that have no axis here.
        fit = (amounts[:, needs] // [asked[r] for r in needs]).min(axis=1, initial=times).max()
        left, step = int(min([fit, *(top[r] // size for r, size in sizes.items() if size)])), 1
        size = np.array([sizes[r] for r in axes], dtype=np.int64)
        while left > 0:
            copies = min(step, left)
            left, step = left - copies, step * 2
            start = copies * size
            with_them = most[tuple(slice(None, -a or None) for a in start)] + copies * price
            target = most[tuple(slice(a, None) for a in start)]
            np.maximum(target, with_them, out=target)
    values: list[int] = most[tuple(has.T)].tolist()
    return values


def record(problem: Problem, proof: Certificate, *, unplaced: bool) -> dict[str, Any]:
    """Return the proof of a bound and the program that it is about as JSON values."""
    return {
        **{key: getattr(problem, key).tolist() for key in _ARRAYS},
        **{key: list(getattr(problem, key)) for key in _LISTS},
        "scale": proof.scale,
        "prices": list(proof.prices),
        "weights": [str(weight) for weight in proof.weights],
        "units": list(proof.units.items()),
        "fees": [[*key, fee] for key, fee in proof.fees.items()],
        "unplaced": unplaced,
        **({"listed": True} if proof.listed else {}),
        "proves": lower_bound(problem, proof, unplaced=unplaced),
    }


def recheck(document: Mapping[str, Any]) -> list[str]:
    """Return what does not hold of a recorded bound, in sentences; it needs nothing but the content of `plan.json`.

    Raises:
        LookupError, ValueError, TypeError, ArithmeticError: the record is not whole, or of other shapes.
    """
    given, used = document["certificate"], len(set(document["plan"].values()))
    problem = _program(given)
    fees = {(zone, resource): fee for zone, resource, fee in _whole(given["fees"], (None, 3)).tolist()}
    units = dict(_whole(given["units"], (None, 2)).tolist())
    if any(r >= len(problem.resources) for r in units):
        raise ValueError("a unit is for a resource that is not there")
    if not all(isinstance(weight, str) and _WEIGHT.fullmatch(weight) for weight in given["weights"]):
        raise ValueError("the weights are no fractions")
    prices, scale = _whole(given["prices"], (len(problem.requests),)).tolist(), _whole([given["scale"]], (1,)).tolist()
    weights, listed = tuple(map(Fraction, given["weights"])), given.get("listed", False) is True
    proof = Certificate(scale[0], tuple(prices), weights, units, fees, listed)
    found = flaws(problem, proof)
    if used != document["objective"]:
        found.append(f"the plan uses {used} nodes, not {document['objective']}")
    if (len(document["plan"]) < len(problem.requests)) is not given["unplaced"]:
        found.append("the certificate is about another question than the plan answers")
    if (proven := lower_bound(problem, proof, unplaced=given["unplaced"])) != given["proves"]:
        found.append(f"the certificate proves {proven}, not {given['proves']}")
    if not given["unplaced"] and not proven <= document["bound"] <= used:
        found.append(f"{proven} nodes proven, a bound of {document['bound']} and {used} nodes used cannot all be true")
    return found


def _program(given: Mapping[str, Any]) -> Problem:
    """Return the program that a record holds; raises as `recheck` does."""
    tasks, nodes, rules = len(given["requests"]), len(given["free"]), len(given["allowed"])
    resources = tuple(map(str, given["resources"]))
    problem = Problem(
        requests=_whole(given["requests"], (tasks, len(resources))),
        free=_whole(given["free"], (nodes, len(resources))),
        resources=resources,
        rule=_whole(given["rule"], (tasks,)),
        allowed=_whole(given["allowed"], (rules, nodes), bool).astype(bool),
        zone=_whole(given["zone"], (nodes,)),
        zoned=tuple(_whole(given["zoned"], (None,)).tolist()),
        preferred=_whole(given["preferred"], (nodes,), bool).astype(bool),
    )
    for numbers, most in ((problem.rule, rules), (problem.zoned, len(resources))):
        if any(not 0 <= number < most for number in numbers):
            raise ValueError("a rule or a resource is not there")
    return problem


def _whole(values: Any, shape: tuple[int | None, ...], kind: type = int) -> NDArray[np.int64]:
    """Return nested lists of whole numbers, or of another kind, as an array of a shape; None is any length."""
    # As objects first: of a text among numbers numpy would make texts of them all, each as long as the longest.
    array = np.array(values, dtype=object)
    if array.shape == (0,):
        array = array.reshape(0, *shape[1:])
    wanted = (len(array) if shape[0] is None else shape[0], *shape[1:]) if array.shape else shape
    if array.shape != wanted or any(type(value) is not kind for value in array.flat):
        raise ValueError(f"a list is not of the kind {kind.__name__} and the shape {wanted}")
    return array.astype(np.int64)
