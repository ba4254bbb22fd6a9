"""Expected improvement, in logarithms, and the search for the point where it is greatest.

EI(x) = E[max(best - f(x), 0)] = σ h(z), z = (best - μ) / σ, h(z) = φ(z) + z Φ(z). Far from the best h underflows and
its gradient vanishes; log h does neither. Source: Ament et al. 2023, "Unexpected improvements to expected
improvement for Bayesian optimization".
"""

from collections.abc import Callable

import numpy as np
from scipy import optimize, special
from scipy.stats import qmc

from ci.tuning.gaussian_process import Posterior
from ci.tuning.space import Array, Space

CANDIDATES = 512
"""Sobol points at which the acquisition is looked at before the best of them are improved."""
NEIGHBOURS = 32
"""Points drawn around each of the best trials."""
STARTS = 3
"""Starts of the improvement from each of the two kinds."""
LIST_UP_TO = 2000
"""Spaces with at most this many combinations are looked at completely."""


def log_h(z: Array) -> Array:
    """Return log(φ(z) + z Φ(z)) without cancellation; any shape."""
    z = np.asarray(z, dtype=float)
    log_density = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    near = np.maximum(z, -1.0)
    direct = np.log(np.exp(-0.5 * near**2) / np.sqrt(2 * np.pi) + near * special.ndtr(near))
    # For z < -1: h = φ (1 - |z| √(π/2) erfcx(|z|/√2)); beyond -1e4 the bracket is 1/z² to double precision.
    far = np.clip(-z, 1.0, 1e4)
    bracket = np.log1p(-np.minimum(far * np.sqrt(np.pi / 2) * special.erfcx(far / np.sqrt(2)), 1 - 1e-9))
    tail = np.where(far < 100, bracket, -2 * np.log(np.maximum(-z, 1.0)))
    return np.where(z > -1, direct, log_density + tail)


def log_expected_improvement(posterior: Posterior, points: Array, best: float) -> Array:
    """Return log EI at points (rows, coordinates); shape (rows,)."""
    mean, deviation = posterior.predict(points)
    return np.log(deviation) + log_h((best - mean) / deviation)


def propose(
    posterior: Posterior, space: Space, best_rows: Array, is_new: Callable[[Array], bool], rng: np.random.Generator
) -> Array | None:
    """Return the new row of units with the greatest expected improvement, or None if none that was seen is new.

    Args:
        posterior: the fitted process, over `space.embed`.
        space: the search space.
        best_rows: units of the best trials so far, best first; shape (rows, columns).
        is_new: whether a row of units has not been tried.
        rng: source of randomness.
    """
    best = posterior.best
    if space.size <= LIST_UP_TO:
        pool = np.array([space.locate(values) for values in space.combinations()])
    else:
        pool = _candidates(space, best_rows, rng)
        ranked = np.argsort(-log_expected_improvement(posterior, space.embed(pool), best), kind="stable")
        afar, near = ranked[ranked < CANDIDATES], ranked[ranked >= CANDIDATES]
        starts = np.concatenate([afar[:STARTS], near[:STARTS]])
        improved = [_improve(posterior, space, row, best) for row in pool[starts]]
        pool = np.concatenate([*improved, pool])
    order = np.argsort(-log_expected_improvement(posterior, space.embed(pool), best), kind="stable")
    return next((pool[position] for position in order if is_new(pool[position])), None)


def _candidates(space: Space, best_rows: Array, rng: np.random.Generator) -> Array:
    columns = len(space.dimensions)
    afar = space.spread(qmc.Sobol(columns, rng=rng).random(CANDIDATES))
    centres = np.repeat(np.where(np.isnan(best_rows), 0.5, best_rows), NEIGHBOURS, axis=0)
    width = np.tile(np.repeat([0.003, 0.02, 0.1, 0.25], NEIGHBOURS // 4), len(best_rows))[:, None]
    moved = np.clip(centres + width * rng.normal(size=centres.shape), 0, 1)
    # A category has no neighbourhood: one in five is drawn anew.
    drawn = rng.random(centres.shape)
    categorical = np.array([dimension.is_categorical for dimension in space.dimensions])
    redraw = categorical & (rng.random(centres.shape) < 0.2)
    near = space.snap(np.where(redraw, drawn, np.where(categorical, centres, moved)))
    return np.concatenate([afar, near])


def _improve(posterior: Posterior, space: Space, row: Array, best: float) -> Array:
    """Return rows found by climbing from one: numbers by L-BFGS-B, then values on a grid one at a time."""
    climbed = space.snap(_climb(posterior, space, row, best)[None])[0]
    found = [climbed]
    steps = [dimension for dimension in space.dimensions if not np.isinf(dimension.count)]
    for _ in range(4 if steps else 0):
        moves = _moves(space, found[-1])
        values = log_expected_improvement(posterior, space.embed(np.concatenate([found[-1][None], moves])), best)
        if np.argmax(values) == 0:
            break
        found.append(moves[np.argmax(values) - 1])
        found.extend(moves[np.argsort(-values[1:])[1:3]])
        found.append(space.snap(_climb(posterior, space, moves[np.argmax(values) - 1], best)[None])[0])
    return np.array(found)


def _climb(posterior: Posterior, space: Space, row: Array, best: float) -> Array:
    """Return the row after L-BFGS-B on log EI over its active numbers; categories stay."""
    columns = [c for c, d in enumerate(space.dimensions) if not d.is_categorical and not np.isnan(row[c])]
    if not columns:
        return row
    coordinates = np.array([np.flatnonzero(space.group == column)[0] for column in columns])
    point = space.embed(row[None])[0]

    def negative(unit: Array) -> tuple[float, Array]:
        point[coordinates] = unit
        mean, deviation, mean_slope, deviation_slope = posterior.predict_with_slope(point)
        z = (best - mean) / deviation
        logarithm = float(log_h(np.asarray(z)))
        # d log h / dz = Φ(z) / h(z)
        ratio = np.exp(special.log_ndtr(z) - logarithm)
        slope = deviation_slope / deviation - ratio * (mean_slope + z * deviation_slope) / deviation
        return -(np.log(deviation) + logarithm), -slope[coordinates]

    result = optimize.minimize(
        negative, row[columns], jac=True, method="L-BFGS-B", bounds=[(0, 1)] * len(columns), options={"maxiter": 50}
    )
    climbed = row.copy()
    climbed[columns] = np.clip(result.x, 0, 1)
    return climbed


def _moves(space: Space, row: Array) -> Array:
    """Return the rows that differ from one in a single value on a grid; shape (moves, columns)."""
    moves = []
    for column, dimension in enumerate(space.dimensions):
        if np.isinf(dimension.count) or np.isnan(row[column]):
            continue
        here = int(dimension.index(row[column]))
        if dimension.is_categorical or dimension.count <= 12:
            indices = [index for index in range(int(dimension.count)) if index != here]
        else:
            indices = [here + step for step in (-3, -2, -1, 1, 2, 3) if 0 <= here + step < dimension.count]
        for index in indices:
            moved = row.copy()
            moved[column] = dimension.unit(np.asarray(index))
            moves.append(moved)
    return space.snap(np.array(moves)) if moves else np.empty((0, len(row)))
