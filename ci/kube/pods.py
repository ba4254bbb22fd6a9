"""Why pods are not ready, in words: a function of what the API server says about them.

Only the containers that the caller names as `ours` can fail. What others put into the pod (sidecars, init containers,
ephemeral containers) can keep it from being ready: that is waited for and said, but it is no failure.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]
_BACK_OFF = "ImagePullBackOff"
_PULLING = {"ErrImagePull", _BACK_OFF}
HOPELESS = {
    "ErrImagePull": "its image cannot be pulled",
    "ImagePullBackOff": "its image cannot be pulled",
    "ErrImageNeverPull": "its image is not on the node, and may not be pulled",
    "InvalidImageName": "its image's name is invalid",
    "SignatureValidationFailed": "its image's signature is refused",
    "CreateContainerConfigError": "its configuration cannot be mounted or read",
    "CreateContainerError": "its container cannot be made",
    "RunContainerError": "its container cannot be started",
    "CrashLoopBackOff": "its server ends again and again",
}
"""Reasons of waiting that time alone does not mend, unless their message says so, and what they mean."""
_PASSING = re.compile(
    r"QPS exceeded|too ?many ?requests|\b429\b|rate limit|time(d)?[ -]?out|deadline exceeded|connection (refused|reset)"
    r"|broken pipe|\bEOF\b|no such host|server misbehaving|temporary failure|try again|network is unreachable"
    r"|no route to host|\b50[0234]\b|internal server error|bad gateway|service unavailable|request canceled"
    r"|context canceled|name .* is reserved|no space left|sync .* cache|transport is closing|code = Unavailable",
    re.IGNORECASE,
)
"""What the kubelet says of trouble that may pass: it tries again by itself."""
_FINAL = re.compile(
    r"not found|\b40[134]\b|manifest unknown|name unknown|manifest invalid|unauthorized|forbidden|denied"
    r"|authorization failed|authentication required|no basic auth|invalid username|does not exist|no match|x509"
    r"|HTTP response to HTTPS|invalid reference|unsupported|never pull",
    re.IGNORECASE,
)
"""What it says of an image that no later attempt will get."""
_NAMES = re.compile(r'"[^"]*"|\S*/\S*|\S+:\S+')
"""Names of images and addresses in what it says, which may hold any word or number."""
_ENDED = ("Failed", "Succeeded")
"""Phases of a pod that its node has given up (evicted, refused, shut down): its ReplicaSet makes another."""


def failure(pod: Json, ours: Collection[str], events: Sequence[Json] = ()) -> str | None:
    """Return why a pod will not become ready by itself, or None if it still may.

    It still may
    - after the first restart of a container: its node may have been short of memory for a moment;
    - if its node has given it up: another pod takes its place;
    - if its image could not be pulled, unless that image is known not to exist or not to be allowed.

    Args:
        pod: as the API server has it.
        ours: the names of its containers that are the server.
        events: those about this pod: what an older kubelet says about a pull is only told there.
    """
    if over(pod):
        return None
    for status in _servers(pod, ours):
        waiting = status.get("state", {}).get("waiting") or {}
        ended = _ended_last(status)
        if ended.get("reason") == "OOMKilled":
            return _say(pod, killed(pod, status))
        if (reason := waiting.get("reason")) in HOPELESS and not _may_pass(reason, _said(waiting, pod, events)):
            said = waiting.get("message") or f"exit code {ended.get('exitCode', 'unknown')}"
            return _say(pod, f"{HOPELESS[reason]} ({reason}): {said}")
        if status.get("restartCount", 0) > 1 and ended.get("reason") != "ContainerStatusUnknown":
            return _say(
                pod, f"its server has ended {status['restartCount']} times, last with code {ended.get('exitCode')}"
            )
    return None


def untold(pod: Json, ours: Collection[str]) -> bool:
    """Tell whether a pod's status does not say why an image could not be pulled, so that its events must be read."""
    waiting = [status.get("state", {}).get("waiting") or {} for status in _servers(pod, ours)]
    return any(each.get("reason") == _BACK_OFF for each in waiting)


def over(pod: Json) -> bool:
    """Tell whether a pod has ended for good, so that another takes its place."""
    return pod.get("status", {}).get("phase") in _ENDED


def restarts(pod: Json, ours: Collection[str]) -> int:
    """Return how often a pod's server has ended and was started again."""
    return sum(status.get("restartCount", 0) for status in _servers(pod, ours))


def progress(pod: Json, ours: Collection[str], events: Sequence[Json] = ()) -> str:
    """Return what a pod is waiting for.

    Args:
        pod: as the API server has it.
        ours: the names of its containers that are the server.
        events: those about this pod, the newest last; a failing probe is only told there.
    """
    if over(pod):
        status = pod["status"]
        told = f"{status.get('reason', 'no reason')}): {status.get('message', 'no message')}"
        return _say(pod, f"it has ended, and another takes its place ({told}")
    if hopeless := failure(pod, ours, events):
        return hopeless
    conditions = {each["type"]: each for each in pod.get("status", {}).get("conditions", ())}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return _say(pod, f"no node takes it: {scheduled.get('message', 'no reason given')}")
    for status in _containers(pod):
        waiting = status.get("state", {}).get("waiting") or {}
        if reason := waiting.get("reason"):
            message = waiting.get("message")
            what = f"{HOPELESS[reason]}, which may pass" if status["name"] in ours and reason in HOPELESS else ""
            return _say(pod, ": ".join(filter(None, (f"{status['name']} waits ({reason})", what, message))))
    if conditions.get("Ready", {}).get("status") == "True":
        return _say(pod, "it is ready")
    probes = [event["message"] for event in events if event.get("reason") == "Unhealthy"]
    return _say(pod, f"it is loading; its probe says: {probes[-1]}" if probes else "it is loading")


def last_end(pod: Json, ours: Collection[str]) -> str:
    """Return how a pod's server ended last, even if it runs again."""
    for status in _servers(pod, ours):
        if found := _ended_last(status):
            if found.get("reason") == "OOMKilled":
                return _say(pod, killed(pod, status))
            code, reason = found.get("exitCode", "unknown"), found.get("reason", "no reason given")
            return _say(pod, f"its server ended with code {code} ({reason})")
    return _say(pod, "its server ended")


def ended(pod: Json, ours: Collection[str]) -> list[str]:
    """Return the names of the server's containers that have ended at least once."""
    return [status["name"] for status in _servers(pod, ours) if status.get("lastState", {}).get("terminated")]


def ready(pod: Json) -> bool:
    """Tell whether a pod takes traffic, if its Service lets it."""
    conditions = {each["type"]: each["status"] for each in pod.get("status", {}).get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def killed(pod: Json, status: Json) -> str:
    """Return that a container of a pod needed more memory than it may have, with its limit."""
    return f"it was killed for want of memory (OOMKilled, {_memory(pod, status)})"


def _may_pass(reason: str, said: str) -> bool:
    """Tell whether the kubelet's next attempt may succeed; a pull may, unless its message is known to be final."""
    if reason == "CrashLoopBackOff":
        return False
    said = _NAMES.sub(" ", said)
    if _PASSING.search(said):
        return True
    return reason in _PULLING and not _FINAL.search(said)


def _said(waiting: Json, pod: Json, events: Sequence[Json]) -> str:
    """Return why a container waits; if its status only says that it backs off, the last event has the cause."""
    said = str(waiting.get("message") or "")
    told = _NAMES.sub(" ", said)
    if waiting.get("reason") != _BACK_OFF or _PASSING.search(told) or _FINAL.search(told):
        return said
    about = [e for e in events if (e.get("involvedObject") or {}).get("name") in (None, pod["metadata"]["name"])]
    failed = [str(e.get("message")) for e in about if e.get("reason") == "Failed" and "pull" in str(e.get("message"))]
    return failed[-1] if failed else said


def _ended_last(status: Json) -> Json:
    last: Json | None = status.get("lastState", {}).get("terminated") or status.get("state", {}).get("terminated")
    return last or {}


def _servers(pod: Json, ours: Collection[str]) -> list[Json]:
    return [status for status in pod.get("status", {}).get("containerStatuses") or () if status["name"] in ours]


def _containers(pod: Json) -> list[Json]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _memory(pod: Json, status: Json) -> str:
    limits = {each["name"]: each.get("resources", {}).get("limits", {}) for each in pod["spec"]["containers"]}
    return f"limit {limits.get(status['name'], {}).get('memory', 'none')}"


def _say(pod: Json, what: str) -> str:
    return f"pod {pod['metadata']['name']}: {what}"
