"""Results of the test stage."""

from collections.abc import Iterable, Mapping
from math import isfinite, nan
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ci import workspace
from ci.results.data import Distribution, Share
from ci.results.file import Count, Day, File, Many, Real, Result

Measured = Annotated[
    Real | None, BeforeValidator(lambda value: None if isinstance(value, float) and not isfinite(value) else value)
]
"""A number, or None if it cannot be computed; earlier versions wrote NaN then."""


class Interval(Result):
    """A metric on the holdout with its 95 % interval by resampling, and why it cannot be computed, if so."""

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
    """By how much the challenger is better, with the interval, and in which share of the resamples."""

    gain: Measured
    low: Measured
    high: Measured
    share_better: Share


class ClassScore(Result):
    """How one class, label or number of an output is predicted; a metric that it does not have is None."""

    name: str
    rows: Count
    precision: Measured = None
    recall: Measured = None
    auc: Measured = None
    rmse: Measured = None
    mae: Measured = None


class Predicted(Result):
    """An output: its kind, the columns that it predicts, and the names of its classes or values."""

    name: str
    kind: str
    target: list[str]
    classes: list[str]


class Trivial(Result):
    """Whether the model is better than one that always gives the same answer, by which metric, and how surely."""

    answer: str
    metric: str
    gain: Measured
    share_better: Share
    passed: bool


class Evaluation(Result):
    """Metrics, gates, slices, the comparisons with a trivial model and the champion, and the verdict.

    `days` counts what is resampled, which is named by `resampled`.
    """

    as_of: Day
    verdict: Literal["promote", "keep", "block"]
    reason: str
    primary: str
    target: str | None = None
    outputs: Many[Predicted] = Field(default_factory=list)
    resampled: str = "days"
    trivial: Trivial | None = None
    classes: dict[str, Many[ClassScore]] = Field(default_factory=dict)
    confusion: dict[str, Many[Many[Count]]] = Field(default_factory=dict)
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


_DEPTH = 8
"""Lists in lists that a request may hold."""


def _request(value: Any, depth: int = 0) -> Any:
    if isinstance(value, list) and depth < _DEPTH:
        return [_request(each, depth + 1) for each in value]
    if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
        return value
    if value is None or isinstance(value, bool | str | int) or (isinstance(value, float) and isfinite(value)):
        return value
    raise ValueError("it is no value of a request: a number, a text, null, a list of these, or {'b64': …}")


def _answer(value: Any) -> Any:
    each = value.values() if isinstance(value, dict) else [value]
    numbers = [number for part in each for number in (part if isinstance(part, list) else [part])]
    if all(number is None or (type(number) in (int, float) and isfinite(number)) for number in numbers):
        return value
    raise ValueError("it is no answer: a number, null, a list of these, or one of them for each output")


Value = Annotated[Any, AfterValidator(_request)]
"""A value in a request; a missing number is None, and sent as NaN (see `sent`). A file is `{"b64": …}`."""
Answer = Annotated[Any, AfterValidator(_answer)]
"""An answer: a number or a list, and for several outputs one of them for each; None is a number that is not finite."""


class Golden(Result):
    """Requests, and the answers that every copy of the model must give; None is a number that is not finite."""

    instances: Many[dict[str, Value]]
    predictions: Many[Answer]

    @model_validator(mode="after")
    def _even(self) -> "Golden":
        if len(self.instances) != len(self.predictions):
            raise ValueError(f"it has {len(self.predictions)} predictions for {len(self.instances)} instances")
        return self


def sent(instances: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return requests as they are sent: TensorFlow Serving takes the token NaN for a missing number, and no null."""
    return [{name: _sent(value) for name, value in row.items()} for row in instances]


def _sent(value: Any) -> Any:
    if isinstance(value, list):
        return [_sent(each) for each in value]
    return nan if value is None else value


Counts = Annotated[str, Field(pattern=r"^[0-9]{1,18}( [0-9]{1,18})*$")]
"""How many rows are in each bin, as in `12 0 5`."""


class Periods(Result):
    """Whole periods of the training days: by column how many rows of each are in each bin, see `ci.quality.periods`.

    `length` is a period's in days; `days` are those behind the reference of features, and of predictions.
    """

    length: Count
    days: dict[Literal["features", "predictions"], Count]
    features: dict[str, Many[Counts]]
    predictions: dict[str, Many[Counts]]


class Expected(Result):
    """A metric on the holdout with its 95 % interval, of all rows or of a slice: what labels are compared with."""

    metric: str
    column: str | None = None
    slice: str | None = None
    value: Real
    low: Real
    high: Real


class Reference(Result):
    """How the training data were distributed by watched column, and the model's own predictions for the holdout.

    Beside them what monitoring measures thresholds on, and how good the model was on how many days of the holdout.
    """

    features: dict[str, Distribution]
    predictions: dict[str, Distribution]
    periods: Periods | None = None
    expected: Many[Expected] = Field(default_factory=list)
    days: Count = 0

    @model_validator(mode="before")
    @classmethod
    def _of_any_version(cls, value: Any) -> Any:
        return of_any_version(value)


def of_any_version(reference: Any) -> Any:
    """Return a reference as it is written now: earlier versions knew a single number to predict."""
    if isinstance(reference, dict) and "prediction" in reference and "predictions" not in reference:
        rest = {key: each for key, each in reference.items() if key != "prediction"}
        return {**rest, "predictions": {"prediction": reference["prediction"]}}
    return reference


EVALUATION: File[Evaluation] = File(workspace.EVALUATION / "evaluation.json", Evaluation)
GOLDEN: File[Golden] = File(workspace.EVALUATION / "golden.json", Golden)
REFERENCE: File[Reference] = File(workspace.EVALUATION / "reference.json", Reference)
