"""Write the report of whatever the last build left: build/report/.

Writes index.html with its style sheet and pictures, summary.md for pull requests, summary.json, and name.txt and
headline.txt for Jenkins' lists of builds. Stages that have not run are named with their command; nothing needs to
exist. With --record the build is added to the history first, if it has a verdict and a package and is not the one
recorded last.
"""

import sys
from dataclasses import replace

from ci.command import parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "report")
    arguments.add_argument("--record", action="store_true", help="add this build to the history")
    options = arguments.parse_args(argv)
    return run(lambda: report(record=options.record))


def report(*, record: bool) -> None:
    """Write the report, and add the build to the history if that is wanted."""
    from ci import clock, git, workspace
    from ci.errors import InputError, StageError
    from ci.kube.context import NoCluster
    from ci.report import build as builds
    from ci.report import history, page
    from ci.rollout import deploy
    from ci.settings.watching import History

    build, checkout = builds.read(), git.checkout()
    try:
        if (where := build.where()) and (found := deploy.served(where)):
            build = replace(build, served=builds.Served(release=found[0], serves=found[1]))
    except NoCluster:  # as in the pod that trains, by design
        build = replace(build, apart=True)
        print("report: this pod has no account of the cluster: the champion is named, not what serves now")
    except (InputError, StageError) as error:  # the report tells of the build all the same
        print(f"report: what serves now cannot be seen: {error}")
    settings = build.settings.history if build.settings else History()
    records = history.read(settings)
    if record:
        latest = history.record(build, clock.now(), checkout.commit)
        if latest is None:
            print("report: nothing to record: there is no verdict on a package")
        elif not history.is_new(latest, records):
            print("report: nothing to record: same commit, digests and verdict as the last build")
        else:
            records = history.append(latest, records, settings)
    summary = page.write(build, records, checkout)
    print(f"report: {summary['headline']} -> {workspace.REPORT / 'index.html'}")


if __name__ == "__main__":
    sys.exit(main())
