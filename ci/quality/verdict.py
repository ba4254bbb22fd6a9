"""The decision: promote, keep or block. Functions of plain values; nothing here reads a file or a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import isfinite
from typing import Literal

from ci.settings.building import Gates

Word = Literal["promote", "keep", "block"]


@dataclass(frozen=True)
class Gate:
    """One threshold and the measured value."""

    name: str
    value: float | None
    """None if it cannot be computed."""
    threshold: float
    side: Literal["min", "max"]
    problem: str | None = None
    """Why the value cannot be computed; None if it is not known, or if it can be."""

    @property
    def margin(self) -> float | None:
        """Distance to the threshold, negative if the gate is not passed; None if there is no value."""
        if self.value is None:
            return None
        return self.value - self.threshold if self.side == "min" else self.threshold - self.value

    @property
    def passed(self) -> bool:
        """Whether the threshold holds; without a value it does not."""
        return self.margin is not None and self.margin >= 0

    def __str__(self) -> str:
        """Describe the gate in words."""
        word = "at least" if self.side == "min" else "at most"
        if self.value is None:
            return f"{unmeasured(self.name, self.problem)}, required {word} {self.threshold:g}"
        return f"{self.name} {self.value:.4f}, required {word} {self.threshold:g}"


def unmeasured(metric: str, problem: str | None) -> str:
    """Return in words that a metric cannot be computed, and why."""
    return f"{metric} cannot be computed" + (f" ({problem})" if problem else "")


@dataclass(frozen=True)
class Champion:
    """The champion, as far as the verdict needs it."""

    as_of: date
    problem: str | None = None
    """Why it could not be scored on this holdout, or its score not compared with; None if it was."""


@dataclass(frozen=True)
class Comparison:
    """Challenger against champion on the same days."""

    share_better: float
    """Share of the resamples in which the challenger is better."""
    gain: float
    """How much better the challenger is; the primary metric's unit."""
    worse_slices: tuple[str, ...] = ()
    """Slices in which it is worse by more than the margin."""


@dataclass(frozen=True)
class Verdict:
    """A word and the sentence that justifies it."""

    word: Word
    reason: str


def absolute_gates(
    metrics: Mapping[str, float | None], settings: Gates, problems: Mapping[str, str] | None = None
) -> list[Gate]:
    """Return every absolute gate of the settings with its measured value.

    Args:
        metrics: values by name; None or NaN where a value cannot be computed.
        settings: the thresholds.
        problems: why a metric cannot be computed, by name, as far as that is known.
    """
    gates = []
    for name, limit in settings.limits.items():
        value, problem = metrics[name], (problems or {}).get(name)
        value = value if value is not None and isfinite(value) else None
        if limit.min is not None:
            gates.append(Gate(name, value, limit.min, "min", problem))
        if limit.max is not None:
            gates.append(Gate(name, value, limit.max, "max", problem))
    return gates


def decide(
    gates: Sequence[Gate],
    broken: Sequence[str],
    as_of: date,
    champion: Champion | None,
    comparison: Comparison | None,
    settings: Gates,
    missing: str | None = None,
    trivial: str | None = None,
    resampled: str = "days",
) -> Verdict:
    """Return the verdict; the first rule that applies decides.

    Args:
        gates: absolute gates.
        broken: behaviour checks of severity `block` that do not hold, in words.
        as_of: the challenger's.
        champion: what serves, None if nothing does.
        comparison: None if the champion could not be scored.
        settings: the level of confidence, and the primary metric's name.
        missing: why the challenger's primary metric cannot be computed, in words; None if it can be.
        trivial: why the challenger is no better than a model with one constant answer, in words; None if it is better.
        resampled: what the comparison resampled, in words: days, or what a task without days has in their place.
    """
    if failed := [gate for gate in gates if not gate.passed]:
        return Verdict("block", "; ".join(map(str, failed)))
    if broken:
        return Verdict("block", "; ".join(broken))
    if trivial:
        return Verdict("block", trivial)
    if champion is None:
        return Verdict(
            "promote", "all gates passed, and there is no champion yet" + (f"; {missing}" if missing else "")
        )
    if as_of < champion.as_of:
        return Verdict(
            "keep",
            f"the champion is as of {champion.as_of}, which is later: it may have learned from this holdout; "
            "move as_of on",
        )
    if missing:
        return Verdict("keep", f"{missing}, so nothing shows that this model is better than the champion")
    if comparison is None:
        reason = f"the champion cannot be compared with: {champion.problem}"
        if settings.unscorable_champion == "promote":
            return Verdict("promote", f"all gates passed, and gates.unscorable_champion is promote: {reason}")
        return Verdict("keep", f"{reason}; to replace it all the same, set gates.unscorable_champion to promote")
    side = "better" if comparison.gain > 0 else "worse"
    measured = (
        f"{settings.primary} {abs(comparison.gain):.4f} {side} than the champion's, "
        f"better in {comparison.share_better:.1%} of resampled {resampled} (required {settings.confidence:.0%})"
    )
    if comparison.worse_slices:
        return Verdict("keep", f"worse on {', '.join(comparison.worse_slices)}; overall {measured}")
    return Verdict("promote" if comparison.share_better >= settings.confidence else "keep", measured)
