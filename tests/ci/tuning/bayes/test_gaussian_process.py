"""The Gaussian process against textbook formulas, other people's implementations and finite differences."""

import numpy as np
import pytest
from scipy import optimize, stats

from ci.tuning.bayes import gaussian_process
from ci.tuning.bayes.gaussian_process import JITTER, Posterior, Warp, fit

IDENTITY = Warp(power=1.0, centre=0.0, width=1.0, mean=0.0, deviation=1.0)
GROUP = np.array([0, 1, 1])
"""A number, and a category of two values."""
LOGARITHMS = np.log([0.4, 1.3, 1.7, 0.02])
"""Two lengths, scale and noise."""


def trials(seed: int, count: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((count, 3)), rng.normal(size=count), np.where(rng.random(count) < 0.3, 0.2, 0.0)


def matern(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The kernel written out for each pair of points, as Rasmussen and Williams have it in eq. 4.17."""
    lengths, scale = np.exp(LOGARITHMS)[[0, 1, 1]], np.exp(LOGARITHMS[2])
    r = np.array([[np.linalg.norm((a - b) / lengths) for b in right] for a in left])
    return scale * (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r)


@pytest.mark.parametrize("seed", range(3))
def test_mean_and_deviation_are_those_of_the_textbook(seed):
    points, outputs, extra = trials(seed)
    noisy = matern(points, points) + np.diag(np.exp(LOGARITHMS[3]) + JITTER + extra)
    asked = np.random.default_rng(seed).random((5, 3))
    across = matern(asked, points)
    mean = across @ np.linalg.solve(noisy, outputs)
    variance = np.exp(LOGARITHMS[2]) - np.einsum("ij,ji->i", across, np.linalg.solve(noisy, across.T))
    posterior = Posterior((points, outputs, extra), GROUP, LOGARITHMS, IDENTITY)
    found = posterior.predict(asked)
    np.testing.assert_allclose(found[0], mean, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found[1], np.sqrt(variance), rtol=1e-7)
    assert posterior.best == pytest.approx(posterior.predict(points)[0].min())


@pytest.mark.parametrize("seed", range(3))
def test_slopes_of_mean_and_deviation_are_their_differences(seed):
    posterior = Posterior(trials(seed), GROUP, LOGARITHMS, IDENTITY)
    point, step = np.random.default_rng(seed).random(3), 1e-6
    mean, deviation, mean_slope, deviation_slope = posterior.predict_with_slope(point)
    found = posterior.predict(point[None])
    assert (mean, deviation) == (pytest.approx(found[0][0]), pytest.approx(found[1][0]))
    ahead, behind = (posterior.predict(point + sign * step * np.eye(3)) for sign in (1, -1))
    np.testing.assert_allclose(mean_slope, (ahead[0] - behind[0]) / (2 * step), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(deviation_slope, (ahead[1] - behind[1]) / (2 * step), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_the_density_s_value_and_gradient_are_right(seed):
    """Its value is that of the normal density of the outputs and the parameters, up to a constant."""
    points, outputs, extra = trials(seed)
    squares = np.zeros((2, 9, 9))
    np.add.at(squares, GROUP, ((points[:, None] - points[None]) ** 2).transpose(2, 0, 1))
    prior = np.array([-0.5, -0.5, 0.0, -6.0]), np.array([1.0, 1.0, 0.7, 2.0])
    arguments = (squares, outputs, extra, prior)

    def value(logarithms):
        return gaussian_process._negative_log_posterior(logarithms, *arguments)[0]

    def density(logarithms):
        lengths, scale, noise = np.exp(logarithms)[[0, 1, 1]], *np.exp(logarithms[2:])
        r = np.array([[np.linalg.norm((a - b) / lengths) for b in points] for a in points])
        kernel = scale * (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r)
        covariance = kernel + np.diag(noise + JITTER + extra)
        likelihood = stats.multivariate_normal(np.zeros(9), covariance).logpdf(outputs)
        return -likelihood - stats.norm(*prior).logpdf(logarithms).sum()

    other = LOGARITHMS + np.array([0.3, -0.2, 0.1, 0.5])
    assert value(other) - value(LOGARITHMS) == pytest.approx(density(other) - density(LOGARITHMS), rel=1e-6)
    gradient = gaussian_process._negative_log_posterior(LOGARITHMS, *arguments)[1]
    np.testing.assert_allclose(gradient, optimize.approx_fprime(LOGARITHMS, value, 1e-7), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("power", [-1.5, 0.0, 0.4, 1.0, 2.0, 2.7])
def test_the_warp_is_yeo_and_johnson_s_and_can_be_undone(power):
    values = np.array([-3.0, -0.4, 0.0, 0.2, 5.0])
    warp = Warp(power=power, centre=0.0, width=1.0, mean=0.0, deviation=1.0)
    np.testing.assert_allclose(warp.apply(values), stats.yeojohnson(values, power), rtol=1e-12)
    moved = Warp(power=power, centre=1.5, width=3.0, mean=0.2, deviation=0.7)
    np.testing.assert_allclose(moved.undo(moved.apply(values)), values, rtol=1e-6, atol=1e-9)


def test_the_power_is_the_most_likely_one_and_an_outlier_leaves_the_others_apart():
    skewed = np.random.default_rng(0).lognormal(size=200)
    warp = Warp.fit(skewed)
    scaled = (skewed - warp.centre) / warp.width
    assert warp.power == pytest.approx(stats.yeojohnson_normmax(scaled), abs=1e-3)
    warped = warp.apply(skewed)
    assert (warped.mean(), warped.std()) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    usual = np.linspace(0, 1, 20)
    spread = np.ptp(Warp.fit(np.r_[usual, 1e9]).apply(usual))
    assert spread > 1  # standardised as it is, the twenty would be 5e-9 apart


def test_lengths_grow_with_the_square_root_of_the_dimension_where_trials_say_nothing():
    """One trial tells nothing of lengths, so the prior's median is what is left."""

    def deviation(dimensions: int) -> float:
        posterior = fit(np.zeros((1, dimensions)), np.ones(1), np.zeros(1), np.arange(dimensions))
        return float(posterior.predict(np.eye(dimensions)[:1] * 0.3 * np.sqrt(dimensions))[1][0])

    assert deviation(4) == pytest.approx(deviation(1), rel=1e-4)
    assert deviation(9) == pytest.approx(deviation(1), rel=1e-4)


def test_a_guess_counts_for_less_than_an_outcome():
    points, objectives = np.array([[0.1], [0.5], [0.9]]), np.array([0.0, 5.0, 0.2])
    sure, guessed = (fit(points, objectives, np.array([0.0, d, 0.0]), np.zeros(1, int)) for d in (0.0, 4.0))
    assert guessed.predict(points[1:2])[1] > 2 * sure.predict(points[1:2])[1]


def test_what_is_believed_is_certain_and_changes_no_mean():
    posterior = Posterior(trials(1), GROUP, LOGARITHMS, IDENTITY)
    running, others = np.full((1, 3), 0.45), np.random.default_rng(1).random((6, 3))
    believed = posterior.believing(running)
    assert posterior.predict(running)[1] > 0.1
    assert believed.predict(running)[1] < 1e-3
    np.testing.assert_allclose(believed.predict(others)[0], posterior.predict(others)[0], atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_error_is_that_of_predicting_each_trial_from_the_others(seed):
    points, outputs, extra = trials(seed)
    residuals = []
    for left_out in range(len(points)):
        others = np.arange(len(points)) != left_out
        posterior = Posterior((points[others], outputs[others], extra[others]), GROUP, LOGARITHMS, IDENTITY)
        residuals.append(outputs[left_out] - posterior.predict(points[left_out : left_out + 1])[0][0])
    found = Posterior((points, outputs, extra), GROUP, LOGARITHMS, IDENTITY).error
    assert found == pytest.approx(np.median(np.abs(residuals)) / stats.norm.ppf(0.75))


def test_the_scales_of_an_earlier_search_are_kept_where_few_trials_say_otherwise():
    rng = np.random.default_rng(0)
    points = rng.random((30, 2))
    earlier = fit(points, np.sin(9 * points[:, 0]), np.zeros(30), np.arange(2)).scales
    assert earlier[0] < np.log(0.5) < earlier[1]  # the second hyperparameter does not count
    few = rng.random((3, 2))
    cold, warm = (fit(few, few[:, 0], np.zeros(3), np.arange(2), before).scales for before in (None, earlier))
    assert warm[1] - warm[0] > cold[1] - cold[0] + 0.5


def test_over_many_orders_of_magnitude_values_near_the_least_one_are_told_apart():
    points = np.random.default_rng(0).random((24, 1))
    orders = 10 ** (8 * np.abs(points[:, 0] - 0.4))
    posterior = fit(points, orders, np.zeros(24), np.zeros(1, int))
    assert posterior.warp.centre == orders.min()
    low, _, high = posterior.band(points)
    best = np.argsort(orders)[:2]
    assert high[best[0]] < low[best[1]]
    even = np.sin(7 * points[:, 0])
    assert fit(points, even, np.zeros(24), np.zeros(1, int)).warp.centre == np.median(even)


def test_objectives_as_they_are_keep_their_shape_up_to_the_fence_for_outliers():
    usual = np.array([0.0, 1.0, 2.0, 4.0, 5.0])
    warp = Warp.plain(np.r_[usual, 1e9])
    assert np.diff(warp.apply(usual)) * warp.deviation == pytest.approx(np.diff(usual))
    low, high = np.percentile(np.r_[usual, 1e9], [25, 75])
    assert warp.apply(np.array([1e9])) == warp.apply(np.array([high + 1.5 * (high - low)]))
    np.testing.assert_allclose(warp.undo(warp.apply(usual)), usual, atol=1e-9)


@pytest.mark.parametrize("value", [1.0, 0.1, 1 / 3, -3.3, 1e100])
def test_equal_objectives_as_they_are_are_all_the_mean(value):
    for trials in range(2, 24):
        outputs = np.full(trials, value)
        assert Warp.plain(outputs).apply(outputs).tolist() == [0.0] * trials


def test_objectives_as_they_are_make_steps_noise_and_show_the_bowl_below_them():
    points = np.random.default_rng(3).random((30, 2))
    steps = (np.round(6 * (points - [0.42, 0.61])) ** 2).sum(axis=1)
    warped, plain = (fit(points, steps, np.zeros(30), np.arange(2), is_plain=is_plain) for is_plain in (False, True))
    assert plain.scales[-1] > warped.scales[-1] + 1
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 50), np.linspace(0, 1, 50)), axis=-1).reshape(-1, 2)
    lowest = grid[np.argmin(plain.predict(grid)[0])]
    assert np.abs(lowest - [0.42, 0.61]).max() < 1 / 12


@pytest.mark.parametrize("near", [None, 0.1])
def test_the_slope_of_a_warp_is_that_of_differences(near):
    outputs = np.random.default_rng(1).lognormal(size=12)
    warp, step = Warp.fit(outputs, near), 1e-6
    inside = outputs[outputs > outputs.min()]  # at its centre the second derivative jumps
    slopes = (warp.apply(inside + step) - warp.apply(inside - step)) / (2 * step)
    assert warp.log_slope(inside) == pytest.approx(np.log(slopes).sum(), abs=1e-4)
