"""Results of the tune and train stages."""

from typing import Annotated

from pydantic import Field, model_validator

from ci import workspace
from ci.results.file import Count, File, Many, Plain, Real, Result

Epochs = Annotated[int, Field(ge=1, lt=2**31)]


class Trial(Result):
    """One trial of the search; the objective is None if it failed, and partial if it was stopped early."""

    trial: str
    hyperparameters: dict[str, Plain]
    objective: Real | None
    epoch: Count
    outcome: str
    stopped: bool
    why: str


class Best(Trial):
    """The best trial."""

    objective: Real


class Line(Result):
    """The objective along one hyperparameter through the best trial, as the fitted model has it.

    `mean`, `low` and `high` are values at the points `units`, and `trials` pairs of a unit and an objective.
    """

    name: str
    importance: Real
    units: Many[Real]
    labels: Many[str]
    mean: Many[Real]
    low: Many[Real]
    high: Many[Real]
    trials: Many[tuple[Real, Real]]

    @model_validator(mode="after")
    def _even(self) -> "Line":
        if len({len(each) for each in (self.units, self.labels, self.mean, self.low, self.high)}) != 1:
            raise ValueError("units, labels, mean, low and high must be of one length")
        return self


class Signature(Result):
    """The input fields with their types, and the output's name, of a SavedModel's `serving_default`."""

    inputs: dict[str, str]
    output: str


class Training(Result):
    """The final training; the history holds a value for each epoch, by what Keras logs, and None for one not finite."""

    best_epoch: Epochs
    history: dict[str, Many[Real | None]]
    hyperparameters: dict[str, Plain]
    parameters: Count

    @model_validator(mode="after")
    def _whole(self) -> "Training":
        if {len(values) for values in self.history.values()} != {max(map(len, self.history.values()), default=0)}:
            raise ValueError("history must have one value or more of each name, of all as many")
        if any(len(values) < self.best_epoch for values in self.history.values()):
            raise ValueError(f"history has no epoch {self.best_epoch}, which is best_epoch")
        return self


BEST: File[Best] = File(workspace.TUNING / "best.json", Best)
TRIALS: File[list[Trial]] = File(workspace.TUNING / "trials.json", Many[Trial])
FIT: File[list[Line]] = File(workspace.TUNING / "fit.json", Many[Line])
SIGNATURE: File[Signature] = File(workspace.MODEL / "signature.json", Signature)
TRAINING: File[Training] = File(workspace.MODEL / "training.json", Training)
