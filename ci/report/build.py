"""The results under `build/` that the report shows: read and checked, but none is required."""

from dataclasses import dataclass

from ci import configuration, workspace
from ci.results import build, data, rollout
from ci.results.build import Champion
from ci.results.data import Schema, Summary
from ci.results.evaluation import EVALUATION, Evaluation
from ci.results.monitoring import MONITORING, RETRAINING, Monitoring, Retraining
from ci.results.package import MANIFEST, Manifest
from ci.results.placement import PLAN, Plan
from ci.results.rollout import Rollout, Step
from ci.results.training import BEST, FIT, TRAINING, TRIALS, Best, Line, Training, Trial
from ci.results.year import YEAR, Year
from ci.settings import Settings


@dataclass(frozen=True)
class Served:
    """The last release of this machine, and whether its server was found to serve when the report was written."""

    release: int
    serves: bool


@dataclass(frozen=True)
class Build:
    """All results of a build; None or empty where a stage has written nothing."""

    settings: Settings | None
    champion: Champion | None
    data: Summary | None
    schema: Schema | None
    best: Best | None
    trials: list[Trial]
    fit: list[Line]
    training: Training | None
    evaluation: Evaluation | None
    package: Manifest | None
    plan: Plan | None
    rollout: Rollout | None
    steps: list[Step]
    monitoring: Monitoring | None
    retraining: Retraining | None
    runs: dict[str, str]
    """By cached stage, why it was run or was not."""
    year: Year | None = None
    """A year that was lived by `make year`."""
    served: Served | None = None
    """None where nothing was released on this machine."""
    apart: bool = False
    """Whether the model serves on a cluster that this build's pod has no account of, so that nobody could look."""

    def where(self) -> Settings | None:
        """Return the settings for the environment that the last rollout was in; None without settings."""
        named = self.rollout.environment if self.rollout else None
        return self.settings.at(named) if self.settings and named in self.settings.environments else self.settings


def read() -> Build:
    """Read what exists.

    Raises:
        InputError: a stage's result is not as the stage writes it; names file and key.
    """
    return Build(
        settings=configuration.effective() if workspace.SETTINGS.exists() else None,
        champion=build.CHAMPION.read_if_there(),
        data=data.SUMMARY.read_if_there(),
        schema=data.SCHEMA.read_if_there(),
        best=BEST.read_if_there(),
        trials=TRIALS.read_if_there() or [],
        fit=FIT.read_if_there() or [],
        training=TRAINING.read_if_there(),
        evaluation=EVALUATION.read_if_there(),
        package=MANIFEST.read_if_there(),
        plan=PLAN.read_if_there(),
        rollout=rollout.SUMMARY.read_if_there(),
        steps=rollout.STEPS.read_all(),
        monitoring=MONITORING.read_if_there(),
        retraining=RETRAINING.read_if_there(),
        runs=build.RUNS.read_if_there() or {},
        year=YEAR.read_if_there(),
    )
