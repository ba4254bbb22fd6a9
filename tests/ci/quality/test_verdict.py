"""The decision table: one row for each rule and each side of each threshold."""

from datetime import date

import pytest

from ci.quality.verdict import Champion, Comparison, Gate, absolute_gates, decide
from ci.settings.building import Gates, Limit

GATES = Gates(primary="auc", confidence=0.9, limits={})
PASSED, FAILED = Gate("auc", 0.70, 0.60, "min"), Gate("log_loss", 0.70, 0.65, "max")
APRIL, JULY = date(2013, 4, 1), date(2013, 7, 1)
OLD, GONE = Champion(APRIL), Champion(APRIL, "image sha256:1 is not in the registry")


@pytest.mark.parametrize(
    ("gates", "broken", "as_of", "champion", "comparison", "word", "reason"),
    [
        ([FAILED], [], JULY, None, None, "block", "log_loss 0.7000, required at most 0.65"),
        ([PASSED, FAILED], [], JULY, OLD, Comparison(1.0, 0.1), "block", "log_loss"),
        ([PASSED], ["row order: moved"], JULY, None, None, "block", "row order: moved"),
        ([FAILED], ["row order: moved"], JULY, None, None, "block", "log_loss"),
        ([], [], JULY, None, None, "promote", "there is no champion yet"),
        ([PASSED], [], APRIL, OLD, Comparison(1.0, 0.1), "promote", "auc 0.1000 better than the champion's"),
        ([PASSED], [], APRIL, OLD, Comparison(0.5, 0.0), "keep", "auc 0.0000 worse than the champion's"),
        ([PASSED], [], date(2013, 3, 1), OLD, Comparison(1.0, 0.1), "keep", "it may have learned from this holdout"),
        ([PASSED], [], JULY, GONE, None, "keep", "cannot be compared with: image sha256:1 is not in the registry"),
        ([PASSED], [], JULY, OLD, Comparison(0.95, 0.02), "promote", "auc 0.0200 better than the champion's"),
        ([PASSED], [], JULY, OLD, Comparison(0.90, 0.02), "promote", "better in 90.0% of resampled days"),
        ([PASSED], [], JULY, OLD, Comparison(0.899, 0.02), "keep", "(required 90%)"),
        ([PASSED], [], JULY, OLD, Comparison(0.5, 0.0), "keep", "auc 0.0000 worse than the champion's"),
        ([PASSED], [], JULY, OLD, Comparison(0.02, -0.03), "keep", "auc 0.0300 worse than the champion's"),
        (
            [PASSED],
            [],
            JULY,
            OLD,
            Comparison(0.99, 0.02, ("carrier UA",)),
            "keep",
            "worse on carrier UA; overall auc",
        ),
    ],
)
def test_the_first_rule_that_applies_decides(gates, broken, as_of, champion, comparison, word, reason):
    verdict = decide(gates, broken, as_of, champion, comparison, GATES)
    assert verdict.word == word
    assert reason in verdict.reason


def test_a_champion_that_cannot_be_scored_is_replaced_only_if_the_settings_say_so():
    replacing = GATES.model_copy(update={"unscorable_champion": "promote"})
    assert "set gates.unscorable_champion" in decide([PASSED], [], JULY, GONE, None, GATES).reason
    assert decide([PASSED], [], JULY, GONE, None, replacing).word == "promote"
    assert decide([FAILED], [], JULY, GONE, None, replacing).word == "block"
    assert decide([PASSED], [], date(2013, 3, 1), GONE, None, replacing).word == "keep"


def test_a_model_that_is_no_better_than_a_trivial_one_is_never_promoted():
    trivial = "accuracy is no better than that of a model that always answers A"
    for champion, comparison in ((None, None), (OLD, Comparison(1.0, 0.1))):
        verdict = decide([PASSED], [], JULY, champion, comparison, GATES, trivial=trivial)
        assert (verdict.word, verdict.reason) == ("block", trivial)


@pytest.mark.parametrize(
    ("value", "limit", "passed"),
    [
        (0.6, Limit(min=0.6), [True]),
        (0.59, Limit(min=0.6), [False]),
        (0.65, Limit(max=0.65), [True]),
        (0.66, Limit(max=0.65), [False]),
        (0.5, Limit(min=0.4, max=0.45), [True, False]),
        (float("nan"), Limit(min=0.0, max=1.0), [False, False]),
        (None, Limit(min=0.0, max=1.0), [False, False]),
    ],
)
def test_absolute_gates(value, limit, passed):
    gates = absolute_gates({"auc": value}, Gates(limits={"auc": limit}))
    assert [gate.passed for gate in gates] == passed


def test_a_gate_on_what_cannot_be_computed_blocks_and_says_why():
    gates = absolute_gates({"auc": None}, Gates(limits={"auc": Limit(min=0.0)}), {"auc": "every outcome is 1"})
    assert gates[0].margin is None
    found = decide(gates, [], JULY, None, None, GATES, "auc cannot be computed (every outcome is 1)")
    assert found.word == "block"
    assert found.reason == "auc cannot be computed (every outcome is 1), required at least 0"


@pytest.mark.parametrize(("replace", "champion", "word"), [("promote", OLD, "keep"), ("keep", None, "promote")])
def test_a_challenger_whose_primary_metric_cannot_be_computed_replaces_no_champion(replace, champion, word):
    settings = GATES.model_copy(update={"unscorable_champion": replace})
    found = decide([], [], JULY, champion, None, settings, "auc cannot be computed (every outcome is 1)")
    assert found.word == word
    assert "auc cannot be computed (every outcome is 1)" in found.reason
