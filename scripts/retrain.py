"""Decide from what was watched and recorded whether to retrain, and with --start do it: build/retraining/.

Reads build/settings.yaml, build/monitoring/, the serving release, and in history.folder what was watched, tried and
built. Writes decision.json. Without --start nothing is started; the command that would be run is printed. It has the
overrides of this build, all but as_of. --by-hand asks for a retraining whatever was watched: then neither cooldown nor
budget holds it back, but data that cannot be trusted, a build that runs, and the data of the last try do.

Where jenkins.url of the settings names a controller, what is started is a build there (see scripts.jenkins_build for
JENKINS_USER and JENKINS_TOKEN), and not waited for. It is named after the release that serves and the day, so that the
same finding starts one build, however often it is made. Else the pipeline runs here, and one at a time; without
TensorFlow, as in a pod that watches, that is refused.
"""

import importlib.util
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

from ci.command import parser, run

if TYPE_CHECKING:
    from ci.monitoring.retraining import Decision
    from ci.settings.jenkins import Jenkins


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "retrain")
    arguments.add_argument("--start", action="store_true", help="run the pipeline as of the end of the watched window")
    arguments.add_argument("--by-hand", action="store_true", help="ask for it, whatever was watched")
    options = arguments.parse_args(argv)
    return run(lambda: retrain(start=options.start, by_hand=options.by_hand))


def retrain(*, start: bool, by_hand: bool) -> int:
    """Decide, say why, and start a build if told to."""
    from dataclasses import replace
    from datetime import date

    from ci import clock, configuration
    from ci.errors import InputError
    from ci.monitoring import memory
    from ci.monitoring.retraining import Facts, decide
    from ci.report import history
    from ci.results.build import OVERRIDES
    from ci.results.monitoring import MONITORING, Attempt
    from ci.rollout import place as places

    settings = configuration.effective()
    monitoring = MONITORING.read()
    release = places.look(settings).watched()
    overrides = [text for text in OVERRIDES.read() if not text.startswith("as_of=")]
    labels = memory.labels(settings.history).read_if_there()
    as_of, labelled = monitoring.window.end, 0
    if labels and labels.watermark:  # what came later has no labels yet
        as_of = labels.watermark
        labelled = sum(rows for day, rows in labels.labelled.items() if day >= release["as_of"])
        overrides = [text for text in overrides if not text.startswith("data.source=")]
        overrides.append(f"data.source={labels.source}")

    def facts() -> Facts:
        return Facts(
            monitoring=monitoring,
            release=release["digest"],
            trained_as_of=date.fromisoformat(release["as_of"]),
            as_of=as_of,
            labelled=labelled,
            now=clock.now(),
            watched=memory.watched(settings.history),
            attempts=memory.attempts(settings.history),
            builds=[each for each in history.read(settings.history) if each.model == release["model"]],
            by_hand=by_hand,
        )

    if not start:
        found = facts()
        command = command_of(settings.jenkins, found.request, str(found.as_of), overrides)
        if tell(decide(found, settings.retraining), str(found.as_of), command):
            print(f"retrain: nothing started; to do it: {shlex.join(command)}")
        return 0
    with memory.alone(settings.history) as lock:
        found = facts()
        command = command_of(settings.jenkins, found.request, str(found.as_of), overrides)
        decision = decide(replace(found, running=None if lock else "a retraining runs here"), settings.retraining)
        if decision.retrain and settings.jenkins.url:
            decision = decide(replace(found, running=busy(settings.jenkins)), settings.retraining)
        if not tell(decision, str(found.as_of), command) or decision.cause is None or lock is None:
            return 0
        if not settings.jenkins.url and importlib.util.find_spec("tensorflow") is None:  # as in the image `tools`
            raise InputError(
                "jenkins.url: name the controller that retrains: the pipeline needs TensorFlow to run here"
            )
        made = Attempt(request=found.request, time=found.now, as_of=found.as_of, cause=decision.cause, done=False)
        memory.attempt(made, settings.history)
        code = subprocess.run([sys.executable, *command[1:]], check=False, pass_fds=[lock.fileno()]).returncode
        if code == 0 or not settings.jenkins.url:  # else Jenkins may not have been asked: the next time it is
            memory.attempt(made.model_copy(update={"done": True}), settings.history)
        return code


def tell(decision: "Decision", as_of: str, command: list[str]) -> bool:
    """Write and print a decision, and return whether it is to retrain."""
    from ci import workspace
    from ci.results.monitoring import RETRAINING

    said = {"retrain": decision.retrain, "reason": decision.reason, "cause": decision.cause, "brake": decision.brake}
    RETRAINING.write({**said, "as_of": as_of, "command": shlex.join(command)})
    print(f"retrain: {decision} -> {workspace.RETRAINING}", flush=True)
    return decision.retrain


def command_of(settings: "Jenkins", request: str, as_of: str, overrides: list[str]) -> list[str]:
    """Return the command that retrains, by Jenkins or here."""
    if not settings.url:
        return ["python", "-m", "scripts.pipeline", *(f"--set={text}" for text in [*overrides, f"as_of={as_of}"])]
    given = [f"AS_OF={as_of}", *(["SETTINGS=" + "\n".join(overrides)] if overrides else [])]
    return ["python", "-m", "scripts.jenkins_build", "--no-follow", f"--request={request}", "--", *given]


def busy(settings: "Jenkins") -> str | None:
    """Return what waits or runs on Jenkins beside this build, in words."""
    import os

    from ci.jenkins import client
    from ci.run import jenkins

    with jenkins.meant(settings, "model-pipeline") as remote:
        return client.find(remote, settings.job, settings.branch).busy(os.environ.get("BUILD_URL"))


if __name__ == "__main__":
    sys.exit(main())
