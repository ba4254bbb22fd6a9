"""Results of the deploy stage: the decision, the journal of steps, and the releases."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, JsonValue

from ci import workspace
from ci.results.build import Champion
from ci.results.file import Count, Day, Digest, File, Lines, Many, Real, Result, Version
from ci.settings.kinds import EnvironmentName, Name

Action = Literal["deploy", "roll back", "nothing", "refuse"]


class Before(Result):
    """The release that served before."""

    digest: Digest
    version: Version
    release: Count


class Rollout(Result):
    """What was decided, and how it ended: the number of the last release, or why it failed."""

    action: Action
    reason: str
    digest: Digest
    version: Version
    before: Before | None
    release: Count | None = None
    failed: str | None = None
    environment: EnvironmentName | None = None
    """Where, if there are several."""


class Measure(Result):
    """What an analysis measured of a canary's traffic."""

    model_config = ConfigDict(extra="allow")

    name: str
    verdict: Literal["pass", "fail", "wait"]
    reason: str


class Step(Result):
    """A step of a rollout: its end and seconds, what ran when it was decided, and what was measured."""

    model_config = ConfigDict(extra="allow")

    time: datetime
    step: str
    digest: Digest
    seconds: Real
    observed: dict[str, str]


class Origin(Result):
    """The release of another environment that was promoted."""

    environment: EnvironmentName
    release: Count


class Release(Result):
    """A version that was verified while it served."""

    release: Count
    time: datetime
    digest: Digest
    version: Version
    as_of: Day
    model: Name
    inputs: str
    commit: str | None
    champion: Champion | None
    instead_of: Count | None = None
    """The release that was rolled back, where this one brought an earlier one back."""
    revision: str | None = None
    """On a cluster, the name of the pod template that was verified."""
    promoted_from: Origin | None = None
    """Where it was verified before, if it was promoted."""
    approved_by: str | None = None
    """Who has approved that, if somebody was asked."""


SUMMARY: File[Rollout] = File(workspace.ROLLOUT / "rollout.json", Rollout)
STEPS: Lines[Step] = Lines(workspace.ROLLOUT / "steps.jsonl", Step)
SKEW: File[list[dict[str, JsonValue]]] = File(workspace.ROLLOUT / "skew.json", Many[dict[str, JsonValue]])
"""Requests that were served otherwise than the SavedModel answers them, with both answers."""
RELEASES: Lines[Release] = Lines(workspace.STATE / "serving" / "releases.jsonl", Release)
