"""Results of the tune and train stages."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from ci import workspace
from ci.results.file import Count, Digest, File, Many, Plain, Real, Result

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


class Known(Result):
    """A trial of an earlier search that was run to its end: its values, and its objective."""

    hyperparameters: dict[str, Plain]
    objective: Real


class Prior(Result):
    """What the search of the champion found, and the champion's image; the best trials come first."""

    digest: Digest
    trials: Many[Known]


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


class OutputSignature(Result):
    """What an output is: its kind, the names of its classes or values in order, and the shape of one row's answer."""

    kind: str | None = None
    classes: list[str] = Field(default_factory=list)
    shape: list[int | None] = Field(default_factory=list)


class Signature(Result):
    """The input fields of a SavedModel's `serving_default` with types and shapes of a row, and its outputs by name."""

    inputs: dict[str, str]
    shapes: dict[str, list[int | None]] = Field(default_factory=dict)
    outputs: dict[str, OutputSignature]

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, value: Any) -> Any:
        """Read what earlier versions wrote, which knew one output, a single number."""
        if isinstance(value, dict) and "output" in value and "outputs" not in value:
            rest = {key: each for key, each in value.items() if key != "output"}
            return {**rest, "outputs": {value["output"]: {}}}
        return value


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
KNOWN: File[list[Known]] = File(workspace.PACKAGE / "prior.json", Many[Known])
"""In a package that was built with `tuning.warm_start`: the best trials of its search."""
PRIOR: File[Prior | None] = File(workspace.PRIOR, Prior | None)
"""What a search begins with; None without a champion, or without `tuning.warm_start`."""
FIT: File[list[Line]] = File(workspace.TUNING / "fit.json", Many[Line])
SIGNATURE: File[Signature] = File(workspace.MODEL / "signature.json", Signature)
TRAINING: File[Training] = File(workspace.MODEL / "training.json", Training)
