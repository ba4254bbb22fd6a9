"""Look whether this machine has what `make ci` needs, and say what to do about what is missing.

Checked are Python, the Git repository, Docker, Kind and kubectl, the memory and disk that containers have, the cluster,
and the ports of the model and of the registry. `make ci EXECUTOR=local` runs everything as processes, and needs neither
Docker nor Kind. Settings, such as the port, come from pipeline.yaml, the variable PIPELINE_SET (see scripts.configure)
and --set.

Exit code 0 if nothing is to be mended, else 1.
"""

import os
import sys

from ci.command import parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "doctor")
    cluster = os.environ.get("CLUSTER") or "model-pipeline"
    arguments.add_argument(
        "--name", default=cluster, help="the cluster's name (the variable CLUSTER, or model-pipeline)"
    )
    arguments.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="override one setting"
    )
    options = arguments.parse_args(argv)
    return run(lambda: doctor(options.name, options.overrides))


def doctor(name: str, overrides: list[str]) -> int:
    """Print what each check found."""
    from ci import parameters
    from ci.run import clusters
    from ci.run.doctor import examine

    clusters.require_name(name)
    settings = parameters.settings(overrides)
    findings = examine(name, settings.serving.port)
    for each in findings:
        print(f"doctor: {'✗' if each.wrong else '✓'} {each.name}: {each.found}")
        if each.wrong:
            print(f"doctor:     {each.mend}")
    wrong = sum(each.wrong for each in findings)
    print(f"doctor: {wrong} of {len(findings)} to mend" if wrong else "doctor: `make ci` can run on Kind here")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
