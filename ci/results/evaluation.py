"""Results of the test stage."""

from collections.abc import Iterable, Mapping
from math import isfinite, nan
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from ci import workspace
from ci.results.data import Distribution, Share
from ci.results.file import Count, Day, File, Many, Real, Result, Whole

Measured = Annotated[
    Real | None, BeforeValidator(lambda value: None if isinstance(value, float) and not isfinite(value) else value)
]
"""A number, or None if it cannot be computed; earlier versions wrote NaN then."""


class Interval(Result):
    """A metric on the holdout with its 95 % interval over resampled days, and why it cannot be computed, if so."""

    value: Measured
    low: Measured
    high: Measured
    problem: str | None = None


class Gate(Result):
    """An absolute gate; the margin is negative if it is not passed, and None if the value cannot be computed."""

    name: str
    value: Measured
    threshold: Real
    side: Literal["min", "max"]
    margin: Measured
    passed: bool
    problem: str | None = None


class Check(Result):
    """A behaviour check."""

    name: str
    severity: Literal["block", "warn"]
    holds: bool
    measured: str


class Slice(Interval):
    """The primary metric where `column` has the value `slice`; gain and worse only where there is a champion."""

    column: str
    slice: str
    rows: Count
    gain: Real | None = None
    worse: bool = False


class ChampionScore(Result):
    """The champion in the evaluation, and why it could not be compared with, if so."""

    as_of: Day
    problem: str | None


class Comparison(Result):
    """By how much the challenger is better, with the interval, and in which share of resampled days."""

    gain: Measured
    low: Measured
    high: Measured
    share_better: Share


class Evaluation(Result):
    """Metrics, gates, slices, the comparison with the champion, and the verdict."""

    as_of: Day
    verdict: Literal["promote", "keep", "block"]
    reason: str
    primary: str
    target: str | None = None
    rows: Count
    days: Count
    interval_level: Real
    level: Real
    slice_margin: Real
    metrics: dict[str, Interval]
    gates: Many[Gate]
    behaviour: Many[Check]
    slices: Many[Slice]
    champion: ChampionScore | None
    comparison: Comparison | None

    @model_validator(mode="after")
    def _measured(self) -> "Evaluation":
        if self.primary not in self.metrics:
            raise ValueError(f"metrics has no {self.primary}, which is the primary one")
        return self


Field_ = bool | Whole | Measured | str | None
"""The value of a field in a request; a missing number is None, and sent as NaN (see `sent`)."""


class Golden(Result):
    """Requests, and the answers that every copy of the model must give; None is one that is no finite number."""

    instances: Many[dict[str, Field_]]
    predictions: Many[Measured]

    @model_validator(mode="after")
    def _even(self) -> "Golden":
        if len(self.instances) != len(self.predictions):
            raise ValueError(f"it has {len(self.predictions)} predictions for {len(self.instances)} instances")
        return self


def sent(instances: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return requests as they are sent: TensorFlow Serving takes the token NaN for a missing number, and no null."""
    return [{name: nan if value is None else value for name, value in row.items()} for row in instances]


class Reference(Result):
    """How the training data were distributed by feature, and the model's own predictions for the holdout."""

    features: dict[str, Distribution]
    prediction: Distribution


EVALUATION: File[Evaluation] = File(workspace.EVALUATION / "evaluation.json", Evaluation)
GOLDEN: File[Golden] = File(workspace.EVALUATION / "golden.json", Golden)
REFERENCE: File[Reference] = File(workspace.EVALUATION / "reference.json", Reference)
