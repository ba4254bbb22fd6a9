"""Make, feed or delete a Jenkins controller of this repository's own: ci/jenkins/controller.

create: on the cluster of Kind, which is made if need be, with the image of ci/images/jenkins. Every object is tried by
a dry run on the API server first. Says how to reach it, and where its password is.
push: serve this clone's branch to it, inside the cluster: from then on `git push demo` starts a build. The agents'
images are built, and nodes find them under the names that ci/agents has; --no-images leaves that out.
delete: all of it, so that nothing is left.
manifests: print what is applied to a cluster that is not Kind's: `… manifests | kubectl apply --server-side -f -`.
secret: print its Secret with new passwords, once: `… secret | kubectl create -f -`. The variables GIT_USER and
GIT_TOKEN fetch a private repository, WEBHOOK_SECRET signs the webhook.

Settings are `jenkins` of pipeline.yaml (repository, source, job, branch, url), with the overrides of the variable
PIPELINE_SET (see scripts.configure) and of --set.
"""

import argparse
import os
import sys

from ci.command import end_in_order, parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    actions = {"create": create, "push": push, "delete": delete, "manifests": manifests, "secret": secret}
    arguments = parser(__doc__, "jenkins")
    arguments.add_argument("action", choices=list(actions), help="what to do")
    arguments.add_argument("--name", default=os.environ.get("CLUSTER") or "model-pipeline", help="the cluster of Kind")
    arguments.add_argument("--branch", help="the branch to push (default: the one that is checked out)")
    arguments.add_argument("--no-images", action="store_true", help="nodes can pull what ci/agents names: build none")
    arguments.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="override one setting"
    )
    options = arguments.parse_args(argv)
    end_in_order()
    return run(lambda: actions[options.action](options))


def create(options: argparse.Namespace) -> None:
    """Make it, on a cluster that is made if need be."""
    from ci import parameters
    from ci.run import checks, images, jenkins, kind

    checks.require(checks.for_kind())
    settings = parameters.settings(options.overrides)
    jenkins.manifests(jenkins.KIND, settings.jenkins, "checked")  # a wrong setting is told before a cluster is made
    with kind.locked(options.name):
        kind.ready(options.name, settings.serving.port, print)
        image = images.ready(["jenkins"], print)["jenkins"]
        jenkins.create(options.name, settings.jenkins, image, print)
    print("\n".join(jenkins.greeting(options.name, settings.jenkins)))


def push(options: argparse.Namespace) -> None:
    """Push a branch to the repository beside it."""
    from ci import parameters
    from ci.run import jenkins

    settings = parameters.settings(options.overrides)
    jenkins.push(options.name, settings.jenkins, options.branch, print, agents=not options.no_images)


def delete(options: argparse.Namespace) -> None:
    """Delete it."""
    from ci.run import checks, jenkins, kind

    checks.require(checks.for_kind())
    with kind.locked(options.name):
        jenkins.delete(options.name, print)


def manifests(options: argparse.Namespace) -> None:
    """Print what is applied to a cluster that is not Kind's."""
    import yaml

    from ci import parameters
    from ci.errors import InputError
    from ci.registry import bases
    from ci.run import jenkins

    settings = parameters.settings(options.overrides).jenkins
    if not settings.repository or not settings.url:
        raise InputError(
            "jenkins.repository and jenkins.url: name the repository that is built and the address of Jenkins"
        )
    [image] = [each for each in bases.read() if each.name == "jenkins"]
    reference = f"{image.repository}:{image.tag}" + (f"@{image.digest}" if image.digest else "")
    print(yaml.safe_dump_all(jenkins.manifests(jenkins.CONTROLLER, settings, reference), sort_keys=False))


def secret(_: argparse.Namespace) -> None:
    """Print a Secret with new passwords."""
    import secrets

    import yaml

    from ci.jenkins import rendering

    print(yaml.safe_dump(rendering.secret(os.environ, lambda: secrets.token_urlsafe(24)), sort_keys=False))


if __name__ == "__main__":
    sys.exit(main())
