"""What stopped builds of a Jenkins job have left: pods that no node takes, or that have ended, of earlier builds.

A build that is stopped while its pod waits for a node leaves the pod, and cannot run a step that would remove it; so
the next build does. A pod that runs is left alone, whoever it belongs to: it ends by its `activeDeadlineSeconds`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ci.kube.api import ApiServer, Conflict, Missing

LABELS = "app.kubernetes.io/part-of=model-pipeline"
"""What the pods in `ci/agents` are labelled with."""
_RUN = "runUrl"
"""The annotation in which the Kubernetes plugin writes which build a pod is for, such as `job/digits/7/`."""


def leftovers(pods: Iterable[Mapping[str, Any]], build_url: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield the pods that earlier builds have left, and why each may go.

    An earlier build may still run, and wait for a node itself: Jenkins then makes the pod anew, so it loses nothing.

    Args:
        pods: of the agents' namespace.
        build_url: address of the build that asks, such as `https://jenkins.example.com/job/digits/8/`.
    """
    job, number = _build(build_url)
    for pod in pods:
        run = (pod["metadata"].get("annotations") or {}).get(_RUN, "")
        its_job, its_number = _build(run)
        if not its_job or not f"/{job}".endswith(f"/{its_job}") or number is None or its_number is None:
            continue
        phase = (pod.get("status") or {}).get("phase")
        if its_number >= number or "deletionTimestamp" in pod["metadata"]:
            continue
        if phase in ("Succeeded", "Failed"):
            yield pod, f"it has ended, and was build {its_number}'s"
        elif phase == "Pending" and not pod["spec"].get("nodeName"):
            yield pod, f"no node takes it, and it was build {its_number}'s"


def _build(url: str) -> tuple[str, int | None]:
    """Return the job and the number of a build, from the end of its address."""
    job, _, number = url.rstrip("/").rpartition("/")
    return job, int(number) if number.isascii() and number.isdigit() else None


def sweep(api: ApiServer, namespace: str, build_url: str) -> list[str]:
    """Delete what earlier builds have left, unless it has changed meanwhile, and return what was done.

    Raises:
        Denied: the account may not list or delete pods.
        StageError: the API server does not answer.
    """
    path, done = f"/api/v1/namespaces/{namespace}/pods", []
    for pod, why in leftovers(api.get(path, labelSelector=LABELS).get("items", ()), build_url):
        metadata = pod["metadata"]
        known = {"preconditions": {key: metadata[key] for key in ("uid", "resourceVersion")}}
        try:
            api.ask("DELETE", f"{path}/{metadata['name']}", known)
        except (Conflict, Missing):  # a node has taken it after all, or it is gone
            continue
        done.append(f"pod {metadata['name']} deleted: {why}")
    return done
