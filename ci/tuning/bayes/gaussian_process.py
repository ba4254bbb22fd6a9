"""A Gaussian process over the embedded search space: kernel, priors, output warping, fit and prediction.

Kernel: Matérn-5/2 with a length per hyperparameter, k(r) = s (1 + √5 r + 5/3 r²) exp(-√5 r), r² = Σ ((x - x')/ℓ)²
(Rasmussen and Williams 2006, eq. 4.17), plus noise. Its parameters are handled as logarithms: the lengths, then the
scale s, then the noise variance. They maximise the posterior density under normal priors on the logarithms. The
lengths' grows with the square root of the dimension, after Hvarfner et al. 2024 ("Vanilla Bayesian optimization
performs great in high dimensions"), but is shorter and narrower than theirs: with tens of trials theirs smooths over
all but the broadest valley.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, optimize, special

from ci.tuning.bayes.space import Array

ROOT5 = np.sqrt(5.0)
JITTER = 1e-8
"""Least noise variance, in units of the outputs' variance: keeps the factorisation possible."""
LENGTH, LENGTH_DEVIATION = 0.5, 1.0
"""Prior median of a length for one hyperparameter, in units of its range; the deviation is of its logarithm."""
SCALE, SCALE_DEVIATION = 1.0, 1.0
NOISE, NOISE_DEVIATION = 1e-3, 2.0
NARROWER = 0.5
"""What the deviations of the priors are multiplied by where an earlier search tells their medians."""
NEAR = 0.1
"""Width of the warp that tells outputs near the least one apart, as a share of their way to the median."""
MARGIN = 3.0
"""By how much more probable that warp must be, as a logarithm: a few trials may favour it by luck."""
FENCE = 1.5
"""Interquartile ranges above the third quartile from which on outputs that are not warped count alike (Tukey 1977)."""
PLAIN_NOISE = 1e-2
"""Prior median of the noise where outputs are not warped: there steps and luck are to be noise, not shape."""
BOUNDS = (-5.0, 6.0), (-5.0, 5.0), (-16.0, 1.0)
"""Of the logarithms of lengths, scale and noise."""


@dataclass(frozen=True)
class Warp:
    """Yeo and Johnson's power transformation of outputs, then standardisation to mean 0 and deviation 1."""

    power: float
    centre: float
    width: float
    mean: float
    deviation: float
    most: float = np.inf
    """Outputs above it count as it."""

    @classmethod
    def fit(cls, outputs: Array, near: float | None = None) -> "Warp":
        """Choose the power that makes the outputs most nearly normal (Yeo and Johnson 2000, maximum likelihood).

        Centre and width are the median and the interquartile range, which an outlier cannot move. With `near` they are
        the least output and that share of the way from it to the median: outputs near the least one are told apart,
        though others are larger by orders of magnitude.
        """
        middle = float(np.median(outputs))
        if near is None:
            centre = middle
            low, high = np.percentile(outputs, [25, 75])
            width = float(high - low) or float(np.abs(outputs - centre).max()) or 1.0
        else:
            centre = float(outputs.min())
            width = near * (middle - centre) or 1.0
        scaled = (outputs - centre) / width
        slope = (np.sign(scaled) * np.log1p(np.abs(scaled))).sum()

        def unlikelihood(power: float) -> float:
            variance = max(_yeo_johnson(scaled, power).var(), 1e-30)
            return float(0.5 * len(scaled) * np.log(variance) - (power - 1) * slope)

        power = float(optimize.minimize_scalar(unlikelihood, bounds=(-3, 3), method="bounded").x)
        warped = _yeo_johnson(scaled, power)
        return cls(power, centre, width, float(warped.mean()), float(warped.std()) or 1.0)

    @classmethod
    def plain(cls, outputs: Array) -> "Warp":
        """Only standardise; what is far above the others counts as the fence that Tukey draws for outliers."""
        most = float(outputs.max())
        if outputs.min() == most:  # all are equal: their mean and deviation would have rounding errors
            return cls(1.0, most, 1.0, 0.0, 1.0, most)
        low, high = np.percentile(outputs, [25, 75])
        most = float(high + FENCE * (high - low)) if high > low else most
        kept = np.minimum(outputs, most)
        return cls(1.0, 0.0, 1.0, float(kept.mean()), float(kept.std()) or 1.0, most)

    @property
    def is_plain(self) -> bool:
        """Whether it is `plain`'s."""
        return bool(np.isfinite(self.most))

    def apply(self, outputs: Array) -> Array:
        """Return warped outputs; any shape."""
        scaled = (np.minimum(outputs, self.most) - self.centre) / self.width
        return (_yeo_johnson(scaled, self.power) - self.mean) / self.deviation

    def log_slope(self, outputs: Array) -> float:
        """Return the sum of the logarithms of the warp's slope at outputs: what compares densities of two warps."""
        scaled = (outputs - self.centre) / self.width
        slopes = (self.power - 1) * np.sign(scaled) * np.log1p(np.abs(scaled))
        return float(slopes.sum() - len(outputs) * np.log(self.width * self.deviation))

    def undo(self, warped: Array) -> Array:
        """Return the outputs of warped ones; beyond what the power can reach, the farthest it can."""
        value = warped * self.deviation + self.mean
        power = np.where(value >= 0, self.power, 2 - self.power)
        reach = np.where(power < 0, -(1 - 1e-9) / np.minimum(power, -1e-9), np.inf)
        return self.centre + self.width * np.sign(value) * special.inv_boxcox1p(np.minimum(np.abs(value), reach), power)


def _yeo_johnson(value: Array, power: float) -> Array:
    """Return ((v + 1)^p - 1) / p for v ≥ 0, else -((1 - v)^(2 - p) - 1) / (2 - p), and their limits."""
    return np.sign(value) * special.boxcox1p(np.abs(value), np.where(value >= 0, power, 2 - power))


class Posterior:
    """The process after seeing trials, in warped units."""

    def __init__(self, trials: tuple[Array, ...], group: Array, logarithms: Array, warp: Warp) -> None:
        """Condition on trials.

        Args:
            trials: embedded; shape (trials, coordinates). Their warped objectives, less is better, and a variance on
                top of the noise for those that were not run to the end; both of shape (trials,).
            group: the hyperparameter of each coordinate; shape (coordinates,).
            logarithms: of lengths, scale and noise; shape (hyperparameters + 2,).
            warp: of the objectives.
        """
        self._trials, self._fitted, self.warp = trials, (group, logarithms, warp), warp
        points, outputs, extra = trials
        self._lengths = np.exp(logarithms[group])
        self._scale, self._noise = np.exp(logarithms[-2:])
        self._points = points / self._lengths
        covariance = self._scale * _matern(_squares(self._points, self._points))
        covariance[np.diag_indices(len(outputs))] += self._noise + JITTER + extra
        self._factor = np.linalg.inv(linalg.cholesky(covariance, lower=True))
        self._weights = self._factor.T @ (self._factor @ outputs)
        self.best = float(self.predict(points)[0].min())
        """The least mean at a trial: with noise the least output would be luck."""

    @property
    def scales(self) -> Array:
        """The logarithms of lengths, scale and noise; shape (hyperparameters + 2,)."""
        return self._fitted[1]

    @property
    def error(self) -> float:
        """How wrong the process is about a trial from the others, in deviations of the outputs; robust to outliers.

        The median of the absolute residuals of leaving one out with the parameters kept (Rasmussen and Williams 2006,
        eq. 5.12), over that of a standard normal variable. 0 where all outputs are equal.
        """
        residuals = self._weights / (self._factor**2).sum(axis=0)
        return float(np.median(np.abs(residuals)) / special.ndtri(0.75))

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Return mean and deviation of the process at points (rows, coordinates); each of shape (rows,)."""
        across = self._scale * _matern(_squares(points / self._lengths, self._points))
        explained = ((across @ self._factor.T) ** 2).sum(axis=1)
        return across @ self._weights, np.sqrt(np.maximum(self._scale - explained, 1e-12))

    def band(self, points: Array) -> Array:
        """Return the objective at points: the mean less a deviation, the mean, the mean plus one; shape (3, rows)."""
        mean, deviation = self.predict(points)
        return self.warp.undo(mean + np.array([[-1], [0], [1]]) * deviation)

    def predict_with_slope(self, point: Array) -> tuple[float, float, Array, Array]:
        """Return mean, deviation and their gradients at one point; shapes (), (), (coordinates,), (coordinates,)."""
        away = point / self._lengths - self._points
        distance = np.sqrt((away**2).sum(axis=1))
        decay = self._scale * np.exp(-ROOT5 * distance)
        across = decay * (1 + ROOT5 * distance + 5 / 3 * distance**2)
        slope = -(5 / 3 * decay * (1 + ROOT5 * distance))[:, None] * away / self._lengths
        half = self._factor @ across
        deviation = float(np.sqrt(max(self._scale - half @ half, 1e-12)))
        deviation_slope = -(slope.T @ (self._factor.T @ half)) / deviation
        return float(across @ self._weights), deviation, slope.T @ self._weights, deviation_slope

    def believing(self, points: Array) -> "Posterior":
        """Return the process that takes its own means at `points` for outcomes, without noise (the kriging believer).

        Source: Ginsbourger et al. 2010, "Kriging is well-suited to parallelize optimization". With noise the place of
        a running trial would remain worth a visit, and the next one would be run right beside it.
        """
        believed = points, self.predict(points)[0], np.full(len(points), -self._noise)
        trials = tuple(np.concatenate(pair) for pair in zip(self._trials, believed, strict=True))
        return Posterior(trials, *self._fitted)


def fit(
    points: Array,
    objectives: Array,
    deviations: Array,
    group: Array,
    before: Array | None = None,
    *,
    is_plain: bool = False,
) -> Posterior:
    """Return the posterior at the most probable parameters, and with the more probable of two warps.

    Args:
        points: embedded trials; shape (trials, coordinates).
        objectives: less is better; shape (trials,).
        deviations: of the objectives that are guesses; shape (trials,).
        group: the hyperparameter of each coordinate; shape (coordinates,).
        before: the scales that an earlier search of the same space had, see `Posterior.scales`: the prior's medians.
        is_plain: whether objectives are taken as they are, with `Warp.plain`, and more noise is expected.

    >>> points = np.array([[0.0], [0.5], [1.0]])
    >>> posterior = fit(points, np.array([4.0, 1.0, 3.0]), np.zeros(3), np.zeros(1, dtype=int))
    >>> low, mean, high = posterior.band(np.array([[0.5]]))
    >>> bool(low[0] < mean[0] < high[0] and abs(mean[0] - 1.0) < 0.5)
    True
    """
    columns = int(group.max()) + 1
    squares = np.zeros((columns, len(points), len(points)))
    np.add.at(squares, group, ((points[:, None, :] - points[None, :, :]) ** 2).transpose(2, 0, 1))
    means = np.log(np.r_[np.full(columns, LENGTH * np.sqrt(columns)), SCALE, NOISE])
    deviations_of_prior = np.r_[np.full(columns, LENGTH_DEVIATION), SCALE_DEVIATION, NOISE_DEVIATION]
    if before is not None:
        means, deviations_of_prior = before.copy(), deviations_of_prior * NARROWER
    if is_plain:
        means[-1] = np.log(PLAIN_NOISE)
    prior = means, deviations_of_prior
    bounds = [BOUNDS[0]] * columns + [BOUNDS[1], BOUNDS[2]]
    starts = means, means - (np.arange(columns + 2) < columns)  # the second has shorter lengths

    def fitted(warp: Warp) -> tuple[float, Posterior]:
        """Return how unlikely the objectives are, as a logarithm, and the posterior with this warp."""
        outputs = warp.apply(objectives)
        spread = (warp.apply(objectives + deviations) - warp.apply(objectives - deviations)) / 2
        extra = np.minimum(spread, 1e3) ** 2  # a guess that wide tells nothing, and infinity would end the search

        def climb(start: Array) -> Any:
            arguments, options = (squares, outputs, extra, prior), {"maxiter": 100}
            return optimize.minimize(
                _negative_log_posterior, start, arguments, "L-BFGS-B", jac=True, bounds=bounds, options=options
            )

        best = min(map(climb, starts), key=lambda result: float(result.fun))
        return best.fun - warp.log_slope(objectives), Posterior((points, outputs, extra), group, best.x, warp)

    if is_plain:
        return fitted(Warp.plain(objectives))[1]
    (unlikely, usual), (other, near) = fitted(Warp.fit(objectives)), fitted(Warp.fit(objectives, NEAR))
    return near if other + MARGIN < unlikely else usual


def _negative_log_posterior(
    logarithms: Array, squares: Array, outputs: Array, extra: Array, prior: tuple[Array, Array]
) -> tuple[float, Array]:
    """Return -log p(outputs, parameters) and its gradient (Rasmussen and Williams 2006, eq. 5.8 and 5.9)."""
    columns, trials = len(squares), len(outputs)
    inverse_squares = np.exp(-2 * logarithms[:columns])
    scale, noise = np.exp(logarithms[columns:])
    square = np.tensordot(inverse_squares, squares, 1)
    distance = np.sqrt(square)
    decay = scale * np.exp(-ROOT5 * distance)
    kernel = decay * (1 + ROOT5 * distance + 5 / 3 * square)
    covariance = kernel.copy()
    covariance[np.diag_indices(trials)] += noise + JITTER + extra
    away = (logarithms - prior[0]) / prior[1]
    factor = linalg.cholesky(covariance, lower=True, check_finite=False)  # the bounds keep it positive definite
    inverse = linalg.cho_solve((factor, True), np.eye(trials), check_finite=False)
    weights = inverse @ outputs
    value = 0.5 * outputs @ weights + np.log(np.diag(factor)).sum() + 0.5 * (away**2).sum()
    slope = 0.5 * (inverse - np.outer(weights, weights))
    by_length = slope * (5 / 3 * decay * (1 + ROOT5 * distance))
    gradient = [np.tensordot(squares, by_length, 2) * inverse_squares, (slope * kernel).sum(), np.trace(slope) * noise]
    return float(value), np.hstack(gradient) + away / prior[1]


def _matern(squares: Array) -> Array:
    distance = np.sqrt(squares)
    return (1 + ROOT5 * distance + 5 / 3 * squares) * np.exp(-ROOT5 * distance)


def _squares(left: Array, right: Array) -> Array:
    """Return squared distances between rows; shape (left rows, right rows)."""
    return np.maximum((left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T, 0.0)
