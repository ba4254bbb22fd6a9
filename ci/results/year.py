"""What a year was like that was lived with the real commands under several policies (`python -m benchmarks.year`)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ci import workspace
from ci.results.evaluation import Measured
from ci.results.file import Count, Day, File, Many, Real, Result
from ci.results.monitoring import Brake, Cause, Verdict


class Week(Result):
    """A week of a policy: how good the answers were, what was seen, decided and built at its end."""

    first: Day
    as_of: Day
    """Until when the model that served knew the data."""
    rows: Count
    metrics: dict[str, Measured]
    seen: Verdict | None = None
    performance: Literal["ok", "watch", "drift", "broken"] | None = None
    retrain: bool = False
    cause: Cause | None = None
    brake: Brake | None = None
    why: str = ""
    verdict: Literal["promote", "keep", "block"] | None = None
    """Of the build that was made."""
    reason: str = ""
    seconds: Real = 0.0
    """CPU seconds of watching and building."""


class Policy(Result):
    """A policy: its weeks, the means over those that are judged, and what it took."""

    name: str
    weeks: Many[Week]
    means: dict[str, Measured]
    """Of each metric over the weeks that are judged."""
    trainings: Count
    promoted: Count
    most: Count
    """Trainings that began within 28 days, at most: what a storm would show in."""
    building: Real
    """CPU seconds of builds after the first, which is the same for all."""
    watching: Real


class Difference(Result):
    """The loop's mean less another policy's, by week: the interval holds for other weeks like these."""

    against: str
    metric: str
    weeks: Count
    value: Measured
    low: Measured
    high: Measured


class Year(Result):
    """Policies on the same traffic."""

    model: str
    commit: str
    metrics: Many[str] = Field(min_length=1)
    """The primary one first."""
    more_is_better: bool
    judged_from: Day
    """The means and differences are of the weeks from this day on."""
    overrides: Many[str] = Field(default_factory=list)
    weeks: Annotated[int, Field(ge=1, le=1000)]
    first_build: Real
    """CPU seconds of the first build."""
    policies: Many[Policy] = Field(min_length=1, max_length=4)
    """The loop is the last one."""
    differences: Many[Difference]

    @model_validator(mode="after")
    def _complete(self) -> "Year":
        for policy in self.policies:
            if len(policy.weeks) != self.weeks:
                raise ValueError(f"policies: {policy.name} has {len(policy.weeks)} weeks, not {self.weeks}")
            if any(found.keys() != {*self.metrics} for found in (policy.means, *(w.metrics for w in policy.weeks))):
                raise ValueError(f"policies: {policy.name} has other metrics than {', '.join(self.metrics)}")
        return self


YEAR: File[Year] = File(workspace.BUILD / "year.json", Year)
