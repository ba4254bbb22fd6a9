"""Results of the monitor and retrain stages, and what is recorded of both for longer than a build."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from ci import workspace
from ci.results.data import Share, Window
from ci.results.file import Count, Day, Digest, File, Many, Real, Result, Version

Verdict = Literal["too few rows", "stable", "shifted", "drifted", "broken"]
Word = Literal["ok", "watch", "drift", "broken"]
Kind = Literal["data", "feature", "prediction", "performance", "service", "shadow"]
Cause = Literal["by hand", "performance", "predictions", "features", "age", "labels"]
"""What asks for a retraining."""
Brake = Literal["broken", "running", "same data", "windows", "no help", "cooldown", "budget"]
"""What stops one."""


class Drift(Result):
    """How far one column moved: population stability index in nats, and the bin that moved most, in words."""

    name: str
    psi: Real
    verdict: Verdict
    change: str


class Check(Result):
    """One check of a window: what was measured, the threshold, where that comes from, and a sentence for people.

    `p` is a p-value that is corrected for the number of checks; it advises, and decides nothing. `days` are those that
    performance was measured on, the last period of mature days; other checks have the window's.
    """

    name: str
    kind: Kind
    number: Real
    threshold: Real | None
    method: str
    verdict: Word
    sentence: str
    p: Share | None = None
    days: Window | None = None


class Monitoring(Result):
    """The verdict on a window of traffic, by feature, for the predictions, and overall.

    `prediction` is the prediction that moved most. `overall` is the worst verdict of a check after hysteresis, `shown`
    is what each check shows by itself. Without days in the task the window ends at `as_of`, and has none.
    """

    window: Window
    source: Literal["captured", "simulated"] = "simulated"
    rows: Count
    verdict: Verdict
    reason: str
    prediction: Drift
    predictions: Many[Drift] = Field(default_factory=list)
    features: Many[Drift]
    checks: Many[Check] = Field(default_factory=list)
    shown: dict[str, Word] = Field(default_factory=dict)
    overall: Word = "ok"
    why: str = ""


class Retraining(Result):
    """Whether to retrain, why or why not, what asks for it, which brake holds, and the command that does it."""

    retrain: bool
    reason: str
    cause: Cause | None = None
    brake: Brake | None = None
    as_of: Day
    command: str


class Watched(Result):
    """A window that was watched: of which release, its verdict, and whether it asks for a retraining."""

    release: str
    window: Window
    verdict: Verdict
    asks: bool
    shown: dict[str, Word] = Field(default_factory=dict)
    """What each check showed by itself, for the hysteresis of the next window."""
    rows: Count = 0
    """Requests that were in it when it was watched last: more of them later came late."""


class Look(Result):
    """A look at the gateways' counters: what each pod's said, the sums over all looks, and the latency.

    `p99` is what the slowest of 100 of the last requests took, in seconds; None where there are fewer.
    """

    time: datetime
    pods: dict[str, tuple[Count, Count]]
    requests: Count
    errors: Count
    p99: Real | None = None


class Attempt(Result):
    """A retraining that was begun: what names it, when, as of when, and whether it was asked for to the end."""

    request: str
    time: datetime
    as_of: Day
    cause: Cause
    done: bool


class Labels(Result):
    """What was joined: counts, how long labels take and how that is known, and which days are mature.

    `outcomes` are all that there were, of which `counts` says how many were `unusable`; one of these is told in words.
    """

    counts: dict[str, Count]
    outcomes: Count = 0
    unusable: str | None = None
    maturity_days: Count | None
    method: str
    watermark: Day | None
    labelled: dict[str, Count]
    source: str


class Shadow(Result):
    """A challenger that was kept, beside which champion it is asked, how often they were compared, and what came of it.

    `until` is the first day that was not mature when they were compared last.
    """

    digest: Digest
    version: Version
    as_of: Day
    champion: Digest
    looks: Count = 0
    until: Day | None = None
    found: Check | None = None


MONITORING: File[Monitoring] = File(workspace.MONITORING / "monitoring.json", Monitoring)
RETRAINING: File[Retraining] = File(workspace.RETRAINING / "decision.json", Retraining)
