"""Challenger against champion on made-up holdouts whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from ci.quality import metrics
from ci.quality.compare import Scored, compare, measure, paired_gain, slices
from ci.settings.building import Gates

GATES = Gates(slice_min_rows=100, resamples=1000)


def holdout(challenger_noise, champion_noise, days=14, rows=400, seed=0):
    """Rows whose chance of being late is known; each model sees it through noise."""
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


def slice_losses(spoil, margin=0.03, seed=0, names=("origin", "carrier")):
    """Slices of two equally good models, of which the challenger is blurred on JFK by some noise."""
    table, scored = holdout(0.3, 0.3, rows=200, seed=seed)
    random = np.random.default_rng(seed + 1000)
    table["carrier"] = random.choice(list("ABCDEFGHIJ"), len(table))
    score = np.log(scored.challenger / (1 - scored.challenger))
    noise = np.where(table["origin"] == "JFK", spoil, 0.0) * random.normal(size=len(table))
    blurred = 1 / (1 + np.exp(-(score + noise)))
    settings = Gates(slice_min_rows=100, resamples=400, slice_margin=margin)
    return slices(table, names, Scored(scored.targets, scored.days, blurred, scored.champion), settings, seed)


def test_a_slice_is_worse_only_if_its_loss_exceeds_the_margin():
    for margin, worse in ((0.03, True), (0.5, False)):
        [row] = [row for row in slice_losses(1.0, margin, names=("origin",)) if row["slice"] == "JFK"]
        assert 0.03 < -row["gain"] < 0.5
        assert row["worse"] is worse


def test_a_slice_that_lost_a_tenth_is_found_among_many_and_equal_models_have_none_named_in_nine_of_ten_holdouts():
    found = [any(r["worse"] for r in slice_losses(1.2, seed=n) if r["slice"] == "JFK") for n in range(20)]
    assert sum(found) >= 19
    named = [any(row["worse"] for row in slice_losses(0.0, margin=0.0, seed=n)) for n in range(60)]
    assert sum(named) <= 12  # of 60, at a level of 0.9: more would come by chance once in fifty such tests


def test_with_few_days_the_share_of_better_resamples_is_less_sure_of_itself():
    """The spread for few days moves the share towards one half (Student's t where the resamples are normal)."""
    scored = holdout(0.5, 0.53, days=5, rows=300, seed=3)[1]
    counts = metrics.resamples(scored.days, 4000, 1)
    gains = metrics.gain("auc", *(
        metrics.by_day("auc", scored.targets, part, scored.days)(counts)
        for part in (scored.challenger, scored.champion)
    ))  # fmt: skip
    raw, share = float(np.mean(gains > 0)), compare(scored, [], GATES, counts)[0].share_better
    assert abs(share - 0.5) < abs(raw - 0.5) - 0.02


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


@pytest.mark.filterwarnings("error")
def test_a_slice_without_both_outcomes_is_told_of_and_judges_nothing():
    table, scored = holdout(0.3, 0.3)
    targets = np.where(table["origin"] == "JFK", 1.0, scored.targets)
    for champion in (None, scored.champion):
        rows = slices(table, ["origin"], Scored(targets, scored.days, scored.challenger, champion), GATES, 1)
        by_name = {row["slice"]: row for row in rows}
        assert by_name["JFK"]["problem"] == "every outcome is 1"
        assert by_name["JFK"]["value"] is by_name["JFK"]["low"] is None
        assert not by_name["JFK"].get("worse")
        assert by_name["JFK"].get("gain") is None
        assert by_name["EWR"]["value"] > 0.5
    one = slices(table[:0], ["origin"], scored.only(np.zeros(len(table), dtype=bool)), GATES, 1)
    assert one == []


@pytest.mark.filterwarnings("error")
def test_a_slice_whose_outcomes_differ_on_one_day_only_is_compared_where_it_can_be():
    table, scored = holdout(0.3, 0.3, days=4, rows=300)
    targets = np.where((table["origin"] == "JFK") & (scored.days > 0), 1.0, scored.targets)
    targets = np.where(table["origin"] == "EWR", 0.0, targets)
    rows = slices(table, ["origin"], Scored(targets, scored.days, scored.challenger, scored.champion), GATES, 1)
    by_name = {row["slice"]: row for row in rows}
    assert np.isfinite(by_name["JFK"]["gain"])
    assert by_name["EWR"]["gain"] is None


@pytest.mark.parametrize(
    "values",
    [
        ["EWR", None],
        [1.0, np.nan],
        pd.array([True, None], dtype="boolean"),
        pd.array([1, None], dtype="Int64"),
        pd.Categorical(["EWR", None]),
        [1, None],
        [1, "EWR"],
    ],
    ids=str,
)
def test_slices_by_a_column_with_gaps_or_of_mixed_types_hold_every_row_once(values):
    table, scored = holdout(0.3, 0.3)
    column = pd.Series(values).take(np.arange(len(table)) % 2).reset_index(drop=True)
    rows = slices(pd.DataFrame({"origin": column}), ["origin"], scored, GATES, 1)
    assert sum(row["rows"] for row in rows) == len(table)
    assert len({row["slice"] for row in rows}) == 2
    assert ("missing" in {row["slice"] for row in rows}) == column.isna().any()


def test_an_interval_is_that_of_as_many_days_as_there_are():
    scored = holdout(0.5, 0.5, days=7, seed=2)[1]
    counts = metrics.resamples(scored.days, 1000, 1)
    found = measure("auc", scored, counts)
    drawn = metrics.by_day("auc", scored.targets, scored.challenger, scored.days)(counts)
    assert (found["low"], found["high"]) == pytest.approx(metrics.interval(found["value"], drawn, 7, "auc"), abs=2e-6)


@pytest.mark.filterwarnings("error")
def test_a_slice_on_which_the_models_answer_alike_is_not_worse_and_hides_no_other():
    table, scored = holdout(0.3, 0.3)
    spoiled = (table["origin"] == "JFK").to_numpy()
    challenger = np.where(spoiled, np.random.default_rng(5).uniform(size=len(table)), scored.champion)
    for margin, worse in ((0.03, True), (0.5, False)):
        settings = GATES.model_copy(update={"slice_margin": margin})
        rows = slices(table, ["origin"], Scored(scored.targets, scored.days, challenger, scored.champion), settings, 1)
        found = {row["slice"]: (row["gain"], row["worse"]) for row in rows}
        assert found["EWR"] == (0, False)
        assert found["JFK"][1] is worse


def test_a_slice_may_lose_as_much_as_the_margin():
    table, scored = holdout(0.3, 0.3)
    spoiled = (table["origin"] == "JFK").to_numpy()
    challenger = np.where(spoiled, np.random.default_rng(5).uniform(size=len(table)), scored.challenger)
    judged = Scored(scored.targets, scored.days, challenger, scored.champion)
    loss = -paired_gain("auc", judged.only(spoiled))
    for margin, worse in ((loss, False), (np.nextafter(loss, 0), True)):
        settings = GATES.model_copy(update={"slice_margin": float(margin)})
        assert {row["slice"]: row["worse"] for row in slices(table, ["origin"], judged, settings, 1)}["JFK"] is worse


def test_the_numbers_of_a_comparison_are_those_that_the_verdict_rests_on():
    scored = holdout(0.2, 1.0, days=7)[1]
    counts = metrics.resamples(scored.days, 500, 1)
    found, numbers = compare(scored, ["origin JFK"], GATES, counts)
    assert found.worse_slices == ("origin JFK",)
    assert numbers["gain"] == pytest.approx(found.gain, abs=1e-6)
    assert numbers["share_better"] == pytest.approx(found.share_better, abs=1e-6)
    assert numbers["low"] < numbers["gain"] < numbers["high"]
    value = metrics.by_day("auc", scored.targets, scored.challenger, scored.days)(counts) - metrics.by_day(
        "auc", scored.targets, scored.champion, scored.days
    )(counts)
    assert (numbers["low"], numbers["high"]) == pytest.approx(metrics.interval(found.gain, value, 7), abs=1e-6)
