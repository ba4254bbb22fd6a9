"""Judging a canary by its traffic, beside the stable version's in the same window: pass, fail, or wait for more.

A measure passes if its whole confidence interval is within the limit. It fails if the whole interval is beyond the
limit. Otherwise it waits for more traffic, so little traffic never passes; how long to wait is the caller's decision.
One measure never waits: requests that are refused as the client's fault.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ci.capture.gateways import Array, Traffic
from ci.data.psi import bins, psi, significant
from ci.settings.cluster import Analysis as Settings

Word = Literal["pass", "wait", "fail"]


@dataclass(frozen=True)
class Measure:
    """One comparison: its verdict, and the numbers it rests on; the limit and the interval are in the value's unit."""

    name: str
    verdict: Word
    value: float
    low: float
    high: float
    limit: float
    reason: str


def analyse(canary: Traffic, stable: Traffic | None, settings: Settings) -> list[Measure]:
    """Return every measure of the canary; without a stable version only those that need none."""
    measures = [_errors(canary, stable, settings), _finite(canary)]
    if stable is not None:
        if canary.refused is not None and stable.refused is not None:
            counts = (canary.refused, canary.requests), (stable.refused, stable.requests)
            measures.append(_refused(*counts, settings))
        measures += [_latency(canary, stable, quantile, settings) for quantile in (0.5, 0.99)]
        measures.append(_predictions(canary, stable, settings))
    return measures


def verdict(measures: Sequence[Measure]) -> tuple[Word, str]:
    """Return the verdict on all measures, and the reasons of those that decided it."""
    for word in ("fail", "wait"):
        if reasons := [measure.reason for measure in measures if measure.verdict == word]:
            return word, "; ".join(reasons)
    return "pass", "; ".join(measure.reason for measure in measures)


def _errors(canary: Traffic, stable: Traffic | None, settings: Settings) -> Measure:
    # The lower bound: with few requests of the stable version, an upper bound would excuse any canary.
    usual = share(stable.errors, stable.requests, settings.confidence)[0] if stable else 0.0
    limit = usual + settings.error_margin
    low, high = share(canary.errors, canary.requests, settings.confidence)
    value = canary.errors / canary.requests if canary.requests else math.nan
    reason = f"{canary.errors} of {canary.requests} requests failed (limit {limit:.2%})"
    return Measure("error rate", _word(low, high, limit), value, low, high, limit, reason)


def _refused(canary: tuple[int, int], stable: tuple[int, int], settings: Settings) -> Measure:
    """Compare how many requests each version refuses as the client's fault; arguments are (refused, requests).

    It never waits: where clients err often, only a great many requests would show that a canary is within the margin.
    """
    limit = share(*stable, settings.confidence)[1] + settings.error_margin
    low, high = share(*canary, settings.confidence)
    (refused, requests), value = canary, canary[0] / canary[1] if canary[1] else math.nan
    reason = f"{refused} of {requests} requests were refused as wrong (limit {limit:.2%})"
    return Measure("refused", "fail" if low > limit else "pass", value, low, high, limit, reason)


def _finite(canary: Traffic) -> Measure:
    wrong = int(np.sum(~np.isfinite(canary.predictions)))
    reason = f"{wrong} of {len(canary.predictions)} predictions are no finite numbers"
    word: Word = "fail" if wrong else "pass" if len(canary.predictions) else "wait"
    return Measure("not finite", word, wrong, wrong, wrong, 0, reason)


def _latency(canary: Traffic, stable: Traffic, quantile: float, settings: Settings) -> Measure:
    name = f"latency p{quantile * 100:g}"
    if not (len(canary.seconds) and len(stable.seconds)):
        return Measure(name, "wait", math.nan, 0.0, math.inf, math.nan, f"{name}: no requests yet")
    usual = float(np.quantile(stable.seconds, quantile))
    limit = usual * settings.latency_ratio + settings.latency_margin
    value = float(np.quantile(canary.seconds, quantile))
    low, high = quantile_interval(canary.seconds, quantile, settings.confidence)
    reason = f"{name} is {value * 1000:.1f} ms against {usual * 1000:.1f} ms (limit {limit * 1000:.1f} ms)"
    return Measure(name, _word(low, high, limit), value, low, high, limit, reason)


def _predictions(canary: Traffic, stable: Traffic, settings: Settings) -> Measure:
    from scipy.stats import chi2

    ours, theirs = (traffic.predictions[np.isfinite(traffic.predictions)] for traffic in (canary, stable))
    limit, rows = settings.max_psi, min(len(ours), len(theirs))
    if rows < settings.min_predictions:
        reason = f"{rows} predictions are too few to compare (at least {settings.min_predictions})"
        return Measure("predictions", "wait", math.nan, 0.0, math.inf, limit, reason)
    found = bins(significant(theirs))
    before, now = (
        np.bincount(found.place(significant(part)), minlength=found.number) / len(part) for part in (theirs, ours)
    )
    value = psi(before, now, (len(theirs), len(ours)))
    # Of equal distributions it is chi-squared, times this (Yurdakul 2018, "Statistical properties of population
    # stability index"): so much of it may be chance.
    noise = float(chi2.ppf(settings.confidence, max(found.number - 1, 1))) * (1 / len(theirs) + 1 / len(ours))
    low = max(0.0, value - noise)
    reason = f"the predictions differ from the stable version's by a PSI of {value:.3f} (limit {limit:g})"
    return Measure("predictions", _word(low, value, limit), value, low, value, limit, reason)


def _word(low: float, high: float, limit: float) -> Word:
    return "pass" if high <= limit else "fail" if low > limit else "wait"


def share(events: int, of: int, confidence: float) -> tuple[float, float]:
    """Return the bounds of a probability, each right with this confidence (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest

    if not of:
        return 0.0, 1.0
    found = binomtest(events, of).proportion_ci(_both(confidence), method="exact")
    return float(found.low), float(found.high)


def quantile_interval(values: Array, quantile: float, confidence: float) -> tuple[float, float]:
    """Return the bounds of a quantile, each right with this confidence, whatever the distribution.

    Too few values leave a side open: 0 or infinity.
    """
    from scipy.stats import quantile_test

    found = quantile_test(values, p=quantile).confidence_interval(_both(confidence))
    return (
        0.0 if math.isnan(found.low) else float(found.low),
        math.inf if math.isnan(found.high) else float(found.high),
    )


def _both(confidence: float) -> float:
    """Return the confidence that both bounds are right, of bounds that each are with `confidence`."""
    return 2 * confidence - 1


def as_json(measures: Sequence[Measure]) -> list[dict[str, Any]]:
    """Return the measures as JSON has them: what is not finite is null."""
    return [
        {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in vars(m).items()
        }
        for m in measures
    ]
