"""Watching a canary's traffic beside the stable version's until it can be judged."""

from collections.abc import Callable
from typing import Any

from ci.capture.gateways import Meter
from ci.errors import StageError
from ci.kube import pods
from ci.rollout.analysis import analyse, as_json, verdict
from ci.rollout.cluster import manifests
from ci.rollout.cluster.observe import Json, Namespace
from ci.rollout.decision import Phase
from ci.settings.cluster import Analysis

_LOOK = 2.0
"""Longest pause between two looks at the traffic; seconds."""


def watch(
    seen: Namespace,
    digest: str,
    settings: Analysis,
    tell: Callable[[Json], None],
    clock: Callable[[], float],
    pause: Callable[[float], None],
) -> Json:
    """Return what was measured once the canary can be judged, or `interrupted` and why.

    Args:
        seen: where it runs.
        digest: the canary's image.
        settings: the window, the limits, and the longest wait.
        tell: gets what was measured so far after each look.
        clock: returns seconds that never go back.
        pause: waits so many seconds.

    Raises:
        StageError: it is worse, has too little traffic to be judged in the time allowed, or its pod ended.
    """
    meters = {"canary": Meter(), "stable": Meter()}
    ran = {pod["metadata"]["uid"]: pods.restarts(pod, manifests.OURS) for pod in seen.pods(digest, "canary")}
    begin = clock()
    while True:
        for track, meter in meters.items():
            meter.read(seen.told(track))
        if seen.hopeless(digest):  # first: its end is the cause of the failed requests that are counted next
            raise StageError(f"the canary does not serve any more: {seen.failure(digest)}")
        canary, stable = (meters[track].traffic() for track in ("canary", "stable"))
        measures = analyse(canary, stable, settings)
        word, reason = verdict(measures)
        measured: dict[str, Any] = {"requests": canary.requests, "measures": as_json(measures)}
        tell(measured)
        spent = clock() - begin
        if word == "fail":
            raise StageError(f"the canary's traffic is worse than the stable version's: {reason}")
        if word == "pass" and spent >= settings.window:
            return measured
        if spent > settings.timeout:
            raise StageError(f"the canary had too little traffic to be judged in {settings.timeout:g} s: {reason}")
        pause(min(_LOOK, settings.window / 10))
        if why := _interrupted(seen, digest, ran):
            return {"interrupted": why}


def _interrupted(seen: Namespace, digest: str, ran: dict[str, int]) -> str | None:
    """Return what the canary waits for if its pod had to move, None if it goes on serving.

    Args:
        seen: where it runs.
        digest: the canary's image.
        ran: how often each of its pods' servers had been started again when the watch began, by the pod's uid.

    Raises:
        StageError: the canary's server has ended, or the stable version is gone.
    """
    phase = seen.phases().get(digest)
    if not seen.has(manifests.STABLE):
        raise StageError(f"the Deployment {manifests.STABLE} was deleted while the canary was watched")
    uids = {pod["metadata"]["uid"]: pod for pod in seen.pods(digest, "canary")}
    again = [pod for uid, pod in uids.items() if pods.restarts(pod, manifests.OURS) > ran.get(uid, 0)]
    if again:
        why = f"{pods.last_end(again[0], manifests.OURS)}{seen.last_lines(again[0])}"
        raise StageError(f"the canary's server ended while it was watched: {why}")
    if phase is Phase.LOADING:
        return seen.waiting(digest)
    if phase is not Phase.SHARING:
        raise StageError(f"the canary does not serve any more: {seen.failure(digest)}")
    return None
