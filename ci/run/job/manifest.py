"""The Job as it is made, and how it stands: functions of plain values."""

import copy
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ci.pods.templates import BUILD, CONTAINERS, NAMESPACE, TUNING, spec_of

Json = dict[str, Any]
INDEX = "batch.kubernetes.io/job-completion-index"
JOB = "batch.kubernetes.io/job-name"
SERVICE = "tuning"
"""The headless Service in which pods of the Job have names."""
CONTAINER = CONTAINERS[TUNING]
_LABEL = 63
"""Characters that a label's value may have."""


@dataclass(frozen=True)
class Owner:
    """The pod that makes the Job: Kubernetes removes the Job when this pod is gone, however it ended."""

    name: str
    uid: str


def label(build: str) -> str:
    """Return a build's name as the value of a label."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", build)[-_LABEL:].strip("-.") or "build"


def named(template: Mapping[str, Any], build: str, work: str, *, owner: Owner | None, image: str | None) -> Json:
    """Return the Job of a build.

    Args:
        template: what `python -m scripts.agent` wrote.
        build: whose Job it is; one build has one at a time.
        work: what its pods work on, see `ci.run.job.work.push`.
        owner: the pod that makes it; None outside of a pod.
        image: of its container, in place of the template's.
    """
    job = copy.deepcopy(dict(template))
    name = f"tuning-{hashlib.sha256(f'{build} {work}'.encode()).hexdigest()[:10]}"
    labels = {**job["metadata"].get("labels", {}), BUILD: label(build)}
    job["metadata"] = {**job["metadata"], "name": name, "namespace": NAMESPACE, "labels": labels}
    if owner:
        reference = {"apiVersion": "v1", "kind": "Pod", "name": owner.name, "uid": owner.uid}
        job["metadata"]["ownerReferences"] = [reference]
    inner = job["spec"]["template"]["metadata"]
    inner["labels"] = {**inner.get("labels", {}), BUILD: label(build)}
    [container] = [each for each in spec_of(job)["containers"] if each["name"] == CONTAINER]
    given = {"CHIEF": f"{name}-0.{SERVICE}", "WORK": work}
    for variable in container["env"]:
        if variable["name"] in given:
            variable["value"] = given[variable["name"]]
    if image:
        container["image"] = image
    return job


@dataclass(frozen=True)
class End:
    """How a Job ended."""

    state: Literal["done", "failed"]
    words: str


def end(job: Mapping[str, Any]) -> End | None:
    """Return how a Job ended; None while it goes on.

    It is done as soon as index 0 is: the result is pushed, and a worker that was just replaced has nothing to do.
    """
    status = job.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or () if each.get("status") == "True"}
    if str(status.get("completedIndexes") or "").startswith("0") or "Complete" in conditions:
        return End("done", "index 0 has ended well")
    if failed := conditions.get("Failed") or conditions.get("FailureTarget"):
        reason = failed.get("reason", "no reason")
        return End("failed", f"{_REASONS.get(reason, reason)}: {failed.get('message', 'no message')}")
    return None


_REASONS = {
    "PodFailurePolicy": "a pod could not do its work",
    "FailedIndexes": "a pod failed again and again",
    "BackoffLimitExceeded": "a pod failed again and again",
    "MaxFailedIndexesExceeded": "a pod failed again and again",
    "DeadlineExceeded": "it took longer than activeDeadlineSeconds allows",
}


def newest(pods: Sequence[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """Return the newest pod of each index: a pod that was lost and the one in its place have the same."""
    found: dict[int, Mapping[str, Any]] = {}
    for pod in sorted(pods, key=lambda each: str(each["metadata"].get("creationTimestamp", ""))):
        index = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
        if index.isdecimal():
            found[int(index)] = pod
    return dict(sorted(found.items()))
