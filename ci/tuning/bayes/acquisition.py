"""Expected improvement, in logarithms, and the search for the point where it is greatest.

EI(x) = E[max(best - f(x), 0)] = σ h(z), z = (best - μ) / σ, h(z) = φ(z) + z Φ(z). Far from the best h underflows and
its gradient vanishes; log h does neither. Source: Ament et al. 2023, "Unexpected improvements to expected
improvement for Bayesian optimization".

EI looks one step ahead and explores more than a search of tens of trials can use where the process is right already.
So the deviation enters multiplied by an *exploration* of at most 1, which is the less the better the process predicts
each trial from the others. Measured in docs/tuning.md.
"""

import numpy as np
from scipy import optimize, special
from scipy.stats import qmc

from ci.tuning.bayes.gaussian_process import Posterior
from ci.tuning.bayes.space import Array, Space

CANDIDATES = 2048
"""Sobol points at which the acquisition is looked at before the best of them are improved."""
WIDTHS = (0.003, 0.02, 0.1, 0.25)
"""Deviations of the points that are drawn around good ones, in units of a hyperparameter's range."""
NEIGHBOURS = 8
"""Points drawn at each width."""
STARTS = 8
"""Starts of the improvement among the Sobol points, and as many near the best trials."""
LIST_UP_TO = 2000
"""Spaces with at most this many combinations are looked at completely."""
MOVED = 3
"""Hyperparameters that half of those points differ in: where there are many, one that moves in all is seldom better."""
LEAST_EXPLORATION = 0.3
"""Exploration of a process that predicts each trial from the others without error."""
LEVEL = 0.12
"""Distance of two equal trials up to which they are taken for one plateau, times the root of the dimensions."""
BEYOND = 1.5
"""How far from a trial on a plateau the next one is, in units of that distance."""


def log_h(z: Array) -> Array:
    """Return log(φ(z) + z Φ(z)) without cancellation; any shape.

    >>> log_h(np.array([0.0, -50.0])).round(2).tolist()
    [-0.92, -1258.74]
    """
    z = np.asarray(z, dtype=float)
    near, far = np.maximum(z, -1.0), np.clip(-z, 1.0, 1e4)
    direct = np.log(np.exp(-0.5 * near**2) / np.sqrt(2 * np.pi) + near * special.ndtr(near))
    # For z < -1: h = φ (1 - |z| √(π/2) erfcx(|z|/√2)), whose bracket tends to 1/z².
    bracket = np.log1p(-np.minimum(far * np.sqrt(np.pi / 2) * special.erfcx(far / np.sqrt(2)), 1 - 1e-9))
    tail = np.where(far < 100, bracket, -2 * np.log(np.maximum(-z, 1.0)))
    return np.where(z > -1, direct, tail - 0.5 * z**2 - 0.5 * np.log(2 * np.pi))


def exploration_after(posterior: Posterior) -> float:
    """Return what the deviation is multiplied by: twice the process's error, at least 0.3 and at most 1.

    >>> from ci.tuning.bayes.gaussian_process import fit
    >>> points = np.linspace(0, 1, 8)[:, None]
    >>> nothing, one = np.zeros(8), np.zeros(1, dtype=int)
    >>> exploration_after(fit(points, points[:, 0], nothing, one))
    0.3
    """
    return min(max(2 * posterior.error, LEAST_EXPLORATION), 1.0)


def log_expected_improvement(posterior: Posterior, points: Array, exploration: float) -> Array:
    """Return log EI at points (rows, coordinates), the deviation multiplied by `exploration`; shape (rows,).

    >>> from ci.tuning.bayes.gaussian_process import fit
    >>> points = np.array([[0.0], [1.0]])
    >>> posterior = fit(points, np.array([1.0, 0.0]), np.zeros(2), np.zeros(1, dtype=int))
    >>> near, far = log_expected_improvement(posterior, np.array([[0.9], [0.0]]), 1.0)
    >>> bool(near > far)
    True
    """
    mean, deviation = posterior.predict(points)
    deviation *= exploration
    return np.log(deviation) + log_h((posterior.best - mean) / deviation)


def ranked(posterior: Posterior, space: Space, best_rows: Array, rng: np.random.Generator, exploration: float) -> Array:
    """Return candidate rows of units, the one with the greatest expected improvement first.

    Args:
        posterior: the fitted process, over `space.embed`.
        space: the search space.
        best_rows: units of the best trials so far; shape (rows, columns).
        rng: source of randomness.
        exploration: what the deviation is multiplied by.
    """

    def order(rows: Array) -> Array:
        return rows[np.argsort(-log_expected_improvement(posterior, space.embed(rows), exploration), kind="stable")]

    if space.size <= LIST_UP_TO:
        return order(np.array([space.locate(values) for values in space.grid()]))
    afar = order(space.snap(qmc.Sobol(len(space.dimensions), rng=rng).random(CANDIDATES)))
    near = order(_around(space, best_rows, WIDTHS, rng))
    starts = np.concatenate([afar[:STARTS], near[:STARTS]])
    climbed = order(space.snap(np.array([_climb(posterior, space, row, exploration) for row in starts])))
    around = _around(space, climbed[:STARTS], WIDTHS[:3], rng)
    return order(np.concatenate([climbed, around, near, afar]))


def off_plateaus(points: Array, trials: Array, objectives: Array, dimensions: int) -> Array:
    """Tell of points whether no plateau is known to be there; shape (rows,).

    Two trials near each other with equal objectives lie on a plateau, and what lies between them is likely to be on it.

    Args:
        points: embedded; shape (rows, coordinates).
        trials: embedded; shape (trials, coordinates).
        objectives: of the trials; shape (trials,).
        dimensions: how many hyperparameters vary.

    >>> trials = np.array([[0.5], [0.6], [0.9]])
    >>> off_plateaus(np.array([[0.55], [0.7], [0.8], [0.9]]), trials, np.array([1.0, 1.0, 2.0]), 1).tolist()
    [False, False, True, True]
    """
    distances = np.sqrt(((trials[:, None] - trials[None]) ** 2).sum(axis=2))
    equal = (objectives[:, None] == objectives[None]) & (distances > 0)
    nearest = np.where(equal, distances, np.inf).min(axis=1)
    most = LEVEL * np.sqrt(dimensions)
    reach = np.where(nearest < most, np.minimum(BEYOND * nearest, most), 0.0)
    away = np.sqrt(((points[:, None] - trials[None]) ** 2).sum(axis=2))
    return (away >= reach).all(axis=1)


def _around(space: Space, rows: Array, widths: tuple[float, ...], rng: np.random.Generator) -> Array:
    """Return rows drawn around others; one in five of their categories, which have no neighbourhood, is drawn anew."""
    centres = np.repeat(np.where(np.isnan(rows), 0.5, rows), NEIGHBOURS * len(widths), axis=0)
    width = np.resize(widths, len(centres))[:, None]
    moved = np.clip(centres + width * rng.normal(size=centres.shape), 0, 1)
    if centres.shape[1] > MOVED:
        moves = rng.random(centres.shape) < MOVED / centres.shape[1]
        moves[np.arange(len(moves)), rng.integers(centres.shape[1], size=len(moves))] = True
        moved[::2] = np.where(moves, moved, centres)[::2]
    categorical = np.array([dimension.is_categorical for dimension in space.dimensions])
    drawn = np.where(rng.random(centres.shape) < 0.2, rng.random(centres.shape), centres)
    return space.snap(np.where(categorical, drawn, moved))


def _climb(posterior: Posterior, space: Space, row: Array, exploration: float) -> Array:
    """Return the row after L-BFGS-B on log EI over its active numbers; categories stay."""
    columns = [c for c, d in enumerate(space.dimensions) if not d.is_categorical and not np.isnan(row[c])]
    coordinates = np.searchsorted(space.group, columns)
    point = space.embed(row[None])[0]

    def negative(unit: Array) -> tuple[float, Array]:
        point[coordinates] = unit
        mean, deviation, mean_slope, deviation_slope = posterior.predict_with_slope(point)
        deviation, deviation_slope = deviation * exploration, deviation_slope * exploration
        z = (posterior.best - mean) / deviation
        logarithm = float(log_h(np.asarray(z)))
        # d log h / dz = Φ(z) / h(z)
        ratio = np.exp(special.log_ndtr(z) - logarithm)
        slope = deviation_slope / deviation - ratio * (mean_slope + z * deviation_slope) / deviation
        return -(np.log(deviation) + logarithm), -slope[coordinates]

    climbed = row.copy()
    if columns:
        bounds = [(0, 1)] * len(columns)
        options = {"maxiter": 50}
        found = optimize.minimize(negative, row[columns], jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        climbed[columns] = found.x
    return climbed
