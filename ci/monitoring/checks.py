"""The checks of a window: what was measured, its threshold and where that comes from, the verdict, and a sentence."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ci.data.psi import psi
from ci.data.reference import shares
from ci.monitoring import drift, null
from ci.monitoring.null import Bounds
from ci.monitoring.windows import Gap
from ci.results.monitoring import Check, Look, Word
from ci.settings.watching import Monitoring

Array = npt.NDArray[np.float64]
_ORDER: tuple[Word, ...] = ("ok", "watch", "drift", "broken")
_FIXED = "fixed"
MISSING, GONE = 0.1, 0.99
"""Share of values that is missing beyond the reference's, from which it is watched; and that is as good as all."""
UNSEEN, MANY = 0.01, 0.25
"""Share of values that the reference has not seen, beyond its own, from which a column is watched; and has drifted.
Of requests that cannot be read and outcomes that cannot be used: from which they are watched; and are broken."""
ERRORS = 0.01
"""Share of requests that are answered with an error, from which that is watched."""
SLOWER = 2.0
"""How many times its usual value latency must be at least, to be watched."""
_WRONG = ("refused", "unreadable")
_NAMED = 2
"""Bins that are named as those that moved most."""


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
        measured: bounds of the index by column; the effect must be `psi_warn` at least whatever they are. None, or
            none for this column: the settings hold.
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
    if verdict != "ok":
        said += f"; most moved {drift.moved(description, reference, window, _NAMED)}"
    check = _check(f"{name} distribution", kind, index, threshold, method, verdict, said)
    found.append(check.model_copy(update={"p": _chance(reference, window, (description["rows"], rows))}))
    return found


def _chance(reference: Array, window: Array, rows: tuple[int, int]) -> float:
    """Return the p-value of the likelihood ratio test that both have one distribution, if all rows were independent."""
    from scipy.special import chdtrc

    used = (reference > 0) | (window > 0)
    both = np.stack([reference[used] * rows[0], window[used] * rows[1]])
    expected = both.sum(axis=0) * (both.sum(axis=1, keepdims=True) / both.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(both > 0, both * np.log(both / expected), 0.0)
    return float(chdtrc(max(int(used.sum()) - 1, 1), max(2 * terms.sum(), 0.0)))


def corrected(checks: Sequence[Check]) -> list[Check]:
    """Return the checks with p-values that are corrected for their number (Holm 1979). They advise, and decide nothing.

    Rows of one day are alike, so even corrected ones are much too small: the size of a change is what decides.
    """
    tested = sorted((check.p, place) for place, check in enumerate(checks) if check.p is not None)
    found, largest = list(checks), 0.0
    for number, (p, place) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - number)))
        found[place] = found[place].model_copy(update={"p": float(f"{largest:.3g}")})
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


def refused(counts: Mapping[str, int], first: str | None = None) -> list[Check]:
    """Return the check of requests that are not as the model's schema says: refused by the server, or unreadable.

    Where many cannot be read, what was captured cannot be trusted.

    Args:
        counts: captured requests by what became of them, see `ci.capture.records`.
        first: one that cannot be read, in words.
    """
    wrong, every = (sum(counts.get(key, 0) for key in keys) for keys in (_WRONG, (*_WRONG, "read")))
    if not every:
        return []
    share, unreadable = wrong / every, counts.get("unreadable", 0) / every
    said = f"{share:.2%} of {every} captured requests are not as the model's fields say: refused or unreadable"
    return [_counted("schema", share, unreadable, said, first)]


def outcomes(unusable: int, every: int, first: str | None) -> list[Check]:
    """Return the check of outcomes that could not be used; where they are many, the labels cannot be trusted.

    Args:
        unusable: how many were left out.
        every: how many there were.
        first: one of them, in words.
    """
    if not every:
        return []
    share = unusable / every
    return [_counted("outcomes", share, share, f"{share:.2%} of {every} outcomes cannot be used", first)]


def _counted(name: str, share: float, lost: float, said: str, first: str | None) -> Check:
    """Return the check of a share that is wrong, of which a share is lost."""
    verdict: Word = "broken" if lost >= MANY else "watch" if share >= UNSEEN else "ok"
    threshold = MANY if verdict == "broken" else UNSEEN
    return _check(name, "data", share, threshold, _FIXED, verdict, f"{said}; {first}" if first else said)


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
    if (slow := _latency(looks)) is not None:
        found.append(slow)
    for silent in silences:
        hours = (silent.end - silent.start).total_seconds() / 3600
        found.append(_check(f"silence of {silent.of}", "service", hours, None, "counters", "watch", str(silent)))
    return found


def _latency(looks: Sequence[Look]) -> Check | None:
    """Return whether answers take longer than in the looks before; None if there are too few."""
    found = [look.p99 for look in looks if look.p99 is not None]
    if len(found) <= null.LEAST or looks[-1].p99 is None:
        return None
    before, now = found[:-1], found[-1]
    usual = float(np.median(before))
    bound, level = null.upper(np.log(np.maximum(before, 1e-6)), null.SERVICE)
    threshold = max(float(np.exp(min(bound, 700.0))), SLOWER * usual)
    said = f"the slowest of 100 requests takes {now:.3f} s, {usual:.3f} s in the {len(before)} looks before"
    method = f"prediction bound from n = {len(before)} looks, level {level:.3f}"
    return _check("latency", "service", now, threshold, method, "watch" if now >= threshold else "ok", said)


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
    """Return the verdict over all checks, and the sentence of the check that decides.

    A shadow that is better is good news, and no alarm about the window.
    """
    checks = [check for check in checks if check.kind != "shadow"]
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
