"""Decide from the monitoring verdict whether to retrain, and with --start do it: build/retraining/.

Reads build/settings.yaml, build/monitoring/ and the serving release. Writes decision.json. Without --start nothing is
started; the command that would be run is printed. It has the overrides of this build, all but as_of.

Where jenkins.url of the settings names a controller, what is started is a build there (see scripts.jenkins_build for
JENKINS_USER and JENKINS_TOKEN), and not waited for. It is named after the release that serves and the day, so that the
same finding starts one build, however often it is made. Else the pipeline runs here.
"""

import shlex
import subprocess
import sys

from ci.command import parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "retrain")
    arguments.add_argument("--start", action="store_true", help="run the pipeline as of the end of the watched window")
    options = arguments.parse_args(argv)
    return run(lambda: retrain(start=options.start))


def retrain(*, start: bool) -> int:
    """Decide, say why, and start a build if told to."""
    from datetime import date

    from ci import configuration, workspace
    from ci.monitoring.retraining import decide
    from ci.results.build import OVERRIDES
    from ci.results.monitoring import MONITORING, RETRAINING
    from ci.rollout import place as places

    settings = configuration.effective()
    monitoring = MONITORING.read()
    release = places.look(settings).serving()
    decision = decide(monitoring, date.fromisoformat(release["as_of"]), settings.retraining)
    as_of = str(monitoring.window.end)
    overrides = [text for text in OVERRIDES.read() if not text.startswith("as_of=")]
    if settings.jenkins.url:
        request = f"retrain-{release['digest'].removeprefix('sha256:')[:12]}-{as_of}"
        given = [f"AS_OF={as_of}", *(["SETTINGS=" + "\n".join(overrides)] if overrides else [])]
        command = ["python", "-m", "scripts.jenkins_build", "--no-follow", f"--request={request}", "--", *given]
    else:
        command = ["python", "-m", "scripts.pipeline", *(f"--set={text}" for text in [*overrides, f"as_of={as_of}"])]
    RETRAINING.write(
        {"retrain": decision.retrain, "reason": decision.reason, "as_of": as_of, "command": shlex.join(command)}
    )
    print(f"retrain: {decision} -> {workspace.RETRAINING}")
    if not decision.retrain:
        return 0
    if not start:
        print(f"retrain: nothing started; to do it: {shlex.join(command)}")
        return 0
    return subprocess.run([sys.executable, *command[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
