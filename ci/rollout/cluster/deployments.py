"""What a Deployment serves and how far it is: functions of what the API server says about it."""

from collections.abc import Mapping, Sequence
from typing import Any

from ci.releases.version import Version
from ci.rollout.cluster import applied, manifests
from ci.rollout.cluster.applied import DIGEST
from ci.rollout.decision import Phase

Json = Mapping[str, Any]
_IMAGE = ("f:spec", "f:template", "f:spec", "f:containers", f'k:{{"name":"{manifests.CONTAINER}"}}', "f:image")


def digest(deployment: Json) -> str:
    """Return the digest of the image that a Deployment serves, as its template's annotation says."""
    return str((deployment["spec"]["template"]["metadata"].get("annotations") or {}).get(DIGEST, "unknown"))


def rolled(deployment: Json) -> Phase:
    """Return how far a Deployment is, by the same rule as `kubectl rollout status`.

    Once all its pods have taken over, which its condition `Progressing` says, it serves as long as one of them is
    ready. So an autoscaler that asks for more pods does not make it roll again.
    """
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    progressing = _condition(deployment, "Progressing").get("reason")
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"] or not wanted:
        return Phase.ROLLING  # without replicas nothing serves
    if progressing == "ProgressDeadlineExceeded":
        return Phase.FAILED
    updated, there, available = (status.get(key, 0) for key in ("updatedReplicas", "replicas", "availableReplicas"))
    if updated == there == available == wanted:
        return Phase.SERVING
    scaling = progressing == "NewReplicaSetAvailable" and updated == there and available > 0
    return Phase.SERVING if scaling else Phase.ROLLING


def lacking(deployment: Json) -> str | None:
    """Return how many of a Deployment's pods are ready, in words; None if all are."""
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    available = status.get("availableReplicas", 0)
    return None if available >= wanted else f"{available} of {wanted} pods are ready"


def held(deployment: Json) -> list[str]:
    """Return why a Deployment gets no more pods: the API server refuses them (quota, Pod Security), or people do."""
    name, found = deployment["metadata"]["name"], _condition(deployment, "ReplicaFailure")
    said = []
    if found.get("status") == "True":
        said.append(f"no pod can be made ({found.get('reason')}): {found.get('message')}")
    if deployment["spec"].get("paused"):
        said.append(f"{name} is paused: `kubectl rollout resume deployment/{name}` goes on")
    if deployment["spec"].get("replicas") == 0:
        said.append(f"{name} is scaled to 0: `kubectl scale deployment/{name} --replicas=N` brings its pods back")
    return said


def by_hand(deployment: Json, version: Version, manager: str) -> str | None:
    """Return the image that somebody has given a Deployment instead of a version's; None if nobody has.

    An image of the same digest is the same, whatever registry it comes from. An image that an admission webhook has
    written into what `manager` applied is the cluster's policy: the field is still that manager's.
    """
    containers = deployment["spec"]["template"]["spec"]["containers"]
    runs = next((str(each["image"]) for each in containers if each["name"] == manifests.CONTAINER), "none")
    same = runs == manifests.image(version) or runs.endswith(f"@{version.digest}")
    if same or applied.owns(deployment, _IMAGE, manager):
        return None
    return runs


def _condition(deployment: Json, kind: str) -> Json:
    conditions: Sequence[Json] = deployment.get("status", {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == kind), {})
