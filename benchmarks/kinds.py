"""Functions by what makes a search hard: shifted and rotated by an instance's number, in any dimension, as regret.

Four kinds, four functions each. On the first two of a kind choices of `ci.tuning.bayes` were made, on the other two
none was. The formulas are this repository's own. A point is z = R (u - u*), u in the unit box, u* the optimum and R a
rotation; all have the minimum 0 at z = 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.functions import Array, Values

DIMENSIONS = (3, 5, 10)
INSTANCES = 2
LEVELS = 8
"""Values of the whole-numbered hyperparameters."""


def _weights(z: Array, orders: float) -> Array:
    """Return weights from 1 to 10^orders, one a coordinate."""
    return 10 ** (orders * np.arange(len(z)) / max(len(z) - 1, 1))


def _long_valley(z: Array) -> float:
    """Seven orders of magnitude between its shortest and its longest axis."""
    return float((_weights(z, 7) * z**2).sum())


def _diverges(z: Array) -> float:
    """A bowl that explodes in one corner, as the loss does where a learning rate is too large."""
    over = max(z.sum() / math.sqrt(len(z)), 0.0)
    return float((z**2).sum() + 0.01 * math.expm1(min(100 * over**2, 20.0)))


def _steep(z: Array) -> float:
    """Grows with the exponential of the distance."""
    return math.expm1(12 * math.sqrt((z**2).mean()) * min(math.sqrt(len(z)), 2.0))


def _thin_disc(z: Array) -> float:
    """One direction counts for a million times the others."""
    return float(1e6 * z[0] ** 2 + (np.abs(z[1:]) ** 1.5).sum())


def _stairs(z: Array) -> float:
    """A bowl in steps of a seventh of the box, the lowest one level."""
    return float((_weights(z, 1) * np.round(7 * z) ** 2).sum())


def _stairs_and_slope(z: Array) -> float:
    """Half of the coordinates in steps, the other half smooth."""
    middle = len(z) // 2
    return float((np.round(6 * z[:middle]) ** 2).sum() + 10 * (z[middle:] ** 2).sum())


def _terraces(z: Array) -> float:
    """A valley whose height, not whose place, is in steps."""
    return math.floor(6 * math.log10(1 + 100 * float((_weights(z, 2) * z**2).sum()))) / 6


def _wide_stairs(z: Array) -> float:
    """Rough steps far away, fine ones near by, unlike for each coordinate."""
    coarse, fine = np.round(4 * z), np.round(16 * z) / 4
    return float((_weights(z, 2) * np.where(np.abs(z) > 0.25, coarse, fine) ** 2).sum())


def _one_sided(z: Array) -> float:
    """A hundred times as steep on one side as on the other."""
    return float((np.where(z > 0, 100.0, 1.0) * z**2).sum() ** 0.9)


def _unequal_powers(z: Array) -> float:
    """Another power of each coordinate, and of each side."""
    power = 1 + 3 * np.arange(len(z)) / max(len(z) - 1, 1)
    return float((np.abs(z) ** np.where(z > 0, power, 0.5 * power + 0.5)).sum())


def _ridge(z: Array) -> float:
    """A sharp ridge that falls slowly along one direction."""
    return float(abs(z[0]) + 30 * math.sqrt((z[1:] ** 2).sum()))


def _bent(z: Array) -> float:
    """A valley bent like a banana, steeper on its outer side."""
    across = z[1:] - 1.5 * z[:-1] ** 2
    return float((np.where(across > 0, 200.0, 20.0) * across**2).sum() + ((z[:-1]) ** 2).sum())


def _two_basins(z: Array) -> float:
    """A wide basin that ends at 1, and a narrower one beside it that ends at 0."""
    wide = 1 + 2 * ((z - 0.55 / math.sqrt(len(z))) ** 2).sum()
    return float(min(wide, 14 * (z**2).sum()))


def _ripples(z: Array) -> float:
    """A bowl with a hundred dents."""
    return float((10 * z**2 + 0.6 * (1 - np.cos(14 * z))).sum())


def _craters(z: Array) -> float:
    """Many craters at random, of which the deepest is not the widest."""
    rng = np.random.default_rng(len(z))
    centres = rng.uniform(-0.6, 0.6, (20, len(z))) + 0.2 * np.sign(rng.normal(size=(20, len(z))))
    depths, widths = rng.uniform(0.4, 0.85, 20), rng.uniform(0.15, 0.5, 20)
    others = depths * np.exp(-((z - centres) ** 2).mean(axis=1) / widths**2)
    return float(1 - max(math.exp(-(z**2).mean() / 0.2**2), others.max())) + 0.1 * float((z**2).mean())


def _false_bowl(z: Array) -> float:
    """A rippled bowl around a wrong place, with the good one at its rim."""
    wrong = 0.8 + 3 * ((z - 0.7 / math.sqrt(len(z))) ** 2).sum()
    return float(min(wrong, 6 * (z**2).sum()) + 0.15 * (1 - np.cos(20 * z)).mean())


@dataclass(frozen=True)
class Kind:
    """One function in so many dimensions, and where its optimum is."""

    formula: Callable[[Array], float]
    dimensions: int
    instance: int
    kind: str
    is_rotated: bool = True
    corner: bool = False
    """Whether the optimum lies near a corner of the box."""
    whole: int = 0
    """How many of the coordinates are whole numbers of `LEVELS` values; the optimum is at one of them."""

    def declare(self, hp: Any) -> None:
        """Declare the box on keras-tuner's `HyperParameters`."""
        for axis in range(self.dimensions):
            if axis < self.whole:
                hp.Int(f"x{axis}", 1, LEVELS)
            else:
                hp.Float(f"x{axis}", 0.0, 1.0)

    def regret(self, values: Values) -> float:
        """Return how far above the minimum the function is."""
        rng = np.random.default_rng([self.instance, self.dimensions])
        optimum = rng.uniform(0.15, 0.85, self.dimensions)
        if self.corner:
            optimum = np.where(optimum > 0.5, 0.97, 0.03)
        optimum[: self.whole] = (np.floor(optimum[: self.whole] * LEVELS) + 0.5) / LEVELS
        rotation = np.linalg.qr(rng.normal(size=(self.dimensions, self.dimensions)))[0]
        units = np.array([values[f"x{axis}"] for axis in range(self.dimensions)], dtype=float)
        units[: self.whole] = (units[: self.whole] - 0.5) / LEVELS
        away = units - optimum
        return max(self.formula(rotation @ away if self.is_rotated else away), 0.0)


_KINDS: dict[str, tuple[dict[str, Any], ...]] = {
    "magnitudes": (
        {"formula": _long_valley},
        {"formula": _diverges, "is_rotated": False},
        {"formula": _steep},
        {"formula": _thin_disc},
    ),
    "plateaus": (
        {"formula": _stairs},
        {"formula": _stairs_and_slope, "is_rotated": False, "whole": 1},
        {"formula": _terraces},
        {"formula": _wide_stairs, "is_rotated": False, "whole": 2},
    ),
    "asymmetry": (
        {"formula": _one_sided, "is_rotated": False, "corner": True},
        {"formula": _unequal_powers},
        {"formula": _ridge},
        {"formula": _bent, "is_rotated": False, "corner": True},
    ),
    "deceptive": (
        {"formula": _two_basins},
        {"formula": _ripples, "is_rotated": False},
        {"formula": _craters},
        {"formula": _false_bowl},
    ),
}


def _all(half: int) -> dict[str, Kind]:
    """Return the functions of a half by name, such as `two basins 5D 1`."""
    return {
        f"{options['formula'].__name__[1:].replace('_', ' ')} {dimensions}D {instance}": Kind(
            **options, dimensions=dimensions, instance=instance, kind=kind
        )
        for kind, four in _KINDS.items()
        for options in four[2 * half : 2 * half + 2]
        for dimensions in DIMENSIONS
        for instance in range(INSTANCES)
    }


CHOSEN, HELD = _all(0), _all(1)
