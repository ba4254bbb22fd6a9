"""Bounds follow from prices whoever made them, and never exceed the optimum."""

import itertools
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.placement.packing import certificate
from ci.placement.packing.certificate import Certificate, flaws, lower_bound, recheck, record
from ci.placement.packing.problem import Problem

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


def optimum(problem: Problem) -> tuple[int, int]:
    """Return how many nodes a plan with all tasks needs (all and one more: there is none), and the fewest left over."""
    tasks, nodes, zoned = len(problem.requests), len(problem.free), list(problem.zoned)
    plans = np.array(list(itertools.product(range(-1, nodes), repeat=tasks)))
    on = plans[:, :, None] == np.arange(nodes)
    asked = np.einsum("pij,ir->pjr", on.astype(int), problem.requests)
    together = (problem.zone[:, None] == problem.zone).astype(int)
    asked[:, :, zoned] = np.einsum("jk,pkr->pjr", together, asked[:, :, zoned])
    fits = (asked <= problem.free).all(axis=(1, 2)) & ~(on & ~problem.allowed[problem.rule]).any(axis=(1, 2))
    left, used = tasks - on.sum(axis=(1, 2)), on.any(axis=1).sum(axis=1)
    return int(used[fits & (left == 0)].min(initial=nodes + 1)), int(left[fits].min())


@st.composite
def proofs(draw):
    """A tiny problem, with rules and a resource that zones share, and prices of which many are a hair off."""
    tasks, nodes, unit = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.sampled_from([2, 3, 5, 7]))
    # Around the multiples of the unit, where rounding the wrong way counts.
    amount = st.builds(lambda times, off: max(0, times * unit + off), st.integers(0, 3), st.integers(-1, 1))
    requests = [[draw(amount), draw(amount), draw(st.integers(0, 1))] for _ in range(tasks)]
    zone, shared = [draw(st.integers(0, 1)) for _ in range(nodes)], [draw(st.integers(0, 2)) for _ in range(2)]
    free = [[draw(amount) + unit, draw(amount) + unit, shared[z]] for z in zone]
    problem = Problem(
        requests=np.array(requests),
        free=np.array(free),
        resources=("a", "b", "group per zone"),
        rule=np.array([draw(st.integers(0, 1)) for _ in range(tasks)]),
        allowed=np.array([[draw(st.integers(0, 3)) > 0 for _ in range(nodes)] for _ in range(2)]),
        zone=np.array(zone),
        zoned=(2,),
        preferred=np.zeros(nodes, dtype=bool),
    )
    scale = draw(st.sampled_from([1, 3, 7, 12, 10**9 + 7]))
    price = st.builds(lambda part, off: max(0, scale * part // 6 + off), st.integers(0, 8), st.integers(-1, 1))
    weight = st.builds(lambda part, per: Fraction(scale * part, 6 * per), st.integers(0, 6), st.integers(1, 9))
    weights = draw(st.one_of(st.just(()), st.tuples(weight, weight, weight)))
    units = draw(st.dictionaries(st.sampled_from([0, 1, 2]), st.sampled_from([1, unit, unit + 1]), max_size=3))
    fees = draw(st.dictionaries(st.tuples(st.integers(0, 2), st.just(2)), price, max_size=2))
    listed = draw(st.booleans())
    return problem, Certificate(scale, tuple(draw(price) for _ in range(tasks)), weights, units, fees, listed)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(proofs())
def test_no_prices_prove_more_than_trying_all_plans_finds(given_):
    problem, proof = given_
    nodes, left = optimum(problem)
    # Once as it is, and once as if all limits were tiny, so that everything is looked at in the coarsest way.
    for limits in (
        {"_PAIRS": 10**9},
        {"_CELLS": 3, "_LISTED": 9, "_STEP": 1},
        {"_ONCE": 2},
        {"_PAIRS": 0, "_FREES": 1},
    ):
        with mock.patch.multiple(certificate, **limits):
            assert lower_bound(problem, proof, unplaced=True) <= left
            assert left or lower_bound(problem, proof) <= nodes


@pytest.mark.parametrize(
    ("requests", "free", "proof", "nodes"),
    [
        # Two tasks of 4 fill a node of 8, though 4 is more than one unit of 3 and 8 is less than three.
        ([[4]] * 2, 8, Certificate(1, (1, 1), units={0: 3}), 1),
        ([[3]] * 3, 8, Certificate(1, (1, 1, 1), units={0: 3}), 2),
        # Thirty tenths are three, and no float's three and a bit.
        ([[1]] * 30, 10, Certificate(10, (1,) * 30, units={0: 1}), 3),
        ([[1]] * 30, 10, Certificate(10, (1,) * 30, (Fraction(1),)), 3),
        # Three prices are a hair more than the weights say: what is beyond them counts for the node as well.
        ([[1]] * 3, 3, Certificate(10**6, (333_334,) * 3, (Fraction(10**6, 3),)), 1),
        # A hair less than two nodes' worth still needs two; a hair less than one, one.
        ([[1]] * 4, 2, Certificate(10**12, (5 * 10**11 - 1,) * 4, (Fraction(5 * 10**11),)), 2),
        # What the tasks ask of a resource without an axis limits how many are on a node together.
        ([[1, 5]] * 4, 10, Certificate(1, (1,) * 4, units={0: 1}), 2),
        # Of two bounds for a node the smaller one counts, whichever it is.
        ([[6]] * 3, 10, Certificate(10, (10,) * 3, (Fraction(1),), {0: 1}), 3),
        ([[5]] * 4, 10, Certificate(10, (5,) * 4, (Fraction(1),), {0: 6}), 2),
        ([[2]] * 30, 20, Certificate(10, (1,) * 30, (Fraction(1, 2),)), 3),
        # Listed, a node holds one of three tasks that each ask for most of another resource, or two of the last.
        ([[6, 1], [1, 6], [6, 6]], 10, Certificate(6, (3, 3, 6), (Fraction(1, 4), Fraction(1, 4)), listed=True), 2),
        ([[4]] * 5, 9, Certificate(2, (1,) * 5, (Fraction(2, 9),), listed=True), 3),
        ([[3]] * 7, 9, Certificate(2, (1,) * 7, (Fraction(1, 3),), listed=True), 3),
        # Weights that say nothing list everything, and without weights nothing is listed.
        ([[4]] * 5, 9, Certificate(2, (1,) * 5, (Fraction(0),), listed=True), 3),
        ([[4]] * 5, 9, Certificate(2, (1,) * 5, listed=True), 1),
        # Weights too large to be added up prove nothing.
        ([[4]] * 5, 9, Certificate(2, (1,) * 5, (Fraction(2**61),), listed=True), 1),
        # No axis and no weight: a node may hold all tasks.
        ([[6]] * 3, 10, Certificate(1, (1,) * 3), 1),
    ],
)
def test_each_way_of_rounding_is_the_one_that_never_proves_too_much(requests, free, proof, nodes):
    problem = Problem.of(np.array(requests), np.full((5, len(requests[0])), free))
    assert lower_bound(problem, proof) == nodes


def test_any_number_of_alike_tasks_may_be_on_a_node():
    problem = Problem.of(np.array([[1]] * 10), np.array([[2], [4], [2]]))
    assert lower_bound(problem, Certificate(1, (1,) * 10, units={0: 1}), unplaced=True) == 2


def test_rules_keep_tasks_from_nodes_and_tasks_of_other_rules_count_together():
    problem = Problem.of(np.array([[1]] * 4), np.array([[4]] * 4))
    both = replace(problem, rule=np.array([0, 0, 1, 1]), allowed=np.ones((2, 4), dtype=bool))
    proof = Certificate(4, (1,) * 4, units={0: 1})
    assert lower_bound(both, proof) == 1
    apart = replace(both, allowed=np.array([[True, True, False, False], [False, False, True, True]]))
    assert lower_bound(apart, Certificate(2, (1,) * 4, units={0: 1})) == 2


def test_large_nodes_count_first_and_small_ones_for_the_rest():
    problem = Problem.of(np.array([[1]] * 10), np.array([[4], [4], *[[1]] * 10]))
    assert lower_bound(problem, Certificate(1, (1,) * 10, units={0: 1})) == 4


def test_prices_are_scaled_by_what_proves_most_though_smaller_nodes_come_after():
    """Four tasks of half a large node need two of three; counting the small node's worth as one would prove one."""
    problem = Problem.of(np.array([[5]] * 4), np.array([[10], [10], [10], [5]]))
    assert lower_bound(problem, Certificate(10, (5,) * 4, units={0: 1})) == 2


def test_a_part_of_a_task_left_over_is_a_task_left_over():
    problem = Problem.of(np.array([[6]] * 3), np.array([[10]]))
    assert lower_bound(problem, Certificate(3, (2, 2, 3), (Fraction(1, 2),)), unplaced=True) == 1


def zones() -> tuple[Problem, Certificate]:
    """Four tasks, of which each of two zones takes one: two are left over, and fees of a node's worth show it."""
    free = np.array([[9, 1]] * 4)
    problem = Problem.of(np.array([[1, 1]] * 4), free)
    problem = replace(problem, zone=np.array([0, 0, 1, 1]), zoned=(1,))
    return problem, Certificate(4, (4,) * 4, units={0: 1}, fees={(0, 1): 4, (1, 1): 4})


def test_fees_prove_what_zones_share():
    problem, proof = zones()
    assert lower_bound(problem, proof, unplaced=True) == 2
    # With lower fees the nodes' own room has to show it: one task each.
    problem = replace(problem, free=np.array([[1, 1]] * 4))
    assert lower_bound(problem, replace(proof, fees={(0, 1): 3, (1, 1): 3}), unplaced=True) == 2


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        (lambda problem, proof: (problem, replace(proof, fees={(0, 1): -40})), "prices, weights or fees are negative"),
        (
            lambda problem, proof: (problem, replace(proof, prices=(4, 4, 4, -1))),
            "prices, weights or fees are negative",
        ),
        (
            lambda problem, proof: (problem, replace(proof, weights=(Fraction(0), Fraction(-9)))),
            "prices, weights or fees are negative",
        ),
        (lambda problem, proof: (replace(problem, free=-problem.free), proof), "amounts are negative"),
        (lambda problem, proof: (replace(problem, requests=-problem.requests), proof), "amounts are negative"),
        (lambda problem, proof: (problem, replace(proof, scale=-4)), "the scale or a unit is less than 1"),
        (lambda problem, proof: (problem, replace(proof, scale=0)), "the scale or a unit is less than 1"),
        (lambda problem, proof: (problem, replace(proof, units={0: -1})), "the scale or a unit is less than 1"),
        (
            lambda problem, proof: (problem, replace(proof, fees={(0, 0): 4})),
            "a fee is for a resource that no zone shares",
        ),
        (lambda problem, proof: (problem, replace(proof, weights=(Fraction(1),))), "the weights are not one for each"),
    ],
)
def test_what_is_no_proof_proves_nothing_and_says_why(change, flaw):
    problem, proof = change(*zones())
    for unplaced in (True, False):
        assert lower_bound(problem, proof, unplaced=unplaced) == 0
    assert any(each.startswith(flaw) for each in flaws(problem, proof))


def test_a_zone_shares_the_most_that_a_record_says_of_it_and_one_without_nodes_nothing():
    problem, proof = zones()
    forged = replace(problem, free=np.array([[9, 0], [9, 1], [9, 0], [9, 1]]))
    assert lower_bound(forged, proof, unplaced=True) == 2
    assert lower_bound(problem, replace(proof, fees={**proof.fees, (7, 1): 4}), unplaced=True) == 2


@pytest.mark.parametrize("unit", [1, 64 * 2**20])
def test_tables_are_as_large_as_what_is_asked_for_not_as_what_is_free(unit):
    """All tasks ask for 9 GiB; one node has far more than that, and a table of all it has would be terabytes."""
    gib = 2**30
    problem = Problem.of(np.array([[3 * gib, 2]] * 3), np.array([[2**61, 2**61], [4 * gib, 4]]))
    assert lower_bound(problem, Certificate(1, (1, 1, 1), units={0: unit, 1: 1})) == 1
    small = Problem.of(np.array([[3 * gib, 2]] * 3), np.array([[4 * gib, 4]] * 3))
    assert lower_bound(small, Certificate(1, (1, 1, 1), units={0: unit, 1: 1})) == 3


def test_many_resources_of_many_units_are_checked_in_little_memory_and_prove_less():
    problem = Problem.of(np.full((40, 70), 10**6), np.full((3, 70), 10**9))
    assert lower_bound(problem, Certificate(1, (1,) * 40, units=dict.fromkeys(range(70), 1))) == 1


def test_more_kinds_than_can_be_looked_at_one_by_one_are_looked_at_together():
    random = np.random.default_rng(0)
    problem = Problem.of(random.integers(1, 9, (1500, 1)), np.full((1500, 1), 10))
    problem = replace(problem, allowed=np.eye(1500, dtype=bool), rule=np.arange(1500))
    proof = Certificate(10, tuple(problem.requests[:, 0].tolist()), (Fraction(1),))
    assert lower_bound(problem, proof) == -(-int(problem.requests.sum()) // 10)


def test_more_patterns_than_can_be_listed_are_bounded_by_what_they_could_become():
    random = np.random.default_rng(0)
    problem = Problem.of(random.integers(20, 60, (30, 4)), np.full((30, 4), 100))
    prices = tuple((problem.requests.max(axis=1) > 33).astype(int).tolist())
    proof = Certificate(2, prices, (Fraction(1, 100),) * 4, listed=True)
    whole, shown = lower_bound(problem, proof), []
    for listed in (10**6, 3000, 300, 30):
        with mock.patch.multiple(certificate, _LISTED=listed, _STEP=1):
            shown.append(lower_bound(problem, proof))
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == whole > shown[-1] > 0
    with mock.patch.object(certificate, "_ONCE", 5):
        assert lower_bound(problem, proof) == whole


def test_a_list_in_parts_finds_what_is_worth_most_on_a_node_in_the_least_hopeful_part_too():
    """The task of 5 leads to 13 if what does not fit is not looked at, those of 4 to the 8 that they are worth."""
    offered = Counter({(5, (9,)): 1, (4, (5,)): 2})
    proof = Certificate(7, (5, 4, 4), (Fraction(0),), listed=True)
    for once in (1, 10**6):
        with mock.patch.object(certificate, "_ONCE", once):
            assert certificate._by_list(offered, [(10,)], proof, 1) == [8]


@pytest.mark.parametrize("listed", [1, 2, 1000])
def test_a_list_that_is_cut_short_counts_what_could_still_follow(listed):
    """All four tasks fit on one node, though the weights show a node no more than four of their twelve parts."""
    problem = Problem.of(np.array([[1]] * 4), np.array([[4]] * 5))
    with mock.patch.multiple(certificate, _LISTED=listed, _STEP=1):
        assert lower_bound(problem, Certificate(4, (3,) * 4, (Fraction(1),), listed=True)) == 1


def test_tasks_that_ask_for_nothing_are_listed_in_time():
    problem = Problem.of(np.zeros((3000, 1), dtype=int), np.full((2, 1), 1))
    assert lower_bound(problem, Certificate(1, (1,) * 3000, (Fraction(0),), listed=True)) == 1


def recorded(**changes):
    """A plan of three nodes for four pods, with the proof that fewer are not enough; some of its keys changed."""
    proof = record(PROBLEM, Certificate(1, (1, 1, 1, 0), units={0: 1}), unplaced=False)
    plan = {"a": "n", "b": "m", "c": "o", "d": "n"}
    return {
        "certificate": {**proof, **changes.pop("certificate", {})},
        "plan": plan,
        "objective": 3,
        "bound": 3,
    } | changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"bound": 2}, ["3 nodes proven, a bound of 2 and 3 nodes used cannot all be true"]),
        ({"bound": 4}, ["3 nodes proven, a bound of 4 and 3 nodes used cannot all be true"]),
        ({"objective": 2}, ["the plan uses 3 nodes, not 2"]),
        ({"certificate": {"proves": 2}}, ["the certificate proves 3, not 2"]),
        ({"certificate": {"prices": [1, 1, 0, 0]}}, ["the certificate proves 2, not 3"]),
        (
            {"certificate": {"unplaced": True, "proves": 0}},
            ["the certificate is about another question than the plan answers"],
        ),
        (
            {"plan": {"a": "n", "b": "m", "c": "o"}},
            ["the certificate is about another question than the plan answers"],
        ),
        (
            {"plan": dict.fromkeys("abcd", "n"), "objective": 1},
            ["3 nodes proven, a bound of 3 and 1 nodes used cannot"],
        ),
        (
            {"certificate": {"prices": [1, 1, 1, -1], "proves": 0}},
            ["prices, weights or fees are negative"],
        ),
    ],
)
def test_a_record_is_held_to_what_it_proves_and_to_the_plan_beside_it(changes, said):
    found = recheck(recorded(**changes))
    assert len(found) == len(said)
    assert all(each.startswith(words) for each, words in zip(found, said, strict=True)), found


def test_of_a_plan_that_leaves_pods_over_the_record_proves_how_many():
    problem = Problem.of(np.array([[6], [6], [6], [20]]), np.array([[10]] * 2))
    proof = record(problem, Certificate(1, (1, 1, 1, 1), units={0: 1}), unplaced=True)
    document = {"certificate": proof, "plan": {"a": "n", "b": "m"}, "objective": 2, "bound": 2}
    assert proof["proves"] == 2
    assert recheck(document) == []
    assert recheck({**document, "objective": 1}) == ["the plan uses 2 nodes, not 1"]


@pytest.mark.parametrize(
    "change",
    [
        {"units": [[1, 1]]},
        {"weights": ["1/0"]},
        {"weights": ["0.5"]},
        {"weights": [1]},
        {"prices": [1, 1, 1]},
        {"prices": [1, 1, 1, 0.5]},
        {"prices": [1, 1, 1, True]},
        {"scale": 1.5},
        {"requests": [[6], [6], [6]]},
        {"rule": [0, 0, 0, 1]},
        {"rule": [0, 0, 0, -1]},
        {"zoned": [1]},
        {"allowed": [[True]]},
        {"allowed": [[1, 1, 1, 1, 1]]},
    ],
    ids=str,
)
def test_a_record_that_is_not_whole_or_of_other_shapes_is_no_proof(change):
    with pytest.raises((LookupError, ValueError, TypeError, ArithmeticError)):
        recheck(recorded(certificate=change))
