"""Results of the tune and train stages."""

from typing import Annotated

from pydantic import Field

from ci import workspace
from ci.results.file import Count, File, Many, Plain, Result

Epochs = Annotated[int, Field(ge=1, lt=2**31)]


class Trial(Result):
    """One trial of the search; the objective is None if it failed, and partial if it was stopped early."""

    trial: str
    hyperparameters: dict[str, Plain]
    objective: float | None
    epoch: Count
    outcome: str
    stopped: bool
    why: str


class Line(Result):
    """The objective along one hyperparameter through the best trial, as the fitted model has it.

    `mean`, `low` and `high` are values at the points `units`, and `trials` pairs of a unit and an objective.
    """

    name: str
    importance: float
    units: Many[float]
    labels: Many[str]
    mean: Many[float]
    low: Many[float]
    high: Many[float]
    trials: Many[tuple[float, float]]


class Signature(Result):
    """The input fields with their types, and the output's name, of a SavedModel's `serving_default`."""

    inputs: dict[str, str]
    output: str


class Training(Result):
    """The final training; the history holds a value for each epoch, by what Keras logs."""

    best_epoch: Epochs
    history: dict[str, Many[float]]
    hyperparameters: dict[str, Plain]
    parameters: Count


BEST: File[Trial] = File(workspace.TUNING / "best.json", Trial)
TRIALS: File[list[Trial]] = File(workspace.TUNING / "trials.json", Many[Trial])
FIT: File[list[Line]] = File(workspace.TUNING / "fit.json", Many[Line])
SIGNATURE: File[Signature] = File(workspace.MODEL / "signature.json", Signature)
TRAINING: File[Training] = File(workspace.MODEL / "training.json", Training)
