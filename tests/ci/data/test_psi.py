"""Bins of numbers, the digits of predictions that count, and the index itself, by numbers worked out by hand."""

from math import log

import numpy as np
import pytest

from ci.data.psi import Bins, bins, psi, significant


def test_an_index_is_what_the_formula_gives():
    many = (10**9, 10**9)
    found = psi(np.array([0.5, 0.5]), np.array([0.9, 0.1]), many)
    assert found == pytest.approx(0.4 * log(1.8) - 0.4 * log(0.2), abs=1e-6)
    assert psi(np.array([0.5, 0.5, 0.0]), np.array([0.9, 0.1, 0.0]), many) == pytest.approx(found), "empty in both"


def test_half_a_row_is_added_to_each_bin_that_is_used():
    """Of ten rows each, (5, 5, 0) and (9, 0, 1) become (5.5, 5.5, 0.5) and (9.5, 0.5, 1.5) of 11.5."""
    reference, window = np.array([0.5, 0.5, 0.0, 0.0]), np.array([0.9, 0.0, 0.1, 0.0])
    r, w = np.array([5.5, 5.5, 0.5]) / 11.5, np.array([9.5, 0.5, 1.5]) / 11.5
    assert psi(reference, window, (10, 10)) == pytest.approx(np.sum((w - r) * np.log(w / r)))
    fewer = np.array([18.5, 0.5, 2.5]) / 21.5  # of 20 rows in the window
    assert psi(reference, window, (10, 20)) == pytest.approx(np.sum((fewer - r) * np.log(fewer / r)))


def test_numbers_without_mass_have_ten_bins_of_equal_mass():
    numbers = np.arange(1000.0)
    found = bins(np.random.default_rng(0).permutation(numbers))
    assert (len(found.edges), found.values, found.number) == (9, [], 10)
    assert np.bincount(found.place(numbers)).tolist() == [100] * 10


@pytest.mark.parametrize(
    ("times", "of", "heavy"),
    [(10, 100, True), (9, 100, False), (5, 40, True), (4, 20, False), (5, 51, False), (5, 50, True)],
)
def test_a_number_of_a_tenth_of_five_rows_at_least_has_a_bin_of_its_own(times, of, heavy):
    numbers = np.append(np.full(times, 0.25), np.arange(1.0, of - times + 1))
    assert bins(numbers).values == ([0.25] if heavy else [])


@pytest.mark.parametrize(
    ("distinct", "times", "each", "own"),
    [(30, 5, True, 30), (31, 5, True, 0), (30, 4, True, 0), (12, 5, False, 0), (12, 5, True, 12)],
)
def test_few_whole_numbers_that_are_often_there_have_a_bin_each(distinct, times, each, own):
    assert len(bins(np.repeat(np.arange(distinct), times), each=each).values) == own


def test_beside_heavy_numbers_the_others_share_bins_in_proportion_and_two_at_least():
    half = np.append(np.zeros(500), np.arange(1.0, 501))
    assert len(bins(half).edges) == 4
    few = np.append(np.zeros(950), np.arange(1.0, 51))
    assert len(bins(few).edges) == 1
    one = bins(np.append(np.zeros(99), 7.0))
    assert (one.edges, one.values) == ([], [0.0])
    two = bins(np.append(np.zeros(98), [7.0, 8.0]))
    assert (two.edges, two.values) == ([8.0], [0.0])


def test_a_number_on_an_edge_lies_above_it_and_one_with_its_own_bin_in_that():
    found = Bins([1.0, 2.0], [1.5, 3.0])
    assert found.number == 5
    assert found.place(np.array([0.9, 1.0, 1.4, 1.5, 1.6, 2.0, 3.0, 4.0])).tolist() == [0, 1, 1, 3, 1, 2, 4, 2]
    assert Bins([], []).place(np.array([5.0])).tolist() == [0]


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        (0.123456789, 0.123457),
        (-0.123456789, -0.123457),
        (0.1234564, 0.123456),
        (123456789.0, 123457000.0),
        (9.9999996, 10.0),
        (1.0000004, 1.0),
        (1.0000006, 1.00000),
        (1.000006, 1.00001),
        (0.0, 0.0),
        (1e-320, 0.0),
        (1.234567e-30, 1.23457e-30),
    ],
)
def test_six_digits_of_a_number_count(number, kept):
    assert significant(np.array([number]))[0] == pytest.approx(kept, rel=1e-12, abs=0)
