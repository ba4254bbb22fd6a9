"""A Gaussian process over the embedded search space: kernel, priors, output warping, fit and prediction.

Kernel: Matérn-5/2 with a length per hyperparameter, k(r) = s (1 + √5 r + 5/3 r²) exp(-√5 r), r² = Σ ((x - x')/ℓ)²
(Rasmussen and Williams 2006, eq. 4.17), plus noise. Its parameters maximise the posterior density under lognormal
priors. The lengths' grows with the square root of the dimension, after Hvarfner et al. 2024 ("Vanilla Bayesian
optimization performs great in high dimensions"), but is shorter and narrower than theirs: with tens of trials theirs
smooths over all but the broadest valley.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize

from ci.tuning.space import Array

ROOT5 = np.sqrt(5.0)
JITTER = 1e-8
"""Least noise variance, in units of the outputs' variance: keeps the factorisation possible."""
LENGTH_MEDIAN = 0.5
"""Prior median of a length, in units of the hyperparameter's range, for one hyperparameter."""
LENGTH_DEVIATION, SCALE_DEVIATION, NOISE_DEVIATION = 1.0, 1.0, 2.0
NOISE_MEAN = -7.0
"""Prior mean of the logarithm of the noise variance: a deviation of 3 % of the outputs'."""


@dataclass(frozen=True)
class Warp:
    """Yeo and Johnson's power transformation of outputs, then standardisation to mean 0 and deviation 1."""

    power: float
    centre: float
    width: float
    mean: float
    deviation: float

    @classmethod
    def fit(cls, outputs: Array) -> "Warp":
        """Choose the power that makes the outputs most nearly normal (Yeo and Johnson 2000, maximum likelihood).

        Centre and width are the median and the interquartile range, which an outlier cannot move.
        """
        centre = float(np.median(outputs))
        low, high = np.percentile(outputs, [25, 75])
        width = float(high - low) or float(np.abs(outputs - centre).max()) or 1.0
        scaled = (outputs - centre) / width

        def unlikelihood(power: float) -> float:
            warped = yeo_johnson(scaled, power)
            slope = (power - 1) * (np.sign(scaled) * np.log1p(np.abs(scaled))).sum()
            return float(0.5 * len(scaled) * np.log(max(warped.var(), 1e-30)) - slope)

        power = float(optimize.minimize_scalar(unlikelihood, bounds=(-3, 3), method="bounded").x)
        warped = yeo_johnson(scaled, power)
        return cls(power, centre, width, float(warped.mean()), float(warped.std()) or 1.0)

    def apply(self, outputs: Array) -> Array:
        """Return warped outputs; any shape."""
        return (yeo_johnson((outputs - self.centre) / self.width, self.power) - self.mean) / self.deviation

    def slope(self, outputs: Array) -> Array:
        """Return the derivative of `apply`; shape of `outputs`."""
        scaled = (outputs - self.centre) / self.width
        power = (self.power - 1) * np.sign(scaled)
        return np.exp(power * np.log1p(np.abs(scaled))) / (self.width * self.deviation)

    def undo(self, warped: Array) -> Array:
        """Return the outputs of warped ones; beyond what the power can reach, the farthest it can."""
        value = warped * self.deviation + self.mean
        return self.centre + self.width * inverse_yeo_johnson(value, self.power)


def yeo_johnson(value: Array, power: float) -> Array:
    """Return ((v + 1)^p - 1) / p for v ≥ 0, else -((1 - v)^(2 - p) - 1) / (2 - p), and their limits."""
    size = np.log1p(np.abs(value))
    return np.where(value >= 0, _expand(size, power), -_expand(size, 2 - power))


def inverse_yeo_johnson(warped: Array, power: float) -> Array:
    """Return the v with `yeo_johnson(v, power) == warped`."""
    size = np.abs(warped)
    return np.where(warped >= 0, _shrink(size, power), -_shrink(size, 2 - power))


def _expand(logarithm: Array, power: float) -> Array:
    return logarithm if abs(power) < 1e-6 else np.expm1(np.minimum(power * logarithm, 600)) / power


def _shrink(size: Array, power: float) -> Array:
    if abs(power) < 1e-6:
        return np.expm1(np.minimum(size, 600))
    inside = np.maximum(power * size, -1 + 1e-9)
    return np.expm1(np.minimum(np.log1p(inside) / power, 600))


@dataclass(frozen=True)
class Parameters:
    """What the fit chooses."""

    lengths: Array
    """A length per hyperparameter, in units of its range; shape (columns,)."""
    scale: float
    """Variance of the process."""
    noise: float
    """Variance of the noise of a complete trial."""

    @classmethod
    def unpack(cls, logarithms: Array) -> "Parameters":
        """Read them from the vector of logarithms that the optimiser moves."""
        return cls(np.exp(logarithms[:-2]), float(np.exp(logarithms[-2])), float(np.exp(logarithms[-1])) + JITTER)

    def pack(self) -> Array:
        """Return the vector of their logarithms."""
        return np.log(np.r_[self.lengths, self.scale, max(self.noise - JITTER, 1e-7)])


def prior_means(columns: int) -> Array:
    """Return the prior means of the logarithms: lengths, scale, noise."""
    return np.r_[np.full(columns, np.log(LENGTH_MEDIAN * np.sqrt(columns))), 0.0, NOISE_MEAN]


class Posterior:
    """The process after seeing trials, in warped units."""

    def __init__(self, points: Array, outputs: Array, extra: Array, group: Array, parameters: Parameters) -> None:
        """Condition on trials.

        Args:
            points: embedded trials; shape (trials, coordinates).
            outputs: their warped objectives, less is better; shape (trials,).
            extra: variance on top of the noise, for trials that were not run to the end; shape (trials,).
            group: the hyperparameter of each coordinate; shape (coordinates,).
            parameters: of the kernel.
        """
        self.parameters, self.group = parameters, group
        self._lengths = parameters.lengths[group]
        self._points, self._outputs, self._extra = points, outputs, extra
        self._scaled = points / self._lengths
        covariance = parameters.scale * _matern(_distances(self._scaled, self._scaled))
        covariance[np.diag_indices(len(outputs))] += parameters.noise + extra
        self._factor = np.linalg.inv(linalg.cholesky(covariance, lower=True))
        self._weights = self._factor.T @ (self._factor @ outputs)
        self.best = float(self.predict(points)[0].min())
        """The least mean at a trial: with noise the least output would be luck."""

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Return mean and deviation of the process at points (rows, coordinates); each of shape (rows,)."""
        across = self.parameters.scale * _matern(_distances(points / self._lengths, self._scaled))
        explained = ((across @ self._factor.T) ** 2).sum(axis=1)
        return across @ self._weights, np.sqrt(np.maximum(self.parameters.scale - explained, 1e-12))

    def predict_with_slope(self, point: Array) -> tuple[float, float, Array, Array]:
        """Return mean, deviation and their gradients at one point; shapes (), (), (coordinates,), (coordinates,)."""
        away = point / self._lengths - self._scaled
        distance = np.sqrt((away**2).sum(axis=1))
        decay = self.parameters.scale * np.exp(-ROOT5 * distance)
        across = decay * (1 + ROOT5 * distance + 5 / 3 * distance**2)
        slope = -(5 / 3 * decay * (1 + ROOT5 * distance))[:, None] * away / self._lengths
        half = self._factor @ across
        deviation = float(np.sqrt(max(self.parameters.scale - half @ half, 1e-12)))
        return (
            float(across @ self._weights),
            deviation,
            slope.T @ self._weights,
            -(slope.T @ (self._factor.T @ half)) / deviation,
        )

    def believing(self, points: Array) -> "Posterior":
        """Return the process that takes its own means at `points` for outcomes (the kriging believer).

        Source: Ginsbourger et al. 2010, "Kriging is well-suited to parallelize optimization".
        """
        if not len(points):
            return self
        return Posterior(
            np.concatenate([self._points, points]),
            np.concatenate([self._outputs, self.predict(points)[0]]),
            np.concatenate([self._extra, np.zeros(len(points))]),
            self.group,
            self.parameters,
        )


def fit(points: Array, outputs: Array, extra: Array, group: Array, start: Parameters | None = None) -> Posterior:
    """Return the posterior at the most probable parameters; arguments as in `Posterior`.

    Args:
        points: embedded trials.
        outputs: warped objectives.
        extra: extra noise variances.
        group: the hyperparameter of each coordinate.
        start: parameters of an earlier fit, from which the optimiser also starts.
    """
    columns = int(group.max()) + 1
    squares = np.zeros((columns, len(points), len(points)))
    np.add.at(squares, group, ((points[:, None, :] - points[None, :, :]) ** 2).transpose(2, 0, 1))
    means = prior_means(columns)
    bounds = [(-5.0, 6.0)] * columns + [(-5.0, 5.0), (-16.0, 1.0)]
    results = [
        optimize.minimize(
            _negative_log_posterior,
            np.clip(begin, *np.transpose(bounds)),
            args=(squares, outputs, extra, means),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": 100},
        )
        for begin in ([means] if start is None else [means, start.pack()])
    ]
    chosen = min(results, key=lambda result: float(result.fun))
    return Posterior(points, outputs, extra, group, Parameters.unpack(chosen.x))


def _negative_log_posterior(
    logarithms: Array, squares: Array, outputs: Array, extra: Array, means: Array
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
    away = (logarithms - means) / _prior_deviations(columns)
    try:
        factor = linalg.cholesky(covariance, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return 1e25, np.zeros_like(logarithms)
    inverse = linalg.cho_solve((factor, True), np.eye(trials), check_finite=False)
    weights = inverse @ outputs
    value = 0.5 * outputs @ weights + np.log(np.diag(factor)).sum() + 0.5 * (away**2).sum()
    slope_of_covariance = 0.5 * (inverse - np.outer(weights, weights))
    gradient = np.empty_like(logarithms)
    by_length = slope_of_covariance * (5 / 3 * decay * (1 + ROOT5 * distance))
    gradient[:columns] = np.tensordot(squares, by_length, 2) * inverse_squares
    gradient[columns] = (slope_of_covariance * kernel).sum()
    gradient[columns + 1] = np.trace(slope_of_covariance) * noise
    return float(value), gradient + away / _prior_deviations(columns)


def _prior_deviations(columns: int) -> Array:
    return np.r_[np.full(columns, LENGTH_DEVIATION), SCALE_DEVIATION, NOISE_DEVIATION]


def _matern(squares: Array) -> Array:
    distance = np.sqrt(squares)
    return (1 + ROOT5 * distance + 5 / 3 * squares) * np.exp(-ROOT5 * distance)


def _distances(left: Array, right: Array) -> Array:
    """Return squared distances between rows; shape (left rows, right rows)."""
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * left @ right.T
    return np.maximum(squares, 0.0)
