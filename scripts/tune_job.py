"""Tune on the cluster, by a Job of tuning.workers pods, and bring build/tuning/ here.

Reads build/settings.yaml and build/tuning-job.json, which `python -m scripts.agent` wrote. If any build has tuned with
these inputs before, its result is taken and no Job is made. Otherwise commit and texts of the build are pushed to the
DVC remote; the pods of the Job fetch them, and the data, from there by themselves, and index 0 pushes the result. It is
run by the account `tuner`, in a pod that runs nothing of `model/`. The Job is always removed: at the end, on Ctrl-C and
SIGTERM, with the pod that made it, and by the next run of the same build (`--build`, or else $BUILD_TAG).
"""

import os
import socket
import sys
import time

from ci.command import end_in_order, parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "tune_job")
    arguments.add_argument("--context", help="of the kubeconfig (serving.context, or the cluster of this pod)")
    named = os.environ.get("BUILD_TAG") or socket.gethostname()
    arguments.add_argument("--build", default=named, help="the build that the Job belongs to ($BUILD_TAG)")
    arguments.add_argument("--image", help="of its pods (as ci/agents/tuning.yaml says)")
    options = arguments.parse_args(argv)
    end_in_order()
    return run(lambda: tune_job(options.context, options.build, options.image))


def tune_job(context: str | None, build: str, image: str | None) -> None:
    """Take the result of an earlier build, or make the Job and wait for it."""
    from ci import configuration
    from ci.errors import StageError
    from ci.kube.api import ApiServer
    from ci.kube.context import CURRENT, chosen
    from ci.results.build import TUNING_JOB
    from ci.run import order
    from ci.run.job import manifest, work
    from ci.run.job.watch import Job

    template, settings = TUNING_JOB.plain(), configuration.effective()
    if order.restored("tune"):
        return
    api = ApiServer(chosen(context, settings.serving.context) or CURRENT)
    name, uid = os.environ.get("POD_NAME"), os.environ.get("POD_UID")
    owner = manifest.Owner(name, uid) if name and uid else None
    job = manifest.named(template, build, work.push(), owner=owner, image=image)
    began = time.monotonic()
    with Job(api, job, lambda line: print(f"tune_job: {line}", flush=True)) as made:
        made.wait()
    print(f"tune_job: {job['spec']['completions']} pods, {time.monotonic() - began:.0f} s", flush=True)
    if not order.restored("tune"):
        raise StageError("the Job has ended well, and its result is not on the DVC remote: do its pods and this one "
                         "have the same remote, commit and settings?")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
