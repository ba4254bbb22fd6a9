"""Which trials are stopped, as a table."""

import math

import numpy as np
import pytest

from ci.tuning.bayes.halving import Halving, expected

GOOD, FAIR, LATE = [0.5, 0.4, 0.3, 0.2], [0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.1]


@pytest.mark.parametrize(
    ("curve", "others", "options", "stops"),
    [
        ([1.0], [GOOD] * 5, {}, False),  # before the first rung
        ([1.0, 0.9], [GOOD] * 5, {}, True),
        ([1.0, 0.9, 0.8], [GOOD] * 5, {}, False),  # between two rungs
        ([1.0, 0.9, 0.8, 0.7], [GOOD] * 5, {}, True),
        ([1.0, 0.9, 0.8, 0.7], [GOOD] * 5, {"last": 4}, False),  # it is complete
        ([1.0, 0.9, 0.8, 0.7], [GOOD] * 5, {"last": 8}, True),
        ([1.0, 0.9], [GOOD] * 2, {}, False),  # too few have got there
        ([1.0, 0.9], [GOOD] * 3, {}, True),
        ([1.0, 0.9], [GOOD] * 2, {"crowd": 3}, True),
        ([1.0, 0.9], [[0.1]] * 9, {}, False),  # those that have not got there do not count
        ([0.7, 0.6], [GOOD, GOOD, FAIR, FAIR], {}, False),  # two of five are better
        ([0.7, 0.6], [GOOD, GOOD, GOOD, FAIR, FAIR], {}, True),  # three of six: not in the best half
        ([0.7, 0.6], [GOOD, GOOD, GOOD, FAIR, FAIR], {"keep": 0.6}, False),
        ([0.1, 5.0], [GOOD] * 5, {}, False),  # its best so far counts
        ([math.nan, math.nan], [GOOD] * 5, {}, True),
        ([0.4, 0.4], [[math.nan, math.nan]] * 5, {}, False),
        ([0.4, 0.4], [[0.4, 0.4]] * 5, {}, False),  # an objective that does not change stops nobody
        ([1.0, 0.9], [GOOD] * 5, {"last": 4}, True),  # it gains what the others gained, and ends at 0.7
        ([0.6, 0.55], [GOOD] * 4 + [LATE], {"last": 4}, False),  # one gained 0.7: this one may, too
        ([0.6, 0.55], [GOOD] * 4 + [LATE], {"last": 4, "hope": 0.0}, True),
        ([0.6, 0.55], [GOOD] * 4 + [LATE], {"last": 4, "hope": None}, True),
        ([0.6, 0.55], [GOOD] * 4 + [LATE], {"last": 8}, True),  # none is complete
    ],
)
def test_a_trial_stops_at_a_rung_where_enough_others_were_better(curve, others, options, stops):
    assert Halving(**options).stops(curve, others) is stops


def test_what_a_stopped_trial_would_have_reached_is_its_best_and_what_others_gained_afterwards():
    told = expected([0.9, 0.8], [[1.0, 0.5, 0.4], [0.7, 0.6, 0.3], [0.9, 0.9, math.nan]])
    assert told == (pytest.approx(0.8 - 0.1), pytest.approx(np.std([-0.1, -0.3, 0.0])))
    assert expected([math.nan], [[1.0, 0.5]]) is None
    assert expected([0.9], []) is None
