"""The settings of a fork: one frozen model of `pipeline.yaml`, where a typo is an error.

Every number and name a fork sets has its meaning, unit and bounds here, in a file for each kind of section, and nowhere
else; `python -m scripts.configure --explain` prints them as a table, `--schema` as a JSON schema. Reading files and
overrides is in `ci.configuration`.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from ci.settings.building import Data, Gates, Model, Packaging, Training, Tuning
from ci.settings.cluster import Placement, Resources, Rollout, Serving
from ci.settings.jenkins import Environment, Jenkins, Notify
from ci.settings.kinds import Day, EnvironmentName, Section
from ci.settings.watching import History, Labels, Monitoring, Retention, Retraining


class Settings(Section):
    """All settings of a fork."""

    schema_version: Literal[1]
    """Version of this file's structure."""
    as_of: Day | Literal["latest"]
    """Today: data before this date are known, later days are traffic to come; `latest` is the day after the data."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of everything random."""
    model: Model
    """The model's identity."""
    data: Data = Data()
    """Where the data come from, and which days are for what."""
    tuning: Tuning = Tuning()
    """The hyperparameter search."""
    training: Training = Training()
    """The final training."""
    gates: Gates = Gates()
    """What a model must reach."""
    packaging: Packaging = Packaging()
    """The image that is shipped."""
    resources: Resources = Resources()
    """Requests of the pods."""
    placement: Placement = Placement()
    """The choice of nodes."""
    serving: Serving = Serving()
    """The server."""
    rollout: Rollout = Rollout()
    """How a new version takes over."""
    monitoring: Monitoring = Monitoring()
    """When traffic counts as drifted."""
    labels: Labels = Labels()
    """Outcomes that arrive late."""
    retraining: Retraining = Retraining()
    """What asks for a retraining."""
    history: History = History()
    """The record of finished builds."""
    retention: Retention = Retention()
    """What is left of the past."""
    jenkins: Jenkins = Jenkins()
    """The controller."""
    release_branch: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w./-]{0,199}$")] = "main"
    """The branch whose builds release on Jenkins; those of other branches and of pull requests never do."""
    notify: Notify = Notify()
    """Who is told of pull requests."""
    environments: Annotated[dict[EnvironmentName, Environment], Field(exclude_if=lambda named: not named)] = {}
    """Where the model serves, in the order of promotion: builds release to the first. Empty: in one place."""

    _whole: "Settings | None" = PrivateAttr(default=None)
    _environment: str | None = PrivateAttr(default=None)

    @field_validator("environments")
    @classmethod
    def _apart(cls, named: dict[str, Environment], info: ValidationInfo) -> dict[str, Environment]:
        """Make sure that no two environments are the same place, and that builds can release to the first."""
        serving = info.data.get("serving", Serving())
        places: dict[object, str] = {}
        for number, (name, found) in enumerate(named.items()):
            at = _at(serving, found)
            if number == 0 and found.approval:
                raise _wrong(
                    name, "approval", True, "builds release to the first environment unasked: approve later ones"
                )
            place = (at.context, at.overlay) if at.context else at.port
            if (other := places.setdefault(place, name)) != name:
                key, what = ("overlay", "context and overlay") if at.context else ("port", "port")
                why = f"it has the {what} of {other}, and would be the same place: give it its own"
                raise _wrong(name, key, getattr(at, key), why)
        return named

    @property
    def environment(self) -> str | None:
        """The environment that these settings are for; None where there is one place only."""
        return self._environment

    @property
    def option(self) -> str:
        """What names that environment in a command line, with a space before it; empty where there is one place."""
        return f" --environment {self._environment}" if self._environment else ""

    def at(self, environment: str) -> "Settings":
        """Return the settings for one of the environments."""
        whole = self._whole or self
        found = whole.environments[environment]
        rollout = whole.rollout.model_copy(update={"analysis": found.analysis or whole.rollout.analysis})
        changed = whole.model_copy(update={"serving": _at(whole.serving, found), "rollout": rollout})
        changed._whole, changed._environment = whole, environment
        return changed

    def first(self) -> "Settings":
        """Return the settings for the environment that builds release to."""
        return self.at(next(iter(self.environments))) if self.environments else self

    def last(self) -> "Settings":
        """Return the settings for the environment whose release is the champion."""
        return self.at([*self.environments][-1]) if self.environments else self

    @property
    def source(self) -> Path | None:
        """The data source as a path, or None for the data that the task ships with."""
        return None if self.data.source is None else Path(self.data.source)

    @property
    def weights(self) -> Path | None:
        """The pretrained weights as a path, or None if there are none."""
        return None if self.data.weights is None else Path(self.data.weights)


def _at(serving: Serving, environment: Environment) -> Serving:
    """Return how an environment serves."""
    own = {name: getattr(environment, name) for name in ("context", "overlay", "replicas", "port")}
    return serving.model_copy(update={name: value for name, value in own.items() if value is not None})


def _wrong(name: str, key: str, value: object, why: str) -> ValidationError:
    """Return the error that a key of an environment is wrong, so that its line is told."""
    problem = PydanticCustomError("value_error", "{why}", {"why": why})
    details = InitErrorDetails(type=problem, loc=(name, key), input=value)
    return ValidationError.from_exception_data("environments", [details])
