"""The sections of what a build computes: data, search, training, gates and the image."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ci import references
from ci.settings.kinds import NAME, Name, Section


def _prefix(value: str) -> str:
    """Check what stands before a model's name in the name of its repository: a host, a path, or both."""
    if problem := references.problem(f"{value}/{'x' * 42}"):
        raise ValueError(problem)
    return value


def _registry(value: str) -> str:
    """Check the host of a registry, as the names of its images begin with it."""
    if references.problem(f"{value}/x") or references.split(f"{value}/x") != (value, "x"):
        raise ValueError("expected HOST or HOST:PORT of a registry, such as kind-registry:5000")
    return value


def _base(value: str) -> str:
    """Check the name of a listed image, or the reference of any other; only the latter has a slash."""
    if "/" not in value and not re.fullmatch(NAME, value):
        raise ValueError("expected the name of an image of ci/images/images.yaml, or REPOSITORY:TAG")
    if "/" in value and (problem := references.image_problem(value)):
        raise ValueError(problem)
    return value


class Model(Section):
    """The model's identity."""

    name: Name
    """Name of the served model: the folder in the image and the path `/v1/models/NAME`."""


class Data(Section):
    """Where the data come from, and which days are for what."""

    source: Annotated[str, Field(min_length=1)] | None = None
    """File or folder that `model.data.load` reads; null means the data that the task ships with."""
    weights: Annotated[str, Field(min_length=1)] | None = None
    """File or folder with pretrained weights, which `build(hp, encoder, weights)` gets as a path; null: none."""
    holdout_days: Annotated[int, Field(ge=1, le=366)] = 14
    """The last days before `as_of`, kept for the test stage; days."""
    training_days: Annotated[int, Field(ge=2, le=3660)] = 108
    """Days before the holdout to learn from, as far as the data reach back; days."""
    validation_every: Annotated[int, Field(ge=2, le=100)] = 8
    """One day in so many of the training window is for validation; days."""
    traffic_days: Annotated[int, Field(ge=1, le=366)] = 14
    """Days after `as_of` that are sent through the served model where no real users are; days."""
    gap_days: Annotated[int, Field(ge=0, le=366)] = 0
    """Days before the holdout that belong to no part, as lagged fields of the holdout may hold them; days."""
    holdout_share: Annotated[float, Field(gt=0, le=0.9)] = 0.2
    """Where the task has no TIME: share of the rows that are kept for the test stage."""
    validation_share: Annotated[float, Field(gt=0, le=0.9)] = 0.1
    """Where the task has no TIME: share of the rows that are for validation."""
    traffic_share: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Where the task has no TIME: share of the rows that are sent through the served model where no real users are."""
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Where the task has no TIME: seed of the hash that puts a row into a part; another one is another holdout."""
    unreadable: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the rows that may be left out because a file that they name is missing or cannot be read."""

    @model_validator(mode="after")
    def _leaves_rows(self) -> "Data":
        if self.holdout_share + self.validation_share + self.traffic_share >= 1:
            raise ValueError("holdout_share, validation_share and traffic_share leave nothing to learn from")
        return self


class Objective(Section):
    """What tuning optimises."""

    name: Annotated[str, Field(pattern=r"^val_[a-z0-9_]+$")] = "val_loss"
    """A value that Keras logs on the validation rows after each epoch."""
    direction: Literal["min", "max"] = "min"
    """Whether less or more of it is better."""


class Tuning(Section):
    """The hyperparameter search and its budget."""

    strategy: Literal["bayesian", "random", "grid"] = "bayesian"
    """How the oracle picks the next trial."""
    objective: Objective = Objective()
    """What is optimised."""
    max_trials: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Trials at most."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 5
    """Epochs of a trial at most."""
    stop_poor_trials: bool = True
    """Whether trials that fall behind after 2, 4, 8, … epochs, and are not expected to catch up, are stopped."""
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    """How often a trial that failed is run again; three failed trials in a row end the search."""
    warm_start: bool = False
    """Whether a search begins with the best trials of the champion's, and with its scales of the hyperparameters."""
    workers: Annotated[int, Field(ge=1, le=1000)] = 1
    """Trials that run at the same time: processes on one machine, or pods of a Job on a cluster."""


class Training(Section):
    """The final training with the best hyperparameters."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Epochs at most."""
    patience: Annotated[int, Field(ge=1, le=1000)] = 2
    """Epochs without a better objective before training stops; the best epoch's weights are kept."""
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    """Rows in a gradient step."""
    threads: Annotated[int, Field(ge=1, le=256)] = 2
    """Threads of TensorFlow. Another number gives slightly different weights, so it is fixed here."""


Metric = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_ .()/-]{0,99}$")]
"""A metric that the task's kind has or that the task declares; of several outputs, `OUTPUT.METRIC`."""


class Limit(Section):
    """An absolute gate on one metric."""

    min: float | None = None
    """The metric must be at least this; the metric's unit."""
    max: float | None = None
    """The metric must be at most this; the metric's unit."""

    @model_validator(mode="after")
    def _one_bound(self) -> "Limit":
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min must not be more than max")
        return self


class Gates(Section):
    """What a model must reach on the holdout."""

    primary: Metric = "auc"
    """The metric by which challenger and champion are compared."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.9
    """Share of the resampled holdouts in which the challenger must be better to be promoted."""
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 2000
    """Bootstrap resamples of the holdout's days."""
    slice_margin: Annotated[float, Field(ge=0)] = 0.03
    """A slice that lost more against the champion, and beyond chance, keeps the champion; the primary metric's unit."""
    slice_min_rows: Annotated[int, Field(ge=2)] = 500
    """Rows from which a slice is large enough to be judged; rows."""
    unscorable_champion: Literal["keep", "promote"] = "keep"
    """What to do if the champion cannot run on this holdout, as after a field was renamed: keep it, or replace it."""
    limits: dict[Metric, Limit] = {}
    """Absolute gates by metric; a model that misses one is blocked."""


class Packaging(Section):
    """The image that is shipped."""

    repository: Annotated[str, AfterValidator(_prefix)] = "localhost/models"
    """Image repository, `[HOST[:PORT]/]PATH`; the image is `REPOSITORY/NAME:VERSION`."""
    plain_http: list[Annotated[str, AfterValidator(_registry)]] = []
    """Registries that are spoken to without TLS, each `HOST[:PORT]`; those on this machine always are."""
    base: Annotated[str, AfterValidator(_base)] | None = None
    """Image that the model's layer is put on: its name in ci/images/images.yaml, or `REPOSITORY:TAG[@DIGEST]`; null:
    for the stand-in server on this machine."""
    signing_key: Annotated[str, Field(min_length=1)] | None = None
    """File with the private elliptic key (PEM) that signs packages; `$NAME` is a variable's path; null: unsigned."""
    verify_key: Annotated[str, Field(min_length=1)] | None = None
    """File with the public key; packages that it does not verify are not deployed; null: all may be."""
