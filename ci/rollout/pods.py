"""Why pods are not ready, in words: a function of what the API server says about them."""

from collections.abc import Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]
_HOPELESS = {
    "ErrImagePull": "its image cannot be pulled",
    "ImagePullBackOff": "its image cannot be pulled",
    "ErrImageNeverPull": "its image is not on the node, and may not be pulled",
    "InvalidImageName": "its image's name is invalid",
    "CreateContainerConfigError": "its configuration cannot be mounted or read",
    "CreateContainerError": "its container cannot be made",
    "RunContainerError": "its container cannot be started",
    "CrashLoopBackOff": "its server ends again and again",
}
"""Reasons of waiting that time alone does not mend, and what they mean."""


def failure(pod: Json) -> str | None:
    """Return why a pod will not become ready by itself, or None if it still may.

    A container that ended is given its first restart: a node that was short of memory for a moment is no verdict.
    """
    for status in _containers(pod):
        waiting = status.get("state", {}).get("waiting", {})
        ended = status.get("lastState", {}).get("terminated") or status.get("state", {}).get("terminated") or {}
        if ended.get("reason") == "OOMKilled":
            return _say(pod, f"it was killed for want of memory (OOMKilled, {_memory(pod, status)})")
        if (reason := waiting.get("reason")) in _HOPELESS:
            said = waiting.get("message") or f"exit code {ended.get('exitCode', 'unknown')}"
            return _say(pod, f"{_HOPELESS[reason]} ({reason}): {said}")
        if status.get("restartCount", 0) > 1:
            return _say(
                pod, f"its server has ended {status['restartCount']} times, last with code {ended.get('exitCode')}"
            )
    if pod.get("status", {}).get("phase") == "Failed":
        status = pod["status"]
        return _say(pod, f"it failed ({status.get('reason', 'no reason')}): {status.get('message', 'no message')}")
    return None


def restarts(pod: Json) -> int:
    """Return how often containers of a pod have ended and were started again."""
    return sum(status.get("restartCount", 0) for status in _containers(pod))


def progress(pod: Json, events: Sequence[Json] = ()) -> str:
    """Return what a pod is waiting for.

    Args:
        pod: as the API server has it.
        events: those about this pod, the newest last; a failing probe is only told there.
    """
    if hopeless := failure(pod):
        return hopeless
    conditions = {each["type"]: each for each in pod.get("status", {}).get("conditions", ())}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return _say(pod, f"no node takes it: {scheduled.get('message', 'no reason given')}")
    for status in _containers(pod):
        if reason := status.get("state", {}).get("waiting", {}).get("reason"):
            return _say(pod, f"{status['name']} waits ({reason})")
    if conditions.get("Ready", {}).get("status") == "True":
        return _say(pod, "it is ready")
    probes = [event["message"] for event in events if event.get("reason") == "Unhealthy"]
    return _say(pod, f"it is loading; its probe says: {probes[-1]}" if probes else "it is loading")


def ended(pod: Json) -> list[str]:
    """Return the names of the containers that have ended at least once."""
    return [status["name"] for status in _containers(pod) if status.get("lastState", {}).get("terminated")]


def ready(pod: Json) -> bool:
    """Tell whether a pod takes traffic, if its Service lets it."""
    conditions = {each["type"]: each["status"] for each in pod.get("status", {}).get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def _containers(pod: Json) -> list[Json]:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def _memory(pod: Json, status: Json) -> str:
    limits = {each["name"]: each.get("resources", {}).get("limits", {}) for each in pod["spec"]["containers"]}
    return f"limit {limits.get(status['name'], {}).get('memory', 'none')}"


def _say(pod: Json, what: str) -> str:
    return f"pod {pod['metadata']['name']}: {what}"
