"""The checks of a window: what was measured, its threshold and where that comes from, the verdict, and a sentence."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ci.data.psi import psi
from ci.data.reference import shares
from ci.monitoring.null import Bounds
from ci.monitoring.windows import Gap
from ci.quality import metrics
from ci.results.evaluation import Interval
from ci.results.monitoring import Check, Look, Word
from ci.settings import Monitoring

Array = npt.NDArray[np.float64]
_ORDER: tuple[Word, ...] = ("ok", "watch", "drift", "broken")
_FIXED = "fixed"
MISSING, GONE = 0.1, 0.99
"""Share of values that is missing beyond the reference's, from which it is watched; and that is as good as all."""
UNSEEN, MANY = 0.01, 0.25
"""Share of values that the reference has not seen, beyond its own, from which a column is watched; and has drifted."""
ERRORS = 0.01
"""Share of requests that are answered with an error, from which that is watched."""
_RESAMPLES = 500


def jensen_shannon(reference: Array, window: Array) -> float:
    """Return the Jensen-Shannon distance of two distributions over the same bins, from 0 to 1 (base 2)."""
    middle = (reference + window) / 2
    halves = [np.sum(part[part > 0] * np.log2(part[part > 0] / middle[part > 0])) for part in (reference, window)]
    return float(np.sqrt(max(sum(halves) / 2, 0.0)))


def of_column(
    name: str,
    counted: Array,
    description: Mapping[str, Any],
    settings: Monitoring,
    measured: Bounds | None = None,
    season: Collection[str] = (),
    kind: Literal["feature", "prediction"] = "feature",
) -> list[Check]:
    """Return the checks of one column: missing values, values not seen before, and its distribution by two measures.

    Args:
        name: the column's.
        counted: rows of the window in each bin.
        description: the reference.
        settings: thresholds where none were measured.
        measured: bounds of the index by column; the effect must be `psi_warn` at least whatever they are.
        season: columns that change with the season: these are watched at most.
        kind: what the column holds; of predictions only the distribution is checked.
    """
    reference, window = np.array(description["shares"]), shares(counted, description)
    rows = int(counted.sum())
    if rows < settings.min_rows:
        return []
    feature = kind == "feature"
    found = [_missing(name, reference[-1], window[-1])] if feature and _knows_missing(description) else []
    if feature and "categories" in description and len(description.get("rest", ())) > 1:
        found.append(_unseen(name, reference[-2], window[-2]))
    index = psi(reference, window, (description["rows"], rows))
    bound = measured.by_check.get(name) if measured else None
    threshold = settings.psi_drift if bound is None else max(bound, settings.psi_warn)
    method = _FIXED if measured is None or bound is None else measured.method
    verdict: Word = "drift" if index >= threshold else "watch" if index >= settings.psi_warn and bound is None else "ok"
    if name in season and verdict == "drift":
        verdict = "watch"
    distance = jensen_shannon(reference, window)
    said = f"{name}: PSI {index:.3f} against {threshold:.3f}, Jensen-Shannon distance {distance:.3f}"
    found.append(_check(f"{name} distribution", kind, index, threshold, method, verdict, said))
    return found


def _knows_missing(description: Mapping[str, Any]) -> bool:
    return "edges" in description or "rest" in description


def _missing(name: str, before: float, now: float) -> Check:
    verdict: Word = "broken" if now >= GONE and before < 0.5 else "watch" if now >= before + MISSING else "ok"
    said = f"{name}: {now:.1%} of the values are missing, {before:.1%} before"
    return _check(
        f"{name} missing", "data", now, GONE if verdict == "broken" else before + MISSING, _FIXED, verdict, said
    )


def _unseen(name: str, before: float, now: float) -> Check:
    more = now - before
    verdict: Word = "drift" if more >= MANY else "watch" if more >= UNSEEN else "ok"
    said = f"{name}: {now:.1%} of the values were not seen before, {before:.1%} were expected"
    return _check(f"{name} unseen", "data", now, before + UNSEEN, _FIXED, verdict, said)


def performance(
    metric: str, targets: Array, predictions: Array, days: npt.NDArray[np.int64], holdout: Interval, seed: int = 0
) -> Check:
    """Return whether a metric on mature days is worse than on the holdout, by more than the days of both explain.

    Args:
        metric: its name.
        targets: of labelled requests, shape (rows,).
        predictions: what was answered.
        days: number of each row's day, from 0: days are resampled, as rows of one day are alike.
        holdout: what it was on the holdout, with its interval.
        seed: of the resampling.
    """
    by_day = metrics.by_day(metric, targets, predictions, days)
    number = int(days.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=_RESAMPLES)
    value = float(by_day(np.ones((1, number)))[0])
    resampled = by_day(drawn.astype(np.float64))
    low, high = np.nanquantile(resampled, [0.025, 0.975]) if np.isfinite(resampled).any() else (np.nan, np.nan)
    method = f"intervals of 95 % by day: {number} days, and the holdout's"
    if not np.isfinite([value, low, high]).all() or holdout.low is None or holdout.high is None:
        return _check(metric, "performance", 0.0, None, method, "ok", f"{metric} cannot be computed yet")
    better_is_more = metrics.more_is_better(metric)
    threshold = holdout.low if better_is_more else holdout.high
    worse = value < threshold if better_is_more else value > threshold
    surely = high < threshold if better_is_more else low > threshold
    verdict: Word = "drift" if surely and number > 1 else "watch" if worse else "ok"
    said = f"{metric} is {value:.4f} [{low:.4f}, {high:.4f}] on {number} mature days, {threshold:.4f} was the holdout's"
    return _check(metric, "performance", value, threshold, method, verdict, f"{said} worst")


def service(looks: Sequence[Look], silences: Sequence[Gap]) -> list[Check]:
    """Return the checks of what answers: errors since the look before, and times without a captured request.

    Args:
        looks: at the gateways' counters, in order.
        silences: of captured requests.
    """
    found = []
    if len(looks) > 1 and (came := looks[-1].requests - looks[-2].requests):
        share = (looks[-1].errors - looks[-2].errors) / came
        verdict: Word = "watch" if share >= ERRORS else "ok"
        said = f"{share:.2%} of {came} requests since the last look were answered with an error"
        found.append(_check("errors", "service", share, ERRORS, _FIXED, verdict, said))
    for silent in silences:
        hours = (silent.end - silent.start).total_seconds() / 3600
        found.append(_check(f"silence of {silent.of}", "service", hours, None, "counters", "watch", str(silent)))
    return found


def settled(checks: Sequence[Check], before: Mapping[str, Word]) -> list[Check]:
    """Return the checks with hysteresis: drift is told when two windows in a row show it, and watched before.

    What drifted before stays so until a window is `ok`. What is broken is told at once.

    Args:
        checks: of this window.
        before: the verdict that the window before this one showed by itself, by check.
    """
    found = []
    for check in checks:
        verdict, last = check.verdict, before.get(check.name, "ok")
        if verdict == "drift" and last not in ("drift", "broken"):
            verdict = "watch"
        elif verdict == "watch" and last == "drift":
            verdict = "drift" if check.kind != "data" else verdict
        found.append(check.model_copy(update={"verdict": verdict}))
    return found


def worst(checks: Sequence[Check]) -> tuple[Word, str]:
    """Return the verdict over all checks, and the sentence of the check that decides."""
    if not checks:
        return "ok", "nothing could be checked"
    found = max(checks, key=lambda check: _ORDER.index(check.verdict))
    return found.verdict, found.sentence if found.verdict != "ok" else f"{len(checks)} checks are ok"


def _check(
    name: str, kind: Any, number: float, threshold: float | None, method: str, verdict: Word, sentence: str
) -> Check:
    limit = None if threshold is None else round(float(threshold), 6)
    return Check(name=name, kind=kind, number=round(float(number), 6), threshold=limit, method=method,
                 verdict=verdict, sentence=sentence)  # fmt: skip
