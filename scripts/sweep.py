"""Delete the pods that stopped builds of this Jenkins job have left.

A build that is stopped while no node takes its pod leaves the pod behind: it would start as soon as there is room, for
nobody. This deletes such pods, and those that have ended, of earlier builds of the job that BUILD_URL names. A build
that still waits gets a new pod from Jenkins. Pods that run are left alone. Without an
account of the cluster, or without its right to do this, the command says so and the build goes on.
"""

import os
import sys
from pathlib import Path

from ci.command import command

NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where a pod reads which namespace it is in."""


def sweep() -> None:
    """Delete what was left, and say what."""
    from ci.errors import InputError, StageError
    from ci.kube.api import ApiServer
    from ci.pods.templates import UNTRUSTED
    from ci.run import sweep as leftovers

    build = os.environ.get("BUILD_URL")
    if not build:
        raise InputError("BUILD_URL is not set: Jenkins sets it, and it says whose pods are meant")
    if not NAMESPACE.exists():
        print("sweep: nothing looked for: this is no pod with an account of the cluster")
        return
    done: list[str] = []
    try:
        api = ApiServer()
        for namespace in (NAMESPACE.read_text(encoding="utf-8").strip(), UNTRUSTED):
            done += leftovers.sweep(api, namespace, build)
    except StageError as error:  # a build does not depend on it
        print(f"sweep: not done: {error}")
    print("\n".join(f"sweep: {each}" for each in done) or "sweep: earlier builds have left no pods")


main = command(__doc__, sweep)

if __name__ == "__main__":
    sys.exit(main())
