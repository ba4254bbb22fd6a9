"""Instances by published recipes, and the heuristics that the solver is compared with."""

import numpy as np
import pytest

from benchmarks import vectors
from ci.placement.packing.problem import Problem


@pytest.mark.parametrize("kind", vectors.CLASSES)
def test_a_recipe_gives_the_same_tasks_again_all_different_and_each_fits_on_a_node(kind):
    problem, again = vectors.draw(kind, 60, 5, 3), vectors.draw(kind, 60, 5, 3)
    assert problem.requests.shape == (60, 5)
    assert (problem.requests == again.requests).all()
    assert len(np.unique(problem.requests, axis=0)) == 60
    assert (problem.requests <= problem.free[0]).all()
    assert problem.requests.min() > 0


def test_triplets_fill_their_nodes():
    problem = vectors.draw(vectors.TRIPLETS, 61, 3, 0)
    assert (problem.requests[:60].sum(axis=0) == 20 * problem.free[0]).all()


def test_what_is_correlated_is():
    same, against = (np.corrcoef(vectors.draw(kind, 500, 2, 0).requests.T)[0, 1] for kind in vectors.PAIRED)
    assert same > 0.9
    assert against < -0.9


@pytest.mark.parametrize("name", vectors.PEERS)
def test_a_heuristic_counts_the_nodes_of_a_plan(name):
    heuristic = vectors.PEERS[name]
    assert heuristic(Problem.of(np.full((5, 2), 4), np.full((5, 2), 10))) == 3
    assert heuristic(Problem.of([[9, 1], [1, 9], [9, 1], [1, 9]], np.full((4, 2), 10))) == 2
    problem = vectors.draw(1, 40, 3, 0)
    assert problem.requests.sum(axis=0).max() / 1000 <= heuristic(problem) <= 20


def test_shares_are_of_the_instances_that_they_are_about():
    found = {"class 1, 40 x 3, seed 0": (5, 5), "class 2, 100 x 3, seed 0": (9, 8), "class 3, 100 x 3, seed 0": (7, 7)}
    best = {"class 1, 40 x 3, seed 0": 5, "class 2, 100 x 3, seed 0": 8, "class 3, 100 x 3, seed 0": 8}
    values = [(line.value, line.holds) for line in vectors.lines(found, best)]
    assert all(type(value) is float and type(holds) is bool for value, holds in values)
    assert values == [(0.5, False), (0.5, True), (0.5, True), (1.0, True), (1.0, True)]
