"""Expected improvement against numerical integrals, and its greatest point against differences."""

from dataclasses import dataclass

import keras_tuner
import numpy as np
import pytest
from scipy import integrate

from ci.tuning.bayes import acquisition
from ci.tuning.bayes.gaussian_process import Posterior, fit
from ci.tuning.bayes.space import Space


def integral(z: float) -> float:
    """Logarithm of E[max(z - u, 0)], u standard normal: φ(z) ∫ t exp(-t²/2 + zt) dt, whose factor stays a logarithm."""
    scale = max(1.0, -z)
    value, _ = integrate.quad(lambda s: s / scale**2 * np.exp(-((s / scale) ** 2) / 2 + z * s / scale), 0, 60)
    return np.log(value) - z**2 / 2 - np.log(2 * np.pi) / 2


@pytest.mark.parametrize("z", [2.0, 0.5, 0.0, -0.9, -1.0, -1.1, -5.0, -40.0, -99.0, -101.0, -1e3])
def test_log_h_is_the_logarithm_of_the_expectation(z):
    assert acquisition.log_h(np.array(z)) == pytest.approx(integral(z), rel=1e-6, abs=1e-6)


def test_log_h_grows_everywhere_where_the_expectation_itself_is_0():
    z = -np.logspace(6, -2, 2000)
    assert np.all(np.diff(acquisition.log_h(z)) > 0)
    assert np.all(np.isfinite(acquisition.log_h(z)))


def valley(seed: int) -> tuple[Posterior, Space]:
    """A process that has seen a dozen points of a smooth valley, and its space."""
    hp = keras_tuner.HyperParameters()
    for name in "xyz":
        hp.Float(name, 0, 1)
    space, rng = Space(hp), np.random.default_rng(seed)
    rows = rng.random((12, 3))
    objectives = ((rows - [0.3, 0.6, 0.5]) ** 2 * [1, 3, 0.2]).sum(axis=1)
    return fit(space.embed(rows), objectives, np.zeros(12), space.group), space


@pytest.mark.parametrize("exploration", [1.0, 0.3])
def test_expected_improvement_is_that_of_the_process_with_less_deviation_if_it_explores_less(exploration):
    posterior, space = valley(0)
    points = space.embed(np.random.default_rng(5).random((6, 3)))
    logarithms = acquisition.log_expected_improvement(posterior, points, exploration)
    for mean, whole, found in zip(*posterior.predict(points), logarithms, strict=True):
        deviation = exploration * whole
        assert found == pytest.approx(np.log(deviation) + integral((posterior.best - mean) / deviation), abs=1e-6)


@pytest.mark.parametrize(("seed", "exploration"), [(0, 1.0), (1, 1.0), (2, 0.3), (3, 0.15)])
def test_a_climb_ends_where_no_direction_leads_higher(seed, exploration):
    posterior, space = valley(seed)

    def height(row: np.ndarray) -> float:
        return float(acquisition.log_expected_improvement(posterior, row[None], exploration)[0])

    for start in np.random.default_rng(seed).random((4, 3)):
        end = acquisition._climb(posterior, space, start, exploration)
        assert height(end) >= height(start)
        steps = 1e-4 * np.concatenate([np.eye(3), -np.eye(3)])
        assert max(height(np.clip(end + step, 0, 1)) for step in steps) < height(end) + 1e-5


@pytest.mark.parametrize(("seed", "exploration"), [(0, 1.0), (1, 0.15), (2, 0.3)])
def test_the_best_candidate_is_better_than_any_of_many_drawn_at_random(seed, exploration):
    posterior, space = valley(seed)
    rng = np.random.default_rng(seed)
    best = acquisition.ranked(posterior, space, rng.random((2, 3)), rng, exploration)[:1]
    drawn = acquisition.log_expected_improvement(posterior, space.embed(rng.random((20_000, 3))), exploration)
    assert acquisition.log_expected_improvement(posterior, space.embed(best), exploration)[0] > drawn.max()


@dataclass
class Wrong:
    """A process of which only the error counts."""

    error: float


@pytest.mark.parametrize(("error", "exploration"), [(0.0, 0.3), (0.15, 0.3), (0.2, 0.4), (0.5, 1.0), (3.0, 1.0)])
def test_the_better_a_process_predicts_the_less_is_explored(error, exploration):
    assert acquisition.exploration_after(Wrong(error)) == pytest.approx(exploration)


def test_where_there_are_many_hyperparameters_half_of_the_points_near_a_good_one_differ_from_it_in_few():
    hp = keras_tuner.HyperParameters()
    for number in range(12):
        hp.Float(f"x{number}", 0, 1)
    rows = acquisition._around(Space(hp), np.full((4, 12), 0.5), (0.02,), np.random.default_rng(0))
    moved = (rows != 0.5).sum(axis=1)
    assert (moved[1::2] == 12).all()
    assert 1 <= moved[::2].min() <= moved[::2].mean() < 5


def test_what_lies_between_equal_trials_is_off_but_equals_far_apart_tell_nothing():
    trials = np.array([[0.1, 0.1], [0.15, 0.1], [0.9, 0.9], [0.4, 0.6]])
    objectives = np.array([1.0, 1.0, 1.0, 0.5])
    points = np.array([[0.12, 0.12], [0.3, 0.1], [0.9, 0.91], [0.4, 0.61]])
    assert acquisition.off_plateaus(points, trials, objectives, 2).tolist() == [False, True, True, True]
