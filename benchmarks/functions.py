"""The functions that the tuning benchmark minimises, as regret.

Definitions and minima: Surjanovic and Bingham, "Virtual library of simulation experiments", but for Shekel's (Dixon and
Szegö 1978), and Alpine's and Salomon's (Jamil and Yang 2013, "A literature survey of benchmark functions"). Some boxes
are moved or made smaller, so that the minimum is not at their middle and 50 trials find something.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Values = dict[str, Any]
Array = Any
"""A point; shape (coordinates,)."""


def _branin(x: Array) -> float:
    """Dixon and Szegö 1978; minimum 0.397887."""
    valley = (x[1] - 5.1 / (4 * math.pi**2) * x[0] ** 2 + 5 / math.pi * x[0] - 6) ** 2
    return float(valley + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x[0]) + 10 - 0.39788735772973816)


_WEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
_WIDTHS6 = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_CENTRES6 = np.array(
    [
        [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
        [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
        [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
        [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
    ]
)
_WIDTHS3 = np.array([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]])
_CENTRES3 = np.array(
    [[0.3689, 0.1170, 0.2673], [0.4699, 0.4387, 0.7470], [0.1091, 0.8732, 0.5547], [0.0381, 0.5743, 0.8828]]
)


def _hartmann6(x: Array) -> float:
    """Minimum -3.32237."""
    return float(3.322368011391339 - _WEIGHTS @ np.exp(-(_WIDTHS6 * (x - _CENTRES6) ** 2).sum(axis=1)))


def _hartmann3(x: Array) -> float:
    """Minimum -3.86278."""
    return float(3.8627797873327 - _WEIGHTS @ np.exp(-(_WIDTHS3 * (x - _CENTRES3) ** 2).sum(axis=1)))


def _ackley(x: Array) -> float:
    """Minimum 0 at the origin."""
    bowl = -20 * math.exp(-0.2 * math.sqrt((x**2).mean()))
    return bowl - math.exp(np.cos(2 * math.pi * x).mean()) + 20 + math.e


def _rosenbrock(x: Array) -> float:
    """Minimum 0 at ones."""
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def _levy(x: Array) -> float:
    """Minimum 0 at ones."""
    w = 1 + (x - 1) / 4
    middle = ((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(math.pi * w[:-1] + 1) ** 2)).sum()
    last = (w[-1] - 1) ** 2 * (1 + math.sin(2 * math.pi * w[-1]) ** 2)
    return float(math.sin(math.pi * w[0]) ** 2 + middle + last)


def _styblinski_tang(x: Array) -> float:
    """Minimum -39.16617 a coordinate, at -2.903534."""
    return float((x**4 - 16 * x**2 + 5 * x).sum() / 2 + 39.16616570377142 * len(x))


def _camel(x: Array) -> float:
    """Six-hump camel; minimum -1.031628."""
    a, b = x
    return float((4 - 2.1 * a**2 + a**4 / 3) * a**2 + a * b + (4 * b**2 - 4) * b**2 + 1.0316284534898774)


def _griewank(x: Array) -> float:
    """Minimum 0 at the origin."""
    return float((x**2).sum() / 4000 - np.prod(np.cos(x / np.sqrt(np.arange(1, len(x) + 1)))) + 1)


def _michalewicz(x: Array) -> float:
    """Minimum in four dimensions -3.698857."""
    return float(3.6988571 - (np.sin(x) * np.sin(np.arange(1, len(x) + 1) * x**2 / math.pi) ** 20).sum())


def _rastrigin(x: Array) -> float:
    """Minimum 0 at the origin."""
    return float((10 + x**2 - 10 * np.cos(2 * math.pi * x)).sum())


_FOXHOLES = np.array(
    [
        [4, 1, 8, 6, 3, 2, 5, 8, 6, 7],
        [4, 1, 8, 6, 7, 9, 5, 1, 2, 3.6],
        [4, 1, 8, 6, 3, 2, 3, 8, 6, 7],
        [4, 1, 8, 6, 7, 9, 3, 1, 2, 3.6],
    ]
).T
_DEPTHS = np.array([0.1, 0.2, 0.2, 0.4, 0.4, 0.6, 0.3, 0.7, 0.5, 0.5])


def _shekel(x: Array) -> float:
    """Ten foxholes; minimum -10.53641."""
    return float(10.53640981669204 - (1 / (((x - _FOXHOLES) ** 2).sum(axis=1) + _DEPTHS)).sum())


def _powell(x: Array) -> float:
    """Minimum 0 at the origin, where it is flat."""
    a, b, c, d = x
    return float((a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4)


def _trid(x: Array) -> float:
    """Minimum in five dimensions -30."""
    return float(((x - 1) ** 2).sum() - (x[1:] * x[:-1]).sum() + 30)


def _colville(x: Array) -> float:
    """Minimum 0 at ones."""
    a, b, c, d = x
    valleys = 100 * (a**2 - b) ** 2 + (a - 1) ** 2 + (c - 1) ** 2 + 90 * (c**2 - d) ** 2
    return float(valleys + 10.1 * ((b - 1) ** 2 + (d - 1) ** 2) + 19.8 * (b - 1) * (d - 1))


def _schwefel(x: Array) -> float:
    """Minimum 0 at 420.9687, far from the next best."""
    return float((418.98288727243 - x * np.sin(np.sqrt(np.abs(x)))).sum())


def _alpine(x: Array) -> float:
    """Minimum 0 at the origin, with kinks."""
    return float(np.abs(x * np.sin(x) + 0.1 * x).sum())


def _beale(x: Array) -> float:
    """Minimum 0 at (3, 0.5)."""
    a, b = x
    return float((1.5 - a + a * b) ** 2 + (2.25 - a + a * b**2) ** 2 + (2.625 - a + a * b**3) ** 2)


def _salomon(x: Array) -> float:
    """Minimum 0 at the origin, inside rings."""
    radius = math.sqrt((x**2).sum())
    return 1 - math.cos(2 * math.pi * radius) + 0.1 * radius


def _drop_wave(x: Array) -> float:
    """Minimum -1 at the origin, inside rings."""
    square = float((x**2).sum())
    return 1 - (1 + math.cos(12 * math.sqrt(square))) / (square / 2 + 2)


def _goldstein_price(x: Array) -> float:
    """Logarithm of it; minimum log 3 at (0, -1)."""
    a, b = x
    left = 1 + (a + b + 1) ** 2 * (19 - 14 * a + 3 * a**2 - 14 * b + 6 * a * b + 3 * b**2)
    right = 30 + (2 * a - 3 * b) ** 2 * (18 - 32 * a + 12 * a**2 + 48 * b - 36 * a * b + 27 * b**2)
    return math.log(left * right / 3)


def _zakharov(x: Array) -> float:
    """Minimum 0 at the origin."""
    tilt = (np.arange(1, len(x) + 1) * x).sum() / 2
    return float((x**2).sum() + tilt**2 + tilt**4)


def _dixon_price(x: Array) -> float:
    """Minimum 0."""
    return float((x[0] - 1) ** 2 + (np.arange(2, len(x) + 1) * (2 * x[1:] ** 2 - x[:-1]) ** 2).sum())


def _ellipsoid(x: Array) -> float:
    """Minimum 0 at 0.3."""
    return float(((x - 0.3) ** 2 * np.arange(1, len(x) + 1)).sum())


Function = tuple[Callable[[Array], float], float | list[float], float | list[float], int]
"""A function, its box's low and high corner, and its dimensions."""
FIRST: dict[str, Function] = {
    "Branin": (_branin, [-5, 0], [10, 15], 2),
    "Hartmann-6": (_hartmann6, 0, 1, 6),
    "Ackley-5": (_ackley, -32.768, 32.768, 5),
    "Rosenbrock-4": (_rosenbrock, -5, 10, 4),
}
OTHERS: dict[str, Function] = {
    "Camel-2": (_camel, [-3, -2], [3, 2], 2),
    "Dixon-Price-4": (_dixon_price, -10, 10, 4),
    "Ellipsoid-8": (_ellipsoid, -1, 1.5, 8),
    "Goldstein-Price-2": (_goldstein_price, -2, 2, 2),
    "Griewank-4": (_griewank, -50, 70, 4),
    "Hartmann-3": (_hartmann3, 0, 1, 3),
    "Levy-4": (_levy, -10, 10, 4),
    "Michalewicz-4": (_michalewicz, 0, math.pi, 4),
    "Rastrigin-3": (_rastrigin, -5.12, 5.5, 3),
    "Shekel-4": (_shekel, 0, 10, 4),
    "Styblinski-Tang-5": (_styblinski_tang, -5, 5, 5),
    "Zakharov-4": (_zakharov, -5, 10, 4),
}
"""On these and the first four the exploration of `ci.tuning.bayes.acquisition` was chosen."""
UNSEEN: dict[str, Function] = {
    "Alpine-4": (_alpine, -8, 10, 4),
    "Beale-2": (_beale, -4.5, 4.5, 2),
    "Colville-4": (_colville, -10, 10, 4),
    "Drop-wave-2": (_drop_wave, -4, 5.12, 2),
    "Powell-4": (_powell, -4, 5, 4),
    "Salomon-4": (_salomon, -8, 10, 4),
    "Schwefel-3": (_schwefel, -500, 500, 3),
    "Trid-5": (_trid, -25, 25, 5),
}
"""On these nothing was."""


def declare(function: Function, hp: Any) -> None:
    """Declare a function's box on keras-tuner's `HyperParameters`."""
    _, low, high, dimensions = function
    corners = np.broadcast_to(low, dimensions), np.broadcast_to(high, dimensions)
    for axis, bounds in enumerate(zip(*corners, strict=True)):
        hp.Float(f"x{axis}", *map(float, bounds))


def regret(function: Function, values: Values) -> float:
    """Return how far above its minimum a function is; rounding of the minimum makes no regret negative."""
    return max(function[0](np.array([values[f"x{axis}"] for axis in range(function[3])])), 0.0)
