"""Challenger against champion on made-up holdouts whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from ci.quality import metrics
from ci.quality.compare import Scored, compare, measure, slices
from ci.settings import Gates

GATES = Gates(slice_min_rows=100, resamples=1000)


def holdout(challenger_noise, champion_noise, days=14, rows=400, seed=0):
    """Flights whose chance of being late is known; each model sees it through noise."""
    random = np.random.default_rng(seed)
    chance = random.normal(size=days * rows)
    targets = (random.normal(size=days * rows) + chance > 1).astype(float)
    seen = [chance + noise * random.normal(size=days * rows) for noise in (challenger_noise, champion_noise)]
    day = np.repeat(np.arange(days), rows)
    table = pd.DataFrame({"origin": random.choice(["EWR", "JFK"], days * rows)})
    return table, Scored(targets, day, *(1 / (1 + np.exp(-value)) for value in seen))


def compared(scored):
    counts = metrics.resamples(scored.days, GATES.resamples, 1)
    return compare(scored, [], GATES, counts)[0]


def test_a_clearly_better_challenger_is_better_in_nearly_all_resamples():
    better = compared(holdout(0.2, 1.0)[1])
    assert better.gain > 0.03
    assert better.share_better > 0.99


def test_the_same_pair_swapped_gives_the_opposite_answer():
    scored = holdout(0.2, 1.0)[1]
    there = compared(scored)
    back = compared(Scored(scored.targets, scored.days, scored.champion, scored.challenger))
    assert back.gain == pytest.approx(-there.gain)
    assert back.share_better == pytest.approx(1 - there.share_better)


def test_a_model_is_never_better_than_itself():
    scored = holdout(0.2, 1.0)[1]
    same = compared(Scored(scored.targets, scored.days, scored.challenger, scored.challenger))
    assert same.gain == 0
    assert same.share_better == 0


def test_a_slice_that_got_much_worse_is_named_and_an_equal_one_is_not():
    table, scored = holdout(0.3, 0.3)
    spoiled = (table["origin"] == "JFK").to_numpy()
    random = np.random.default_rng(5)
    challenger = np.where(spoiled, random.uniform(size=len(table)), scored.challenger)
    rows = slices(table, ["origin"], Scored(scored.targets, scored.days, challenger, scored.champion), GATES, 1)
    assert {row["slice"]: row["worse"] for row in rows} == {"EWR": False, "JFK": True}


def test_slices_that_are_too_small_are_left_out():
    table, scored = holdout(0.3, 0.3)
    table.loc[:50, "origin"] = "LGA"
    assert {row["slice"] for row in slices(table, ["origin"], scored, GATES, 1)} == {"EWR", "JFK"}


def test_the_interval_covers_the_value_and_is_wider_for_fewer_days():
    widths = []
    for days in (7, 28):
        scored = holdout(0.5, 0.5, days=days, seed=2)[1]
        value = measure("auc", scored, metrics.resamples(scored.days, 1000, 1))
        assert value["low"] < value["value"] < value["high"]
        widths.append(value["high"] - value["low"])
    assert widths[0] > widths[1]
