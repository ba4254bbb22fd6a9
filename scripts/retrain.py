"""Decide from the monitoring verdict whether to retrain, and with --start do it: build/retraining/.

Reads build/settings.yaml, build/monitoring/ and the serving release. Writes decision.json. Without --start nothing is
started; the command that would be run is printed.
"""

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
    from ci.rollout import releases

    settings = configuration.effective()
    monitoring = workspace.read_json(workspace.MONITORING / "monitoring.json")
    release = releases.serving()
    decision = decide(monitoring, date.fromisoformat(release["as_of"]), settings.retraining)
    as_of = monitoring["window"]["end"]
    command = ["python", "-m", "scripts.pipeline", "--set", f"as_of={as_of}"]
    workspace.write_json(
        workspace.RETRAINING / "decision.json",
        {"retrain": decision.retrain, "reason": decision.reason, "as_of": as_of, "command": " ".join(command)},
    )
    print(f"retrain: {decision} -> {workspace.RETRAINING}")
    if not decision.retrain:
        return 0
    if not start:
        print(f"retrain: nothing started; to do it: {' '.join(command)}")
        return 0
    return subprocess.run([sys.executable, *command[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
