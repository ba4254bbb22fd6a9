"""Which commands run in which pod, in which order: what the `Jenkinsfile` says line by line, and the executor does.

Derived from the table of stages; a test holds the `Jenkinsfile` to it. Each command also works by hand.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ci.stages import CACHED, STAGES

_PACK = "python -m scripts.handoff pack"
_RESTORE = "python -m scripts.handoff restore"


@dataclass(frozen=True)
class Part:
    """What runs in one pod, which starts empty.

    Attributes:
        name: what people call it.
        pod: its kind: small with tools only; for training, in the size that Plan decides; or small with the account
            that makes the tuning Job, or with the account that rolls out.
        container: name of the container that the commands run in.
        groups: by the name of a stage of the build, its commands; the first failure ends the part.
        always: what runs at the end of the part, also when it failed.
    """

    name: str
    pod: Literal["tools", "tuner", "training", "release"]
    container: str
    groups: dict[str, tuple[str, ...]]
    always: tuple[str, ...] = field(default=())

    @property
    def template(self) -> Path:
        """The file with its pod."""
        return Path("ci/agents", f"{self.pod}.yaml")

    @property
    def commands(self) -> tuple[str, ...]:
        """Every command of the part in order, but for those that always run at its end."""
        return tuple(command for group in self.groups.values() for command in group)


def _run(*stages: str) -> str:
    return f"python -m scripts.pipeline {' '.join(stages)}"


def _tools() -> tuple[list[str], list[str]]:
    """Return the stages that run before the cached ones and after them, the report left out."""
    names = [stage.name for stage in STAGES if stage.name != "report"]
    first = names.index(CACHED[0])
    return names[:first], names[first + len(CACHED) :]


def parts() -> tuple[Part, Part, Part]:
    """Return the three parts of a build: Plan, Model and Release."""
    before, after = _tools()
    plan = Part("plan", "tools", "tools", {"Plan": (_run(*before), "python -m scripts.agent", _PACK)})
    # Each stage ends with a push, so that a pod that replaces a lost one restores what was finished.
    stages: dict[str, tuple[str, ...]] = {name.capitalize(): (_run(name), "dvc push --run-cache") for name in CACHED}
    first, last = CACHED[0].capitalize(), CACHED[-1].capitalize()
    stages[first] = (_RESTORE, "dvc pull --allow-missing", *stages[first])
    stages[last] = (*stages[last], _PACK)
    model = Part("model", "training", "tensorflow", stages, (_run("report"),))
    release = Part(
        "release",
        "release",
        "tools",
        {
            # The build's own pods have ended by now: only the server's need room.
            "Place": (_RESTORE, "dvc pull", "python -m scripts.place --group serving"),
            "Deploy": (_run("deploy"),),
            "Monitor": (_run(*after[after.index("monitor") :]),),
        },
        ("python -m scripts.report --record",),
    )
    return plan, model, release


def tuning(*arguments: str) -> Part:
    """Return what runs between Plan and Model where several workers tune: the Job, whose result Model restores.

    Args:
        arguments: for `scripts.tune_job`.
    """
    command = " ".join(("python -m scripts.tune_job", *arguments))
    return Part("search", "tuner", "tools", {"Search": (_RESTORE, command)})
