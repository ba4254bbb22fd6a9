"""What the stages left under `build/`, as far as the report shows it: read, checked, and never required.

Each class names the part of a stage's result that the report reads; what else a stage writes is not its matter.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ci import configuration, workspace
from ci.settings import Settings

T = TypeVar("T")


class Fact(BaseModel):
    """Part of a stage's result: immutable, strict about types, indifferent to what else is there."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Window(Fact):
    """Days from `first` up to but not including `end`."""

    first: date
    end: date

    def __str__(self) -> str:
        """Name the first and the last day."""
        return f"{self.first} to {self.end - timedelta(days=1)}" if self.end > self.first else "no days"


class Rows(Fact):
    """What the data source holds; rows."""

    rows: int
    unlabelled: int


class Data(Fact):
    """From `data/summary.json`: windows, and numbers by part (`train`, `validation`, `holdout`, `traffic`)."""

    as_of: date
    fingerprint: str
    windows: dict[Literal["training", "holdout", "traffic"], Window]
    rows: dict[str, int]
    days: dict[str, int]
    unlabelled: dict[str, int]
    target: dict[str, float]
    source: Rows


class Column(Fact):
    """One column of the schema report; type and missing share are None if the data do not have it."""

    type: str | None
    missing: float | None
    checks: list[str]


class Violation(Fact):
    """One check that does not hold; rows and share are None where it judges a column as a whole."""

    column: str | None
    check: str
    rows: int | None
    share: float | None
    fatal: bool
    examples: list[str]


class Schema(Fact):
    """From `data/schema.json`."""

    rows: int
    columns: dict[str, Column]
    violations: list[Violation]


class Trial(Fact):
    """One trial of the search."""

    trial: str | int
    hyperparameters: dict[str, Any]
    objective: float | None
    """None if it failed."""
    stopped: bool = False
    """Whether it was stopped before its last epoch, so that its objective is a partial one."""
    outcome: str = ""
    why: str = ""


class Line(Fact):
    """The objective along one hyperparameter through the best trial, as the fitted model has it; see `ci.tuning`."""

    name: str
    importance: float
    units: list[float]
    labels: list[str]
    mean: list[float]
    low: list[float]
    high: list[float]
    trials: list[tuple[float, float]]


class Training(Fact):
    """From `model/training.json`; the history holds a value for each epoch."""

    best_epoch: int
    history: dict[str, list[float]]
    hyperparameters: dict[str, Any]
    parameters: int


class Interval(Fact):
    """A metric on the holdout with its 95 % interval over resampled days."""

    value: float
    low: float
    high: float


class Gate(Fact):
    """An absolute gate; the margin is negative if it is not passed."""

    name: str
    value: float
    threshold: float
    side: Literal["min", "max"]
    margin: float
    passed: bool


class Check(Fact):
    """A behaviour check."""

    name: str
    severity: Literal["block", "warn"]
    holds: bool
    measured: str


class Slice(Interval):
    """The primary metric where `column` has the value `slice`; gain and worse only where there is a champion."""

    column: str
    slice: str
    rows: int
    gain: float | None = None
    worse: bool = False


class ChampionScore(Fact):
    """The champion in the evaluation, and why it could not be compared with, if so."""

    as_of: date
    problem: str | None


class Comparison(Fact):
    """By how much the challenger is better, with the interval, and in which share of resampled days."""

    gain: float
    low: float
    high: float
    share_better: float


class Evaluation(Fact):
    """From `evaluation/evaluation.json`."""

    as_of: date
    verdict: Literal["promote", "keep", "block"]
    reason: str
    primary: str
    rows: int
    days: int
    metrics: dict[str, Interval]
    gates: list[Gate]
    behaviour: list[Check]
    slices: list[Slice]
    champion: ChampionScore | None
    comparison: Comparison | None


class Champion(Fact):
    """From `champion.json`: what served before this build."""

    digest: str
    version: str
    as_of: date
    release: int


class Image(Fact):
    """The image's reference and digest."""

    reference: str
    digest: str


class Package(Fact):
    """From `package/manifest.json`."""

    model: str
    version: str
    as_of: date
    image: Image
    digests: dict[str, str]


class Task(Fact):
    """A pod to place and what it requests: milliCPU, bytes, counts."""

    name: str
    group: str
    requests: dict[str, int]


class Plan(Fact):
    """From `placement/plan.json`."""

    inventory: str
    nodes: int
    objective: int
    bound: float
    gap: float
    proven: bool
    plan: dict[str, str]
    unplaced: list[str]
    tasks: list[Task]


class Release(Fact):
    """A version that was verified while it served."""

    digest: str
    version: str
    release: int


class Served(Fact):
    """The last release of this machine, and whether its server was found to serve when the report was written."""

    release: int
    serves: bool


class Rollout(Fact):
    """From `rollout/rollout.json`."""

    action: Literal["deploy", "roll back", "nothing", "refuse"]
    reason: str
    digest: str
    version: str
    before: Release | None
    release: int | None = None
    failed: str | None = None


class Step(Fact):
    """A line of `rollout/steps.jsonl`; what was measured differs from step to step."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    time: str
    step: str
    digest: str
    seconds: float


class Drift(Fact):
    """How far one column moved: population stability index in nats, and the bin that moved most, in words."""

    name: str
    psi: float
    verdict: Literal["too few rows", "stable", "shifted", "drifted"]
    change: str


class Monitoring(Fact):
    """From `monitoring/monitoring.json`."""

    window: Window
    rows: int
    verdict: Literal["too few rows", "stable", "shifted", "drifted"]
    reason: str
    prediction: Drift
    features: list[Drift]


class Retraining(Fact):
    """From `retraining/decision.json`."""

    retrain: bool
    reason: str
    as_of: date
    command: str


@dataclass(frozen=True)
class Build:
    """Everything that is known about a build; None or empty for what its stage has not written."""

    settings: Settings | None
    champion: Champion | None
    data: Data | None
    schema: Schema | None
    best: Trial | None
    trials: list[Trial]
    fit: list[Line]
    training: Training | None
    evaluation: Evaluation | None
    package: Package | None
    plan: Plan | None
    rollout: Rollout | None
    steps: list[Step]
    monitoring: Monitoring | None
    retraining: Retraining | None
    runs: dict[str, str]
    """By cached stage, why it was run or was not."""
    served: Served | None = None
    """None where nothing was released on this machine."""


def read() -> Build:
    """Read what exists.

    Raises:
        InputError: a stage's result is not as the stage writes it; names file and key.
    """
    steps = workspace.ROLLOUT / "steps.jsonl"
    lines = steps.read_bytes().splitlines() if steps.exists() else []
    nothing_served = workspace.CHAMPION.exists() and workspace.CHAMPION.read_text(encoding="utf-8").strip() == "null"
    return Build(
        settings=configuration.effective() if workspace.SETTINGS.exists() else None,
        champion=None if nothing_served else _file(workspace.CHAMPION, Champion),
        data=_file(workspace.DATA / "summary.json", Data),
        schema=_file(workspace.DATA / "schema.json", Schema),
        best=_file(workspace.TUNING / "best.json", Trial),
        trials=_file(workspace.TUNING / "trials.json", list[Trial]) or [],
        fit=_file(workspace.TUNING / "fit.json", list[Line]) or [],
        training=_file(workspace.MODEL / "training.json", Training),
        evaluation=_file(workspace.EVALUATION / "evaluation.json", Evaluation),
        package=_file(workspace.PACKAGE / "manifest.json", Package),
        plan=_file(workspace.PLACEMENT / "plan.json", Plan),
        rollout=_file(workspace.ROLLOUT / "rollout.json", Rollout),
        steps=[parse(steps, line, Step, number) for number, line in enumerate(lines, 1)],
        monitoring=_file(workspace.MONITORING / "monitoring.json", Monitoring),
        retraining=_file(workspace.RETRAINING / "decision.json", Retraining),
        runs=_file(workspace.RUNS, dict[str, str]) or {},
    )


def _file(path: Path, kind: type[T]) -> T | None:
    return parse(path, path.read_bytes(), kind) if path.exists() else None


def parse(path: Path, text: bytes, kind: type[T], line: int | None = None) -> T:
    """Return JSON text, a file's or that of one of its lines, as what it should be.

    Raises:
        InputError: it is not; the message names the place and the command that writes the file.
    """
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise workspace.damaged(path, f"{key}: {first['msg']}" if key else first["msg"], line) from None
