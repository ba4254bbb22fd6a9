"""Lower bounds that anyone can check: dual prices, and what follows from them in exact arithmetic.

Give every task i a price π_i ≥ 0 in nodes, and let v_j be the most that the tasks on node j can be worth together. A
node that is used costs 1, so by linear programming duality every plan with all tasks uses at least

    Σ_i π_i − Σ_j max(0, v_j − 1)

nodes, and every plan leaves at least Σ_i π_i − Σ_j v_j tasks over if no π_i exceeds 1. Whoever found the prices and how
does not matter. v_j is bounded from above twice, and the smaller counts: for any weights w_r ≥ 0 by
Σ_r w_r f_jr + Σ_i max(0, π_i − Σ_r w_r q_ir), and by dynamic programming over amounts in whole units, rounded down,
which permits more than the node does. Where a resource is shared by a zone, a fee σ_zr ≥ 0 lowers the prices there and
costs σ_zr f_zr.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, lcm
from operator import mul
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ci.placement.model import Problem

_ARRAYS, _LISTS = ("requests", "free", "rule", "allowed", "zone", "preferred"), ("resources", "zoned")
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
    """

    scale: int
    prices: tuple[int, ...]
    weights: tuple[Fraction, ...] = ()
    units: Mapping[int, int] = field(default_factory=dict)
    fees: Mapping[tuple[int, int], int] = field(default_factory=dict)


def lower_bound(problem: Problem, proof: Certificate, *, unplaced: bool = False) -> int:
    """Return how many nodes a plan needs at least or, if `unplaced`, how many tasks every plan leaves over.

    Prices may be scaled by any factor; the best one is used.
    """
    if sum(proof.prices) >= 2**62:
        raise ValueError("prices are too large for exact 64-bit sums")
    if min(proof.prices, default=0) < 0 or min(proof.fees.values(), default=0) < 0 or min(proof.weights, default=0) < 0:
        return 0
    worth = [(Fraction(value, proof.scale), times) for value, times in _worth(problem, proof)]
    total = Fraction(sum(proof.prices), proof.scale)
    for (zone, resource), fee in proof.fees.items():
        total -= Fraction(fee, proof.scale) * int(problem.free[np.flatnonzero(problem.zone == zone)[0], resource])
    if unplaced:
        factor = Fraction(1) / max(Fraction(max(proof.prices, default=0), proof.scale), Fraction(1))
        return max(0, ceil(factor * (total - sum(value * times for value, times in worth))))
    # Concave and piecewise linear in the factor: the best is where some node is worth exactly 1.
    best, above_value, above_times = Fraction(0), Fraction(0), 0
    for value, times in sorted(worth, reverse=True):
        if value > 0:
            best = max(best, (total - above_value) / value + above_times)
            above_value, above_times = above_value + value * times, above_times + times
    return ceil(best)


def _worth(problem: Problem, proof: Certificate) -> list[tuple[Fraction, int]]:
    """Return upper bounds on v, in parts, each with the number of nodes that it holds for."""
    tasks = Counter(zip(problem.rule.tolist(), proof.prices, map(tuple, problem.requests.tolist()), strict=True))
    zoned = {zone for zone, _ in proof.fees}
    nodes: dict[tuple[tuple[bool, ...], int], Counter[tuple[int, ...]]] = defaultdict(Counter)
    for rules, zone, free in zip(problem.allowed.T.tolist(), problem.zone.tolist(), problem.free.tolist(), strict=True):
        nodes[tuple(rules), zone if zone in zoned else -1][tuple(free)] += 1
    result = []
    for (rules, zone), here in nodes.items():
        offered: Offered = Counter()
        for (rule, price, asked), times in tasks.items():
            fee = sum(part * asked[r] for (z, r), part in proof.fees.items() if z == zone)
            if rules[rule] and price > fee:
                offered[price - fee, asked] += times
        bounds = [_by_weights(offered, list(here), proof.weights)] if proof.weights else []
        bounds += [_by_units(offered, list(here), proof.units)] if proof.units else []
        result += [(min(values), times) for times, *values in zip(here.values(), *bounds, strict=True)]
    return result


def _by_weights(offered: Offered, frees: list[tuple[int, ...]], weights: tuple[Fraction, ...]) -> list[Fraction]:
    scale = lcm(*(weight.denominator for weight in weights))
    whole, rest = [int(weight * scale) for weight in weights], 0
    for (price, asked), times in offered.items():
        rest += times * max(0, price * scale - sum(map(mul, whole, asked)))
    return [Fraction(rest + sum(map(mul, whole, free)), scale) for free in frees]


def _by_units(offered: Offered, frees: list[tuple[int, ...]], units: Mapping[int, int]) -> list[Fraction]:
    """Bounded knapsack over all amounts at once: `most[a]` is the most that tasks asking a or less are worth."""
    has = np.array([[free[r] // unit for r, unit in units.items()] for free in frees], dtype=np.int64)
    top = has.max(axis=0)
    most: NDArray[np.int64] = np.zeros(tuple(top + 1), dtype=np.int64)
    for (price, asked), times in offered.items():
        size = np.array([asked[r] // unit for r, unit in units.items()], dtype=np.int64)
        fit = list(top[size > 0] // size[size > 0])
        # What may stand on one node is also limited by the resources that have no axis here.
        fit.append(max(min((free[r] // q for r, q in enumerate(asked) if q), default=times) for free in frees))
        left, step = int(min(times, *fit)), 1
        while left > 0:
            copies = min(step, left)
            left, step = left - copies, step * 2
            start = copies * size
            with_them = most[tuple(slice(None, -a or None) for a in start)] + copies * price
            target = most[tuple(slice(a, None) for a in start)]
            np.maximum(target, with_them, out=target)
    return [Fraction(int(most[tuple(row)])) for row in has]


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
        "proves": lower_bound(problem, proof, unplaced=unplaced),
    }


def recheck(document: Mapping[str, Any]) -> list[str]:
    """Return what does not hold of a recorded bound, in sentences; it needs nothing but the content of `plan.json`."""
    given, used = document["certificate"], len(set(document["plan"].values()))
    fields: dict[str, Any] = {key: np.array(given[key]) for key in _ARRAYS}
    problem = Problem(**fields | {key: tuple(given[key]) for key in _LISTS})
    fees = {(zone, resource): fee for zone, resource, fee in given["fees"]}
    weights = tuple(map(Fraction, given["weights"]))
    proof = Certificate(given["scale"], tuple(given["prices"]), weights, dict(given["units"]), fees)
    found = []
    if used != document["objective"]:
        found.append(f"the plan uses {used} nodes, not {document['objective']}")
    if (len(document["plan"]) < len(problem.requests)) is not given["unplaced"]:
        found.append("the certificate is about another question than the plan answers")
    if (proven := lower_bound(problem, proof, unplaced=given["unplaced"])) != given["proves"]:
        found.append(f"the certificate proves {proven}, not {given['proves']}")
    if not given["unplaced"] and not proven <= document["bound"] <= used:
        found.append(f"{proven} nodes proven, a bound of {document['bound']} and {used} nodes used cannot all be true")
    if (problem.requests < 0).any() or (problem.free < 0).any():
        found.append("amounts are negative")
    return found
