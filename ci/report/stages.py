"""The state of each stage: did this build run it, and how did it end? Functions of plain values."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ci.report.build import Build
from ci.stages import STAGES

State = Literal["done", "attention", "failed", "stale", "missing"]


SHOWN = tuple(stage for stage in STAGES if stage.name != "report")
"""The stages that the report shows: all but itself."""


@dataclass(frozen=True)
class Standing:
    """How a stage ended, in a word and a fact."""

    name: str
    command: str
    state: State
    fact: str

    @property
    def current(self) -> bool:
        """Whether what the stage left belongs to this build."""
        return self.state not in ("missing", "stale")


def standings(build: Build, existing: frozenset[Path]) -> dict[str, Standing]:
    """Return every stage's standing, in the pipeline's order.

    A result is stale if it is about another model or other days than the results before it, or if one of these is
    missing or stale itself: then it was left by an earlier build.

    Args:
        build: what the stages left.
        existing: the results that exist.
    """
    found: dict[str, Standing] = {}
    foreign = dict(_foreign(build))
    facts = dict(_facts(build))
    for stage in SHOWN:
        state, fact = facts.get(stage.name, ("done", ""))
        behind = next((name for name in stage.reads if not found[name].current), None)
        if stage.result not in existing:
            state, fact = "missing", "not run yet"
        elif stage.name in foreign:
            state, fact = "stale", foreign[stage.name]
        elif behind:
            state, fact = "stale", f"of an earlier build: {behind} has not run since"
        found[stage.name] = Standing(stage.name, stage.command, state, fact)
    return found


def _foreign(build: Build) -> Iterator[tuple[str, str]]:
    """Yield the stages whose results contradict those they were made from, and how."""
    settings, data, evaluation, package = build.settings, build.data, build.evaluation, build.package
    if settings and data and settings.as_of not in ("latest", data.as_of):
        yield "prepare", f"as of {data.as_of}, not {settings.as_of}"
    if build.training and build.best and build.training.hyperparameters != build.best.hyperparameters:
        yield "train", "with other hyperparameters"
    if evaluation and data and evaluation.as_of != data.as_of:
        yield "test", f"as of {evaluation.as_of}, not {data.as_of}"
    if package and evaluation and package.as_of != evaluation.as_of:
        yield "package", f"as of {package.as_of}, not {evaluation.as_of}"
    if build.rollout and package and build.rollout.digest != package.image.digest:
        yield "deploy", f"of version {build.rollout.version}"
    simulated = build.monitoring is not None and build.monitoring.source == "simulated"
    if build.monitoring and simulated and data and data.windows and build.monitoring.window != data.windows.traffic:
        yield "monitor", f"of {build.monitoring.window}"
    if build.retraining and build.monitoring and build.retraining.as_of != build.monitoring.window.end:
        yield "retrain", "about another window"


def _facts(build: Build) -> Iterator[tuple[str, tuple[State, str]]]:
    """Yield a few words about each stage, and whether a reader should look at it."""
    if build.settings:
        yield "configure", ("done", f"as of {build.settings.as_of}")
    yield "champion", ("done", f"release {build.champion.release}" if build.champion else "none yet")
    if build.data:
        found = len(build.schema.violations) if build.schema else 0
        rows = f"{build.data.source.rows:,} rows"
        yield "prepare", ("attention", f"{rows}, {found} violations") if found else ("done", rows)
    if build.best:
        yield "tune", ("done", f"{len(build.trials)} trials")
    if build.training:
        yield "train", ("done", f"best epoch {build.training.best_epoch}")
    if build.evaluation:
        state: dict[str, State] = {"promote": "done", "keep": "attention", "block": "failed"}
        yield "test", (state[build.evaluation.verdict], build.evaluation.verdict)
    if build.package:
        yield "package", ("done", build.package.version)
    if plan := build.plan:
        missing = f"{len(plan.unplaced)} fit nowhere"
        fits: tuple[State, str] = ("done", f"{len(plan.plan)} pods, {plan.objective} nodes")
        yield "place", ("failed", missing) if plan.unplaced else fits
    if build.rollout:
        yield "deploy", _rollout(build)
    if build.monitoring:
        steady = build.monitoring.verdict == "stable"
        yield "monitor", ("done" if steady else "attention", build.monitoring.verdict)
    if build.retraining:
        yield "retrain", ("attention", "retrain") if build.retraining.retrain else ("done", "not now")


def _rollout(build: Build) -> tuple[State, str]:
    assert build.rollout is not None  # noqa: S101 - the caller has looked
    if build.rollout.failed:
        return "failed", "refused" if build.rollout.action == "refuse" else "failed"
    return "done", f"release {build.rollout.release}" if build.rollout.action != "nothing" else "nothing to do"


def serving(build: Build) -> str:
    """Return what serves after this build, as a clause. What was observed counts more than what stages wrote."""
    rollout, served = build.rollout, build.served
    if served and not served.serves:
        failed = f"the rollout failed: {rollout.failed}; " if rollout and rollout.failed else ""
        return f"{failed}release {served.release} is to serve and does not: `make serve` starts it"
    if served and not (rollout and (rollout.failed or rollout.release == served.release)):
        return f"release {served.release} is serving"
    if rollout is None and build.apart:
        found = f"release {build.champion.release}" if build.champion else "no release"
        return f"{found} was the champion when this build began"
    if rollout is None:
        return f"release {build.champion.release} is serving" if build.champion else "nothing is deployed yet"
    if rollout.failed:
        kept = f"release {rollout.before.release} keeps serving" if rollout.before else "nothing is serving"
        return kept if rollout.action == "refuse" else f"the rollout failed: {rollout.failed}"
    if rollout.release is None:
        return "nothing is serving"
    return f"release {rollout.release} {'keeps' if rollout.action == 'nothing' else 'is'} serving"


def headline(build: Build, found: dict[str, Standing]) -> str:
    """Return in one line what was decided and why, and what serves now."""
    if build.evaluation is None or not found["test"].current:
        last = next(standing for standing in found.values() if not standing.current)
        return f"no verdict yet: {last.name} has not run for this build ({last.command}); {serving(build)}"
    return f"{build.evaluation.verdict}: {build.evaluation.reason}; {serving(build)}"
