"""Journals of rollouts as they are written, for tests of what is made of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

NEW, OLD = f"sha256:{'ab' * 32}", f"sha256:{'cd' * 32}"
BEFORE = {"digest": OLD, "version": "2013030100001", "release": 1}
BEGIN = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def release(letter: str, **more: Any) -> dict[str, Any]:
    """A release without its number, as a deployment records it, of the image with this hexadecimal digit."""
    described: dict[str, Any] = {
        "version": "20130401",
        "as_of": "2013-04-01",
        "inputs": f"sha256:{letter}",
        "champion": None,
    }
    described |= {"model": "light", "commit": None}
    return {"digest": f"sha256:{letter * 64}", "time": "2013-04-01T12:00:00+00:00", **described, **more}


def summary(**more: Any) -> dict[str, Any]:
    """What was decided: to deploy a version in the place of release 1."""
    return {"action": "deploy", "reason": "better", "digest": NEW, "version": "20130401", "before": BEFORE, **more}


def journal(*steps: tuple[str, float, dict[str, str]] | tuple[str, float, dict[str, str], dict[str, Any]]) -> list[Any]:
    """A journal of steps without pauses: name, seconds, phases by digest, and what was measured."""
    now, entries = BEGIN, []
    for name, seconds, observed, *measured in steps:
        now += timedelta(seconds=seconds)
        entry = {"time": now.isoformat(timespec="milliseconds"), "step": name, "digest": NEW, "seconds": seconds}
        entries.append({**entry, "observed": observed, **(measured[0] if measured else {})})
    return entries


def measure(name: str, verdict: str, value: float | None, limit: float, reason: str = "as measured") -> dict[str, Any]:
    """One measure of an analysis, its interval a third wide to either side."""
    low, high = (None, None) if value is None else (value * 2 / 3, value * 4 / 3)
    return {
        "name": name,
        "verdict": verdict,
        "value": value,
        "low": low,
        "high": high,
        "limit": limit,
        "reason": reason,
    }


CHECKED = {"golden": 8, "largest_difference": 1e-7, "seconds_predicting": 0.01, "servers": 1}


def first_on_this_machine() -> tuple[list[Any], dict[str, Any]]:
    """A first deployment that goes well, without a cluster."""
    steps = journal(
        ("start", 0.6, {}),
        ("wait", 2.7, {NEW: "loading"}, {"for": "loading"}),
        ("smoke", 0.4, {NEW: "ready"}, CHECKED),
        ("promote", 0.02, {NEW: "ready"}),
        ("verify", 0.2, {NEW: "serving"}, CHECKED),
        ("record", 0.05, {NEW: "serving"}),
    )
    return steps, summary(before=None, release=1)


def good_on_a_cluster(window: float = 10.0) -> tuple[list[Any], dict[str, Any]]:
    """A rollout with a canary that is watched and promoted."""
    measures = [
        measure("error rate", "pass", 0.002, 0.01),
        measure("refused", "pass", 0.03, 0.041),
        {**measure("not finite", "pass", 0.0, 0.0), "low": 0.0, "high": 0.0},
        measure("latency p50", "pass", 0.012, 0.026),
        measure("latency p99", "pass", 0.031, 0.052),
        measure("predictions", "pass", 0.08, 0.25),
    ]
    both = {OLD: "serving", NEW: "sharing"}
    steps = journal(
        ("start", 0.2, {OLD: "serving"}),
        ("wait", 6.1, {OLD: "serving", NEW: "loading"}, {"for": "pod a: it is loading"}),
        ("smoke", 0.7, {OLD: "serving", NEW: "ready"}, CHECKED),
        ("join", 0.1, {OLD: "serving", NEW: "ready"}),
        ("analyse", window, both, {"requests": 1310, "measures": measures}),
        ("promote", 0.1, both),
        ("wait", 8.4, {NEW: "rolling"}, {"for": "pod b: it is loading"}),
        ("verify", 0.9, {NEW: "serving"}, {**CHECKED, "servers": 2}),
        ("record", 0.1, {NEW: "serving"}),
        ("retire", 0.2, {NEW: "serving"}, {NEW: "ended after its requests"}),
    )
    return steps, summary(release=2)


def smoke_failed() -> tuple[list[Any], dict[str, Any]]:
    """A version whose golden predictions differ, and which no request has met."""
    reason = "version 20130401: golden prediction 0 is 5.35, evaluated as 5.36: they differ by more than 1e-05"
    seen = {OLD: "serving", NEW: "ready"}
    steps = journal(
        ("start", 0.6, {OLD: "serving"}),
        ("wait", 2.7, {OLD: "serving", NEW: "loading"}, {"for": "loading"}),
        ("smoke", 0.4, seen, {"failed": reason}),
        ("abort", 0.3, seen, {"reason": reason, "left": {OLD: "serving"}}),
    )
    return steps, summary(failed=f"{reason}; version 2013030100001 of release 1 serves")


def analysis_failed() -> tuple[list[Any], dict[str, Any]]:
    """A canary that is slower than what serves, and has too few predictions to compare."""
    slow = "latency p99 is 310.0 ms against 12.4 ms (limit 28.6 ms)"
    reason = f"the canary's traffic is worse than the stable version's: {slow}"
    measures = [
        measure("error rate", "wait", 0.006, 0.01, "2 of 310 requests failed (limit 1.00%)"),
        measure("latency p99", "fail", 0.31, 0.0286, slow),
        measure("predictions", "wait", None, 0.25, "310 predictions are too few to compare (at least 500)"),
    ]
    both, seen = {OLD: "serving", NEW: "sharing"}, {"requests": 310, "measures": measures}
    steps = journal(
        ("start", 0.2, {OLD: "serving"}),
        ("wait", 6.1, {OLD: "serving", NEW: "loading"}, {"for": "pod a: it is loading"}),
        ("smoke", 0.7, {OLD: "serving", NEW: "ready"}, CHECKED),
        ("join", 0.1, {OLD: "serving", NEW: "ready"}),
        ("analyse", 12.0, both, {**seen, "failed": reason}),
        ("abort", 1.3, both, {"reason": reason, "left": {OLD: "serving"}}),
    )
    return steps, summary(failed=f"{reason}; version 2013030100001 of release 1 serves")
