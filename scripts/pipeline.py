"""Run the whole pipeline, or some stages of it, in order.

Prepare to package go through DVC: what has not changed is not computed again, and the reason for each run is printed.
The last lines say what was decided, where the report is, and what failed.

With --executor kind every stage runs in pods of a cluster of Kind on this machine, as Jenkins would run it: the cluster
and the images are made first if they are not there, and the model is rolled out to the cluster. --executor auto does so
where Docker and Kind are there, and otherwise runs the stages here, as processes.

Exit code 0 for the verdicts promote and keep, 1 if the model is blocked or a stage failed, 2 for bad input.
"""

import os
import sys
import time
from typing import Literal

from ci.command import end_in_order, parser, run
from ci.stages import NAMES


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "pipeline")
    arguments.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(NAMES)}; all if none is named")
    arguments.add_argument(
        "--executor", choices=["local", "kind", "auto"], default="local", help="where stages run (local)"
    )
    arguments.add_argument(
        "--cluster",
        default=os.environ.get("CLUSTER") or "model-pipeline",
        metavar="NAME",
        help="the cluster of Kind ($CLUSTER, or else model-pipeline)",
    )
    arguments.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="override one setting"
    )
    options = arguments.parse_args(argv)
    return run(lambda: pipeline(options.stages, options.overrides, options.executor, options.cluster))


def pipeline(stages: list[str], overrides: list[str], executor: Literal["local", "kind", "auto"], cluster: str) -> int:
    """Run the stages and print the seconds and the conclusion."""
    from ci import workspace
    from ci.errors import InputError, StageError
    from ci.results.report import SUMMARY
    from ci.run.order import run as run_stages

    if unknown := [stage for stage in stages if stage not in NAMES]:
        raise InputError(f"there is no stage {', '.join(unknown)}; the stages are {' '.join(NAMES)}")
    end_in_order()
    if stages and executor == "kind":
        raise InputError("--executor kind runs whole builds: name no stages, or run them here")
    failure: InputError | StageError | None = None
    started = time.time()
    seconds: dict[str, float] = {}
    try:
        if stages or executor == "local" or not in_pods(executor, cluster, overrides, seconds):
            seconds = run_stages(stages or NAMES, overrides)
        print("seconds: " + ", ".join(f"{stage} {taken:.1f}" for stage, taken in seconds.items()), end="")
        print(f"; {sum(seconds.values()):.1f} in all")
    except (InputError, StageError) as error:
        failure = error
    if SUMMARY.path.exists() and SUMMARY.path.stat().st_mtime >= started:
        try:
            print(f"{SUMMARY.read().headline} | report: {workspace.REPORT / 'index.html'}")
        except InputError as error:
            failure = failure or error
    if failure:
        raise failure
    return 0


def in_pods(executor: Literal["kind", "auto"], cluster: str, overrides: list[str], seconds: dict[str, float]) -> bool:
    """Run the build in pods if that is wanted and can be, and tell whether it was; `seconds` gets each step's time."""
    from ci.run.executor import site

    if not site.possible(executor):
        return False
    site.run(cluster, overrides, seconds)
    return True


if __name__ == "__main__":
    sys.exit(main())
