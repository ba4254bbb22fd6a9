"""Bounds follow from prices whoever made them, and never exceed the optimum."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.placement.certificate import Certificate, lower_bound
from ci.placement.model import Problem, plain

PROBLEM = Problem.of(np.array([[6], [6], [6], [4]]), np.array([[10]] * 5))


def test_prices_of_a_good_proof_give_the_optimum():
    assert lower_bound(PROBLEM, Certificate(1, (1, 1, 1, 0), units={0: 1})) == 3


def test_weights_give_the_covering_bound():
    weights = (Fraction(1, 10),)
    assert lower_bound(PROBLEM, Certificate(10, (6, 6, 6, 4), tuple(10 * w for w in weights))) == 3


def test_prices_too_high_are_scaled_down_and_negative_ones_prove_nothing():
    assert lower_bound(PROBLEM, Certificate(1, (5, 5, 5, 0), units={0: 1})) == 3
    assert lower_bound(PROBLEM, Certificate(1, (5, 5, 5, -1), units={0: 1})) == 0


def test_how_many_tasks_must_stay_without_a_node():
    problem = Problem.of(np.array([[6], [6], [6], [20]]), np.array([[10]] * 2))
    assert lower_bound(problem, Certificate(1, (1, 1, 1, 1), units={0: 1}), unplaced=True) == 2


def test_prices_above_one_are_scaled_down_before_they_say_who_stays_without_a_node():
    # Ten tasks of 6 on one node of 10: nine are left over, whatever the prices' unit.
    problem = Problem.of(np.array([[6]] * 10), np.array([[10]]))
    for price in (1, 2, 7):
        assert lower_bound(problem, Certificate(1, (price,) * 10, units={0: 1}), unplaced=True) == 9


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_no_prices_prove_more_tasks_left_over_than_there_must_be(data):
    sizes = data.draw(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=6))
    problem = Problem.of(np.array(sizes), np.array([[10, 10]] * 2))
    prices = tuple(data.draw(st.integers(0, 40)) for _ in sizes)
    proof = Certificate(10, prices, units={0: 1, 1: 1})
    assert lower_bound(problem, proof, unplaced=True) <= len(plain(problem, 10).unplaced)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_no_prices_prove_more_than_the_optimum(data):
    sizes = data.draw(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5))
    problem = Problem.of(np.array(sizes), np.array([[10, 10]] * 5))
    prices = tuple(data.draw(st.integers(0, 12)) for _ in sizes)
    units = data.draw(st.sampled_from([{0: 1}, {1: 2}, {0: 3, 1: 1}]))
    weights = data.draw(st.sampled_from([(), (Fraction(1, 2), Fraction(1, 3))]))
    assert lower_bound(problem, Certificate(10, prices, weights, units)) <= plain(problem, 10).objective
