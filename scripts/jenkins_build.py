"""Start a build on Jenkins and follow its log; the exit code is the build's.

python -m scripts.jenkins_build AS_OF=2013-07-01 STRATEGY=random

Which controller and job: `jenkins` of pipeline.yaml, with the overrides of the variable PIPELINE_SET (see
scripts.configure). Where jenkins.url is null, it is the controller that `make jenkins` put on the cluster of Kind. Else
the variables JENKINS_USER and JENKINS_TOKEN log in: the token is a user's API token, or the password. What a job has no
parameter for, or no choice, is refused.

--request names what is asked for: a second call with the same name starts no second build, but follows the first.
--job, --branch and --request may also come from the variables JENKINS_JOB, JENKINS_BRANCH and JENKINS_REQUEST.
Ctrl-C stops the build.

0 is SUCCESS. Any other result is 1, and so is a controller that does not answer. 2 is bad input.
"""

import argparse
import os
import sys
import uuid
from collections.abc import Iterator

from ci.command import parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "jenkins_build")
    arguments.add_argument("parameters", nargs="*", metavar="PARAM=VALUE", help="parameters of the build")
    arguments.add_argument(
        "--from", action="append", default=[], metavar="NAME", dest="names", help="a parameter from the variable NAME"
    )
    arguments.add_argument("--job", default=os.environ.get("JENKINS_JOB"), help="another job than jenkins.job")
    arguments.add_argument(
        "--branch", default=os.environ.get("JENKINS_BRANCH"), help="another branch than jenkins.branch"
    )
    arguments.add_argument(
        "--request",
        default=os.environ.get("JENKINS_REQUEST"),
        help="what is asked for, in your words (default: something new)",
    )
    arguments.add_argument("--no-follow", action="store_true", help="end once the build is queued")
    arguments.add_argument("--cluster", default=os.environ.get("CLUSTER") or "model-pipeline", help="cluster of Kind")
    options = arguments.parse_args(argv)
    return run(lambda: build(options))


def build(options: argparse.Namespace) -> int:
    """Start it, follow it, and return the exit code."""
    from ci import parameters as of_people
    from ci.command import patient
    from ci.errors import InputError
    from ci.jenkins import client
    from ci.run import jenkins

    parameters = _parameters(options.parameters, options.names)
    for name, value in {**parameters, "--request": options.request or ""}.items():
        if any("\ud800" <= letter <= "\udfff" for letter in value):  # bytes that are not UTF-8
            raise InputError(f"{name}: {value[:80]!r} is no text in UTF-8")
    settings = of_people.settings().jenkins
    with jenkins.meant(settings, options.cluster) as remote:
        job = client.find(remote, options.job or settings.job, options.branch or settings.branch)
        request = options.request or uuid.uuid4().hex
        started = job.start(parameters, request)
        if isinstance(started, client.Queued):
            print(f"jenkins: {job.name}: queue item {started.number}")
        if options.no_follow:
            return 0
        try:
            started = job.wait(started)
            print(f"jenkins: {started.url}", flush=True)
            started.follow(lambda line: print(line, flush=True))
        except KeyboardInterrupt:
            with patient("the build is being stopped"):
                stopped = job.cancel(started)
                print(f"jenkins: stopped: {stopped.url if stopped else 'it had not begun'}")
            raise
        result = started.result()
    print(f"jenkins: {job.name} #{started.number}: {result}")
    return 0 if result == "SUCCESS" else 1


def _parameters(given: list[str], names: list[str]) -> dict[str, str]:
    """Return the values by name.

    Raises:
        InputError: one is not PARAM=VALUE, is in no variable, or is given twice.
    """
    from ci.errors import InputError

    found = list(_pairs(given, names))
    known = [name for name, _ in found]
    if twice := next((name for name in known if known.count(name) > 1), None):
        raise InputError(f"{twice} is given twice: give one value")
    return dict(found)


def _pairs(given: list[str], names: list[str]) -> Iterator[tuple[str, str]]:
    from ci.errors import InputError

    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise InputError(f"{text!r}: expected PARAM=VALUE")
        yield name, value
    for name in names:
        if name not in os.environ:
            raise InputError(f"--from {name}: there is no such variable")
        yield name, os.environ[name]


if __name__ == "__main__":
    sys.exit(main())
