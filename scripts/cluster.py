"""Make, look at or delete the cluster of Kind that `make ci` runs its stages in, with its registry.

create: a cluster as ci/kind/cluster.yaml says, the registry kind-registry on localhost:5001, what an operator applies
(ci/kind, k8s/overlays/kind), and the images of ci/images. What is there already is kept, what is half made is finished
or made anew. A cluster of that name that this pipeline did not make is refused.
delete: cluster and registry, so that nothing of them runs; the data of the DVC remote stay.
status: what there is.

The name is --name, or else the variable CLUSTER, or else model-pipeline. Settings come from pipeline.yaml, the variable
PIPELINE_SET (see scripts.configure) and --set: the port that leads to the model, and the server whose image is needed.
"""

import os
import sys

from ci.command import end_in_order, parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "cluster")
    arguments.add_argument("action", choices=["create", "delete", "status"], help="what to do")
    arguments.add_argument("--name", default=os.environ.get("CLUSTER") or "model-pipeline", help="the cluster's name")
    arguments.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="override one setting"
    )
    options = arguments.parse_args(argv)
    end_in_order()
    if options.action == "create":
        return run(lambda: create(options.name, options.overrides))
    return run(lambda: (delete if options.action == "delete" else status)(options.name))


def create(name: str, overrides: list[str]) -> None:
    """Make the cluster ready, and its images."""
    from ci import parameters
    from ci.run import checks, images, kind

    checks.require(checks.for_kind())
    settings = parameters.settings(overrides)
    with kind.locked(name):
        kind.ready(name, settings.serving.port, print, again=True)
        images.ready(images.wanted(settings.serving.server), print)


def delete(name: str) -> None:
    """Delete the cluster and the registry."""
    from ci.run import checks, kind

    checks.require(checks.for_kind())
    with kind.locked(name):
        kind.delete(name, print)


def status(name: str) -> None:
    """Say what there is."""
    from ci.run import checks, kind

    checks.require(checks.for_kind())
    print("\n".join(f"cluster: {line}" for line in kind.status(name)))


if __name__ == "__main__":
    sys.exit(main())
