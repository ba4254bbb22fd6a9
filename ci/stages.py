"""The table of stages: what each one is called, reads and writes, and how it runs. Everything else follows from it.

`dvc.yaml`, the `Jenkinsfile` and README's table are held to it by tests.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ci import reading, workspace
from ci.errors import InputError

Way = Literal["handoff", "dvc", "registry", "cluster"]
"""How results reach another pod: as texts of the one hand-over, by the DVC remote, as an image by the registry, or in
the cluster's own records of releases."""


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline.

    Attributes:
        name: what people call it.
        does: what its command writes, for README's table.
        result: the file that shows that it has run. Its other files lie beside it or in `others`.
        reads: the stages whose results it needs.
        cached: whether DVC runs it, so that unchanged inputs are not computed again. A stage that acts on the outside
            world is never cached.
        pod: the kind of pod that it runs in: one with TensorFlow, or the small one with tools only.
        travels: the ways by which its results reach other pods, which start empty. Without one they stay in the pod
            where they were written, for the stages after it there and for the report.
        others: what it writes in other places than beside its result.
        module: its command below `scripts`, if that is not its name.
    """

    name: str
    does: str
    result: Path
    reads: tuple[str, ...] = ()
    cached: bool = False
    pod: Literal["tools", "tensorflow"] = "tools"
    travels: tuple[Way, ...] = ()
    others: tuple[Path, ...] = ()
    module: str = ""

    @property
    def command(self) -> str:
        """The command line that runs it."""
        return f"python -m scripts.{self.module or self.name}"

    @property
    def writes(self) -> tuple[Path, ...]:
        """Files and folders that are this stage's alone."""
        folder = self.result.parent
        return (self.result if folder == workspace.BUILD else folder, *self.others)


STAGES = (
    Stage(
        "configure",
        "`pipeline.yaml` with overrides applied",
        workspace.SETTINGS,
        travels=("handoff",),
        others=(workspace.SOURCE, workspace.OVERRIDES, workspace.CARD),
    ),
    Stage(
        "champion",
        "what is serving, and what its search found",
        workspace.CHAMPION,
        ("configure",),
        travels=("handoff",),
        others=(workspace.PRIOR,),
    ),
    Stage(
        "prepare",
        "checked rows, divided into parts, with reference statistics",
        workspace.DATA / "summary.json",
        ("configure",),
        cached=True,
        pod="tensorflow",
        travels=("dvc",),
    ),
    Stage(
        "tune",
        "trials and the best hyperparameters",
        workspace.TUNING / "best.json",
        ("configure", "champion", "prepare"),
        cached=True,
        pod="tensorflow",
        travels=("dvc",),
    ),
    Stage(
        "train",
        "a SavedModel that takes raw fields",
        workspace.MODEL / "training.json",
        ("configure", "prepare", "tune"),
        cached=True,
        pod="tensorflow",
        travels=("dvc",),
    ),
    Stage(
        "test",
        "metrics, gates, the verdict `promote`, `keep` or `block`",
        workspace.EVALUATION / "evaluation.json",
        ("configure", "champion", "prepare", "train"),
        cached=True,
        pod="tensorflow",
        travels=("dvc",),
        module="evaluate",  # `scripts.test` would read as if it ran the repository's own tests
    ),
    Stage(
        "package",
        "an OCI image layout, bill of materials, manifest of digests, signature",
        workspace.PACKAGE / "manifest.json",
        ("configure", "prepare", "tune", "train", "test"),
        cached=True,
        pod="tensorflow",
        travels=("dvc", "registry"),
    ),
    Stage(
        "place",
        "which nodes, by integer programming, and why",
        workspace.PLACEMENT / "plan.json",
        ("configure",),
    ),
    # It follows the plan where there is one; a machine without a cluster needs none.
    Stage(
        "deploy",
        "every step, JUnit",
        workspace.ROLLOUT / "rollout.json",
        ("configure", "package"),
        travels=("cluster",),
    ),
    Stage("monitor", "drift by feature, in words", workspace.MONITORING / "monitoring.json", ("prepare", "deploy")),
    Stage("retrain", "retrain because …, or not now because …", workspace.RETRAINING / "decision.json", ("monitor",)),
    Stage("report", "the page that shows all of it, with its pictures", workspace.REPORT / "summary.json"),
)
"""In the order in which they run."""

NAMES = tuple(stage.name for stage in STAGES)
CACHED = tuple(stage.name for stage in STAGES if stage.cached)

HANDED_OVER = tuple(path for stage in STAGES if "handoff" in stage.travels for path in (stage.result, *stage.others))
"""The texts of the hand-over. All of them are there once the stages before the first cached one have run."""

HANDED_OVER_IF_THERE = (workspace.AGENT, workspace.TUNING_JOB, workspace.RUNS, workspace.LOCK)
"""What travels with them once it is there, though it is no stage's result: the training pod, the tuning Job, why cached
stages ran, and which of DVC's results belong to this build."""

_OTHERS = {
    workspace.AGENT: "python -m scripts.agent",
    workspace.TUNING_JOB: "python -m scripts.agent",
    workspace.HANDOFF: "python -m scripts.handoff pack",
}
"""What is no stage's result, and the command that writes it."""

PLUMBING = (
    "ci/__init__.py",
    "ci/command.py",
    "ci/configuration.py",
    "ci/errors.py",
    "ci/http.py",
    "ci/migration.py",
    "ci/reading.py",
    "ci/reading_yaml.py",
    "ci/references.py",
    "ci/results",
    "ci/settings",
    "ci/stages.py",
    "ci/workspace.py",
)
"""Code that every command needs to start, read and write; it does not decide what a cached stage computes, so a change
of it computes nothing again."""


def named(name: str) -> Stage:
    """Return the stage of a name."""
    return next(stage for stage in STAGES if stage.name == name)


def read_json(path: Path) -> Any:
    """Read a JSON result, whatever it holds; the files in `ci.results` know what it should be.

    Raises:
        InputError: it is missing (see `require`), or is not JSON (see `damaged`).
    """
    try:
        return reading.json(reading.content(require(path)), path)
    except reading.ReadError as error:
        raise damaged(path, error.problem, error.line) from None


def require(path: Path) -> Path:
    """Return `path` if it exists.

    Raises:
        InputError: it does not; the message names the command that writes it.
    """
    if path.exists():
        return path
    command = _written_by(path)
    raise InputError(f"{path} is missing" + (f": run `{command}` first" if command else ""))


def damaged(path: Path, problem: str, line: int | None = None) -> InputError:
    """Return the error that a result cannot be read; it names the file and the command that writes it again."""
    command = _written_by(path)
    place = path if line is None else f"{path}:{line}"
    return InputError(f"{place}: {problem}: " + (f"run `{command}` to write it again" if command else "restore it"))


def _written_by(path: Path) -> str | None:
    commands = {place: stage.command for stage in STAGES for place in stage.writes} | _OTHERS
    return next((commands[place] for place in (path, *path.parents) if place in commands), None)
