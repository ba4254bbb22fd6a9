"""How a rollout went, as its picture shows it: a function of the journal and of what was decided."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from ci.rollout.decision import Phase, Step

Json = Mapping[str, Any]
Kind = Literal["done", "waited", "failed", "abort"]
Serving = Literal["nothing", "before", "both", "new"]
_TAKES = {Phase.SERVING, Phase.SHARING, Phase.ROLLING}
"""Phases in which a version takes new requests of clients."""


@dataclass(frozen=True)
class Row:
    """One step: from when to when, in seconds since the first one began, and how it went."""

    name: str
    begin: float
    end: float
    kind: Kind


@dataclass(frozen=True)
class Span:
    """What took clients' new requests from one moment to another; seconds since the first step began."""

    begin: float
    end: float
    serving: Serving
    words: str


@dataclass(frozen=True)
class Timeline:
    """A rollout.

    Attributes:
        title: what came of it, as a sentence.
        began: when, in words.
        rows: the steps, the first one first.
        lane: what served, without gaps.
        after: what serves since, None if that is not known.
        measures: of the last analysis, as the journal has them.
    """

    title: str
    began: str
    rows: list[Row]
    lane: list[Span]
    after: tuple[Serving, str] | None
    measures: list[Json]


def describe(steps: Sequence[Json], summary: Json) -> Timeline:
    """Return what there is to show of a rollout that has ended; it took a step at least."""
    ends = [datetime.fromisoformat(entry["time"]).timestamp() for entry in steps]
    zero = ends[0] - steps[0]["seconds"]
    rows = [
        Row(name, max(0.0, end - zero - entry["seconds"]), end - zero, _kind(entry))
        for name, end, entry in zip(names(steps, summary), ends, steps, strict=True)
    ]
    left = _left(steps)
    return Timeline(
        title=_shown(_title(steps, rows, left, summary)),
        began=datetime.fromtimestamp(zero, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        rows=rows,
        lane=list(_lane(steps, rows, summary)),
        after=None if left is None else _serving(left, summary, ended=True),
        measures=next((entry["measures"] for entry in reversed(steps) if "measures" in entry), []),
    )


def names(steps: Sequence[Json], summary: Json) -> list[str]:
    """Return a unique name for each step, with what a wait was for and which other version it was about."""
    found, seen = [], Counter[str]()
    for entry in steps:
        name = entry["step"]
        if name == Step.WAIT:
            name = f"wait ({entry['observed'].get(entry['digest'], 'loading')})"
        if entry["digest"] != summary.get("digest", entry["digest"]):
            name += f", {_version(entry['digest'], summary)}"
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return found


def duration(seconds: float) -> str:
    """Return a duration in words."""
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds >= 0.05 else "< 0.1 s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    return f"{round(seconds) // 60} min {round(seconds) % 60} s"


def _kind(entry: Json) -> Kind:
    if "failed" in entry:
        return "failed"
    if entry["step"] == Step.ABORT:
        return "abort"
    return "waited" if entry["step"] == Step.WAIT or "again" in entry else "done"


def _takers(phases: Json) -> set[str]:
    return {digest for digest, phase in phases.items() if phase in _TAKES}


def _left(steps: Sequence[Json]) -> set[str] | None:
    """Return which versions take requests after the last step, None if it could not be seen."""
    last = steps[-1]
    if last["step"] != Step.ABORT:
        return {last["digest"]}  # a rollout that is not aborted ends when this version alone serves
    return _takers(last["left"]) if "left" in last else None


def _lane(steps: Sequence[Json], rows: Sequence[Row], summary: Json) -> Iterator[Span]:
    """Yield what served: the state that a step was decided on lasts until the next step begins."""
    before: set[str] = set()
    span = None
    for entry, row, follower in zip(steps, rows, [*rows[1:], None], strict=True):
        phases, end = entry["observed"], follower.begin if follower else row.end
        takers = _takers(phases)
        if Phase.ROLLING in phases.values():
            takers |= before  # the pods that give way are of the same Deployment, and serve to their end
        serving, words = _serving(takers, summary)
        before = takers
        if span and (span.serving, span.words) == (serving, words):
            span = Span(span.begin, end, serving, words)
            continue
        if span:
            yield span
        span = Span(span.end if span else 0.0, end, serving, words)
    if span:
        yield span


def _serving(takers: Set[str], summary: Json, *, ended: bool = False) -> tuple[Serving, str]:
    """Return which of old and new take requests, and that in words."""
    new = summary["digest"] in takers
    others = sorted(_version(digest, summary) for digest in takers - {summary["digest"]})
    if not new:
        return ("before", " + ".join(others)) if others else ("nothing", "nothing")
    if others:
        return "both", f"{' + '.join(others)} + new"
    return "new", f"release {summary['release']}" if ended and summary.get("release") else "new version"


def _version(digest: str, summary: Json) -> str:
    before = summary.get("before")
    return f"release {before['release']}" if before and before["digest"] == digest else "another version"


def _title(steps: Sequence[Json], rows: Sequence[Row], left: Set[str] | None, summary: Json) -> str:
    before, aborted = summary.get("before"), next((n for n, e in enumerate(steps) if e["step"] == Step.ABORT), None)
    serves = "nothing serves"
    if left is None:
        serves = "what serves could not be seen"
    elif before and before["digest"] in left:
        serves = f"release {before['release']} serves"
    elif left:
        serves = "another version serves" if summary["digest"] not in left else "it still serves"
    again = before and all(entry["digest"] == before["digest"] for entry in steps)
    name = f"Release {before['release']}" if again and before else f"Version {summary['version']}"
    if aborted is not None:
        reason = steps[aborted]["reason"].removeprefix(f"version {summary['version']}: ")
        took = duration(rows[aborted].end)
        if again:
            return f"{name} could not be started again ({took}): {reason}; {serves}."
        met = any(summary["digest"] in _takers(entry["observed"]) for entry in steps[: aborted + 1])
        did = "was rolled back" if summary["action"] == "deploy" else "was not brought back, but given up"
        return f"{name} {did} after {took}{'' if met else ', before any request met it'}: {reason}; {serves}."
    if again:
        return f"{name} was not serving, and was started again in {duration(rows[-1].end)}."
    done = next((row.end for row, entry in zip(rows, steps, strict=True) if entry["step"] == Step.RECORD), rows[-1].end)
    place = f", in the place of release {before['release']}" if before else ""
    return f"{name} serves as release {summary['release']} after {duration(done)}{place}."


def _shown(text: str) -> str:
    """Return text of servers and clusters as one printable line with shortened digests."""
    line = re.sub(r"(sha256:[0-9a-f]{12})[0-9a-f]+", "\\1\N{HORIZONTAL ELLIPSIS}", " ".join(text.split()))
    return "".join(filter(str.isprintable, line))
