"""When a canary passes, fails, or has to wait for more traffic."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from ci.rollout.analysis import Traffic, analyse, as_json, quantile_interval, share, verdict
from ci.settings.cluster import Analysis

SETTINGS = Analysis()


def traffic(requests=2000, errors=0, seconds=0.01, shift=0.0, rows=None, seed=0, refused=0):
    """Traffic of pods whose latency is exponential around `seconds` and whose predictions are normal around `shift`."""
    draw = np.random.default_rng(seed)
    rows = requests if rows is None else rows
    return Traffic(requests, errors, refused, draw.exponential(seconds, requests), draw.normal(shift, 1, rows))


@pytest.mark.parametrize(
    ("canary", "stable", "word", "said"),
    [
        (traffic(seed=1), traffic(), "pass", "0 of 2000 requests failed (limit 1.00%)"),
        (traffic(10, seed=1), traffic(), "wait", "0 of 10 requests failed"),
        (traffic(0), traffic(), "wait", "no requests yet"),
        (traffic(458, seed=1), traffic(), "wait", "0 of 458 requests failed"),
        (traffic(errors=60, seed=1), traffic(), "fail", "60 of 2000 requests failed (limit 1.00%)"),
        (traffic(errors=40, seed=1), traffic(errors=60), "pass", "(limit 3.18%)"),
        (traffic(errors=60, seed=1), traffic(20, errors=2, rows=2000), "fail", "60 of 2000 requests failed"),
        (traffic(errors=22, seed=1), traffic(), "wait", "22 of 2000"),
        (traffic(refused=60, seed=1), traffic(), "fail", "60 of 2000 requests were refused as wrong (limit 1.23%)"),
        (traffic(refused=40, seed=1), traffic(refused=30), "pass", "40 of 2000 requests were refused as wrong"),
        (traffic(refused=60, seed=1), traffic(20, rows=2000), "pass", "60 of 2000 requests were refused as wrong"),
        (traffic(refused=60, seed=1), None, "pass", "0 of 2000 requests failed"),
        (traffic(seconds=0.1, seed=1), traffic(), "fail", "latency p50 is"),
        (traffic(seconds=0.1, seed=1), traffic(seconds=0.1), "pass", "latency p99 is"),
        (traffic(shift=1, seed=1), traffic(), "fail", "differ from the stable version's by a PSI of"),
        (traffic(rows=499, seed=1), traffic(), "wait", "499 predictions are too few to compare (at least 500)"),
        (traffic(seed=1), None, "pass", "0 of 2000 requests failed"),
        (traffic(errors=60, seed=1), None, "fail", "60 of 2000"),
    ],
)
def test_the_verdict_on_a_canary(canary, stable, word, said):
    found, reason = verdict(analyse(canary, stable, SETTINGS))
    assert (found, said in reason) == (word, True), reason


def predicting(values, seed=1):
    """Traffic with these predictions."""
    return replace(traffic(len(values), seed=seed), predictions=np.asarray(values, dtype=float))


@pytest.mark.parametrize(
    ("canary", "stable", "word"),
    [
        (np.full(2000, 0.9), np.full(2000, 0.5), "fail"),
        (np.full(2000, 0.5), np.full(2000, 0.5), "pass"),
        (np.nextafter(np.full(2000, 0.5, "float32"), np.float32(1)), np.full(2000, 0.5, "float32"), "pass"),
        (np.where(np.arange(2000) % 10, 0.7, 0.0), np.where(np.arange(2000) % 10, 0.0, 0.7), "fail"),
        (np.where(np.arange(2000) % 10, 0.0, 0.7), np.where(np.arange(2000) % 10, 0.0, 0.7), "pass"),
    ],
    ids=["constant", "same", "last digit", "mostly zero", "the same zeros"],
)
def test_predictions_that_many_requests_share_are_compared(canary, stable, word):
    measures = {m.name: m for m in analyse(predicting(canary), predicting(stable, seed=2), SETTINGS)}
    assert measures["predictions"].verdict == word


def test_chance_alone_fails_no_canary_and_a_difference_that_may_be_chance_waits():
    """With 500 predictions of each, equal distributions differ by a PSI of 0.04, and by 0.09 once in a hundred."""
    strict = SETTINGS.model_copy(update={"max_psi": 0.02})
    found = [
        {m.name: m for m in analyse(traffic(rows=500, seed=n), traffic(rows=500, seed=n + 100), strict)}["predictions"]
        for n in range(40)
    ]
    assert sum(m.verdict == "fail" for m in found) <= 2
    assert sum(m.verdict == "wait" for m in found) >= 20


def test_a_fast_model_may_be_slower_by_the_margin():
    slower, stable = traffic(seconds=0.003, seed=1), traffic(seconds=0.001)
    assert verdict(analyse(slower, stable, SETTINGS))[0] == "pass"
    without = SETTINGS.model_copy(update={"latency_margin": 0.0})
    assert verdict(analyse(slower, stable, without))[0] == "fail"


def test_what_was_refused_is_not_compared_with_a_version_whose_gateway_did_not_count_it():
    names = [m.name for m in analyse(traffic(refused=60, seed=1), traffic(refused=None), SETTINGS)]
    assert "refused" not in names
    assert "error rate" in names


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_prediction_that_is_no_number_fails_at_once(value):
    canary = Traffic(1, 0, 0, np.array([0.01]), np.array([value]))
    assert verdict(analyse(canary, traffic(), SETTINGS)) == ("fail", "1 of 1 predictions are no finite numbers")


def test_errors_on_two_percent_of_requests_are_found_and_a_good_canary_is_not_blamed():
    """Over 300 canaries of 4,000 requests: at 2 % and a limit of 1 % nearly all fail; without errors none does."""
    draw = np.random.default_rng(0)
    words = [
        [verdict(analyse(traffic(4000, draw.binomial(4000, rate)), None, SETTINGS))[0] for _ in range(300)]
        for rate in (0.02, 0.001)
    ]
    assert words[0].count("fail") >= 295
    assert words[0].count("pass") == 0
    assert words[1].count("fail") == 0
    assert words[1].count("pass") >= 295


@given(st.integers(0, 200), st.integers(0, 200), st.floats(0.6, 0.999))
def test_the_bounds_of_a_share_enclose_it(events, others, confidence):
    low, high = share(events, events + others, confidence)
    assert 0 <= low <= high <= 1
    if events + others:
        assert low <= events / (events + others) <= high


@given(st.lists(st.floats(0, 10), min_size=1, max_size=300), st.sampled_from([0.5, 0.99]))
def test_the_bounds_of_a_quantile_enclose_it(values, quantile):
    low, high = quantile_interval(np.array(values), quantile, 0.99)
    assert low <= np.quantile(values, quantile, method="inverted_cdf") <= high


def test_the_bounds_of_a_quantile_are_right_as_often_as_they_say():
    draw = np.random.default_rng(0)
    found = [quantile_interval(draw.exponential(1, 1000), 0.99, 0.99) for _ in range(2000)]
    true = -np.log(0.01)
    assert np.mean([low <= true for low, _ in found]) >= 0.985
    assert np.mean([true <= high for _, high in found]) >= 0.985


@pytest.mark.parametrize(
    ("events", "of", "low", "high"),
    [
        # Each bound is right with 95 %: with p = 0.2589 ten of ten are good once in twenty times, as 0.7411^10 = 0.05.
        (0, 10, 0.0, 0.2589),
        (10, 10, 0.7411, 1.0),
        (1, 10, 0.0051, 0.3942),
        (0, 0, 0.0, 1.0),
        (1, 1, 0.05, 1.0),
    ],
)
def test_the_bounds_of_a_share_are_those_of_the_tables(events, of, low, high):
    assert share(events, of, 0.95) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("count", [1, 2, 5, 40, 300])
def test_the_bounds_of_a_quantile_are_as_close_as_their_confidence_allows(count, quantile):
    """Of 1, 2, 3, …, in any order, a value is its own rank: the quantile is below it as often as a binomial says."""
    below = binom(count, quantile)  # how many of so many values lie below the quantile
    values = np.random.default_rng(0).permutation(np.arange(1, count + 1)).astype(float)
    low, high = quantile_interval(values, quantile, 0.95)
    if low:
        assert below.sf(low - 1) >= 0.95
    if low < count:
        assert below.sf(low) < 0.95
    if high < np.inf:
        assert below.cdf(high - 1) >= 0.95
    assert below.cdf(min(high - 2, count - 1)) < 0.95


@pytest.mark.parametrize("requests", [0, 1])
def test_without_requests_there_is_no_rate(requests):
    rate = analyse(traffic(requests), traffic(0), SETTINGS)[0]
    assert (rate.name, rate.verdict, np.isnan(rate.value)) == ("error rate", "wait", requests == 0)
    assert rate.limit == pytest.approx(SETTINGS.error_margin)


def test_an_open_bound_is_null_in_json():
    (measure,) = [m for m in as_json(analyse(traffic(10), traffic(), SETTINGS)) if m["name"] == "latency p99"]
    assert measure["high"] is None


def test_each_measure_tells_its_value_its_bounds_and_its_limit():
    canary, stable = traffic(errors=3, refused=40, seed=1), traffic(errors=2, refused=30)
    found = {m["name"]: m for m in as_json(analyse(canary, stable, SETTINGS))}
    assert [*found] == ["error rate", "not finite", "refused", "latency p50", "latency p99", "predictions"]
    errors, refused, slow = found["error rate"], found["refused"], found["latency p99"]
    assert (errors["value"], refused["value"]) == (3 / 2000, 40 / 2000)
    assert errors["limit"] == share(2, 2000, SETTINGS.confidence)[0] + SETTINGS.error_margin
    assert refused["limit"] == share(30, 2000, SETTINGS.confidence)[1] + SETTINGS.error_margin
    assert slow["value"] == pytest.approx(np.quantile(canary.seconds, 0.99))
    assert slow["limit"] == pytest.approx(
        np.quantile(stable.seconds, 0.99) * SETTINGS.latency_ratio + SETTINGS.latency_margin
    )
    for each in found.values():
        assert each["low"] <= each["value"] <= each["high"]
    assert found["latency p50"]["reason"] == "latency p50 is 7.1 ms against 7.0 ms (limit 20.6 ms)"
    assert slow["reason"] == "latency p99 is 46.0 ms against 48.5 ms (limit 82.7 ms)"
    assert found["not finite"]["reason"] == "0 of 2000 predictions are no finite numbers"
    assert (found["not finite"]["limit"], found["not finite"]["high"]) == (0, 0)


def test_what_is_just_within_the_limit_passes_and_what_may_be_does_not_fail():
    canary = traffic(errors=9, refused=9, seed=1)
    low, high = share(9, 2000, SETTINGS.confidence)
    for margin, word in (
        (high, "pass"),
        (np.nextafter(high, 0), "wait"),
        (low, "wait"),
        (np.nextafter(low, 0), "fail"),
    ):
        rate = analyse(canary, None, SETTINGS.model_copy(update={"error_margin": float(margin)}))[0]
        assert rate.verdict == word
    clients = share(0, 2000, SETTINGS.confidence)[1]
    for limit, word in ((low, "pass"), (low - 1e-9, "fail")):
        found = analyse(canary, traffic(), SETTINGS.model_copy(update={"error_margin": float(limit - clients)}))
        assert {m.name: m.verdict for m in found}["refused"] == word


def test_of_the_index_of_predictions_so_much_may_be_chance_as_chi_squared_says():
    """Ten bins of equal mass have nine degrees of freedom; of 99 % confidence the table has 21.666."""
    canary, stable = traffic(shift=1, rows=1000, seed=1), traffic(rows=500)
    found = {m.name: m for m in analyse(canary, stable, SETTINGS)}["predictions"]
    assert SETTINGS.confidence == 0.99
    assert found.value - found.low == pytest.approx(21.666 * (1 / 500 + 1 / 1000), abs=1e-5)


@pytest.mark.parametrize(("canary", "stable"), [(traffic(0), traffic()), (traffic(rows=9), traffic(0, rows=9))])
def test_without_a_latency_or_predictions_to_compare_the_bounds_are_open(canary, stable):
    found = {m.name: m for m in analyse(canary, stable, SETTINGS)}
    for name in ("latency p50", "latency p99", "predictions"):
        assert (found[name].verdict, found[name].low, found[name].high) == ("wait", 0.0, np.inf)
