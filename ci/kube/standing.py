"""What a pod that runs once (an agent, or one of a Job) is doing, in words: a function of what the API server says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ci.kube.pods import HOPELESS, killed

Json = Mapping[str, Any]
_BEGINNING = ("ContainerCreating", "PodInitializing")


@dataclass(frozen=True)
class Standing:
    """What a pod is doing.

    Attributes:
        state: it runs; it waits for something that comes by itself, or for something that does not; or it is over.
        words: what it waits for, or how it ended.
    """

    state: Literal["runs", "waits", "stuck", "over"]
    words: str


def standing(pod: Json | None, container: str, events: Sequence[Json] = ()) -> Standing:
    """Return what a pod is doing.

    Args:
        pod: as the API server has it; None if there is none of that name.
        container: name of the container whose state counts.
        events: those about this pod, the newest last.
    """
    if pod is None:
        return Standing("over", "it was deleted")
    status = pod.get("status", {})
    found = {each["name"]: each for each in status.get("containerStatuses") or ()}.get(container, {})
    if status.get("phase") in ("Failed", "Succeeded") or "terminated" in found.get("state", {}):
        return Standing("over", _end(pod, found))
    if "deletionTimestamp" in pod["metadata"]:
        return Standing("over", _disruption(status) or "it is being deleted")
    if "running" in found.get("state", {}):
        return Standing("runs", "it runs")
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return Standing("waits", f"no node takes it: {scheduled.get('message', 'no reason given')}")
    waiting = found.get("state", {}).get("waiting") or {}
    reason, message = waiting.get("reason"), waiting.get("message")
    if reason in HOPELESS:
        said = message or next((e["message"] for e in reversed(events) if e.get("reason") == "Failed"), "")
        return Standing("stuck", ": ".join(filter(None, (f"{HOPELESS[reason]} ({reason})", said))))
    trouble = [e for e in events if e.get("type") == "Warning"]
    if trouble and reason in (None, *_BEGINNING):
        return Standing("waits", f"{trouble[-1].get('reason')}: {trouble[-1].get('message')}")
    if reason in _BEGINNING or scheduled.get("status") == "True":
        pulling = any(e.get("reason") == "Pulling" for e in events) and not any(
            e.get("reason") == "Pulled" for e in events
        )
        return Standing("waits", "its image is being pulled" if pulling else "its container is being made")
    return Standing("waits", ": ".join(filter(None, (reason, message))) or "the scheduler has not seen it yet")


def _end(pod: Json, container: Json) -> str:
    """Return how a pod ended whose containers ended, or that its node gave up."""
    status = pod["status"]
    ended = container.get("state", {}).get("terminated") or {}
    if ended.get("reason") == "OOMKilled":
        return killed(pod, container)
    if status.get("reason") or status.get("message"):  # such as Evicted, with what the node was short of
        return f"its node ended it ({status.get('reason', 'no reason')}): {status.get('message', 'no message')}"
    if told := _disruption(status):
        return told
    if ended:
        return f"its container ended with code {ended.get('exitCode', 'unknown')} ({ended.get('reason', 'no reason')})"
    return f"it ended ({status.get('phase')})"


def _disruption(status: Json) -> str | None:
    """Return why Kubernetes itself ends a pod: it was evicted, or gave way to a more important one."""
    for each in status.get("conditions") or ():
        if each["type"] == "DisruptionTarget" and each["status"] == "True":
            return f"it was ended ({each.get('reason', 'no reason')}): {each.get('message', 'no message')}"
    return None
