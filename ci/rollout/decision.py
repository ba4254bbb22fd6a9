"""Every decision of a rollout, as functions of what was observed: no I/O, no memory between runs.

A deployer that was killed at any moment continues when it is run again, because what to do next follows from what is
there: which servers run, what each of them does, and which release was verified last.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal


class Phase(StrEnum):
    """What a server does, as seen from outside."""

    ABSENT = "absent"
    LOADING = "loading"
    FAILED = "failed"
    READY = "ready"
    """The model is available, and takes no traffic of clients."""
    SHARING = "sharing"
    """A canary: it takes its part of the traffic, beside the stable version."""
    ROLLING = "rolling"
    """Its pods take the places of the stable version's, one after another."""
    SERVING = "serving"
    """It takes new connections on the public address; on a cluster, all of its pods are up to date and ready."""
    PAUSED = "paused"
    """It holds the public port's listener but leaves new connections to another server."""
    UNREACHABLE = "unreachable"
    """Its process lives but does not say what it does."""


class Step(StrEnum):
    """What a rollout does next; `wait` is for the model to load, or for pods to take over."""

    RESUME = "resume"
    START = "start"
    WAIT = "wait"
    SMOKE = "smoke"
    JOIN = "join"
    ANALYSE = "analyse"
    PROMOTE = "promote"
    PAUSE = "pause"
    VERIFY = "verify"
    RECORD = "record"
    RETIRE = "retire"
    ABORT = "abort"
    DONE = "done"


@dataclass(frozen=True)
class Observed:
    """The state of a rollout."""

    wanted: Phase
    """The version that is to serve."""
    stable: Phase = Phase.ABSENT
    """The last verified release, where it is another version."""
    others: frozenset[Phase] = frozenset()
    """Every other version that runs; the stable one is among them if it runs."""
    smoked: bool = False
    """The wanted version passed the smoke test in this run."""
    verified: bool = False
    """It also passed on the public port in this run."""
    recorded: bool = False
    """It is the last verified release."""
    started: bool = False
    """It was started in this run."""
    late: bool = False
    """It has been loading, or rolling, for longer than is allowed."""
    shares: bool = False
    """Where it runs a canary can take part of the traffic."""
    released: bool = False
    """There is a verified release of another version."""
    analysed: bool = False
    """Its part of the traffic was analysed and is no worse than the stable version's, or need not be."""
    leftover: bool = False
    """It serves as the stable version, and its canary still runs."""


def next_step(seen: Observed) -> Step:
    """Return the step that leads from what is seen towards only the wanted version serving, verified and recorded."""
    # A hanging server may hold the port that the wanted version needs. Once that one serves, it is retired like others.
    hangs = Phase.UNREACHABLE in seen.others and seen.wanted is not Phase.SERVING
    judged = seen.analysed or not seen.shares or not seen.released
    # The stable version, which the canary is compared with, was deleted or replaced by a version that is not verified.
    gone = seen.stable is Phase.ABSENT and not judged and seen.wanted not in (Phase.ROLLING, Phase.SERVING)
    table = (
        (seen.wanted is Phase.UNREACHABLE or hangs, Step.ABORT),
        (gone or (seen.stable is Phase.PAUSED and seen.wanted is not Phase.SERVING), Step.RESUME),
        (seen.wanted is Phase.ABSENT and not seen.started, Step.START),
        (seen.wanted in (Phase.ABSENT, Phase.FAILED), Step.ABORT),
        (seen.wanted in (Phase.LOADING, Phase.ROLLING) and seen.late, Step.ABORT),
        (seen.wanted in (Phase.LOADING, Phase.ROLLING), Step.WAIT),
        (not seen.smoked, Step.SMOKE),
        (seen.wanted is Phase.READY and not judged, Step.JOIN),
        (seen.wanted is Phase.SHARING and not judged, Step.ANALYSE),
        (seen.wanted in (Phase.READY, Phase.SHARING, Phase.PAUSED), Step.PROMOTE),
        (Phase.SERVING in seen.others, Step.PAUSE),
        (not seen.verified, Step.VERIFY),
        (not seen.recorded, Step.RECORD),
        (bool(seen.others) or seen.leftover, Step.RETIRE),
    )
    return next((step for holds, step in table if holds), Step.DONE)


TRIES = 5
"""How often a step is taken in one state of a rollout; more than a canary's pod may be moved while it is watched."""

WAITS = 20
"""How often a wait begins in one state: a pod on a busy node may miss its probes now and then."""


def stuck(taken: Mapping[tuple[Step, Observed], int], step: Step, seen: Observed) -> str | None:
    """Return in a sentence that a step leads nowhere, None if it may be taken.

    A step that works is not due again in the same state. If it is due again and again, somebody else undoes it, or it
    changes nothing. There are finitely many states, so this limit ends every rollout.

    Args:
        taken: how often each step was taken in each state.
        step: the next one.
        seen: the state now.
    """
    most = WAITS if step is Step.WAIT else TRIES
    if taken.get((step, seen), 0) < most:
        return None
    return f"step {step} was taken {most} times, and the version is still {seen.wanted} as before it"


def expected(seen: Observed, step: Step) -> Observed:
    """Return what a step leads to when all goes well."""
    others = seen.others
    match step:
        case Step.RESUME:
            return replace(seen, stable=Phase.SERVING, others=others - {Phase.PAUSED} | {Phase.SERVING})
        case Step.START:
            return replace(seen, wanted=Phase.LOADING, started=True)
        case Step.WAIT if seen.wanted is Phase.ROLLING:
            return replace(seen, wanted=Phase.SERVING)
        case Step.WAIT:
            return replace(seen, wanted=Phase.READY)
        case Step.SMOKE:
            return replace(seen, smoked=True)
        case Step.JOIN:
            return replace(seen, wanted=Phase.SHARING)
        case Step.ANALYSE:
            return replace(seen, analysed=True)
        case Step.PROMOTE if seen.shares:
            rest = others - {seen.stable}  # the old pods are part of the same Deployment
            return replace(seen, wanted=Phase.ROLLING, stable=Phase.ABSENT, others=rest, leftover=True, late=False)
        case Step.PROMOTE:
            return replace(seen, wanted=Phase.SERVING)
        case Step.PAUSE:
            stable = Phase.PAUSED if seen.stable is Phase.SERVING else seen.stable
            return replace(seen, stable=stable, others=others - {Phase.SERVING} | {Phase.PAUSED})
        case Step.VERIFY:
            return replace(seen, verified=True)
        case Step.RECORD:
            return replace(seen, recorded=True, stable=Phase.ABSENT)
        case Step.RETIRE:
            return replace(seen, stable=Phase.ABSENT, others=frozenset(), leftover=False)
        case Step.ABORT | Step.DONE:
            return seen


def plan(seen: Observed) -> list[Step]:
    """Return the steps of a rollout from a state on, if all goes well."""
    steps = []
    while (step := next_step(seen)) not in (Step.DONE, Step.ABORT):
        steps.append(step)
        seen = expected(seen, step)
    return [*steps, step]


@dataclass(frozen=True)
class Decision:
    """What a deployment does about a package."""

    action: Literal["deploy", "nothing", "refuse"]
    reason: str


def admit(
    verdict: str,
    reason: str,
    *,
    same: bool,
    withdrawn: int | None = None,
    overtaken: str | None = None,
    option: str = "",
) -> Decision:
    """Decide about a package by its evaluation's verdict.

    Args:
        verdict: `promote`, `keep` or `block`.
        reason: the evaluation's reason for it.
        same: the package's image is the one that serves.
        withdrawn: number of the release of this image that was rolled back, None if none was.
        overtaken: why the verdict compares with another champion than what serves now; None if it does not.
        option: what names the environment in a command line.
    """
    if verdict == "block":
        return Decision("refuse", f"the evaluation blocked this model: {reason}")
    if same:
        return Decision("nothing", "this image is already serving")
    if withdrawn is not None:
        again = f"`python -m scripts.rollback{option} --to {withdrawn}` brings it back"
        return Decision("nothing", f"this image is release {withdrawn}, which was rolled back: {again}")
    if verdict == "keep":
        return Decision("nothing", f"the champion is kept: {reason}")
    if overtaken:
        return Decision("refuse", overtaken)
    if verdict == "promote":
        return Decision("deploy", reason)
    return Decision("refuse", f"the evaluation's verdict {verdict!r} is none of promote, keep and block")


def unrecorded(releases: Sequence[Mapping[str, Any]], phases: Mapping[str, Phase]) -> str | None:
    """Return the version that serves but is not recorded as a release; None if there is none.

    Another version beside the last release is allowed: a deployment that has not verified it yet left it there.

    Args:
        releases: every release, the oldest first.
        phases: what each version that runs does.
    """
    known = {release["digest"] for release in releases}
    if releases and releases[-1]["digest"] in phases:
        return None
    serves = (digest for digest, phase in phases.items() if phase in (Phase.SERVING, Phase.ROLLING))
    return next((digest for digest in serves if digest not in known), None)


def smoke_problem(
    signature: Mapping[str, Any],
    status: Mapping[str, Any],
    metadata: Mapping[str, Any],
    golden: Sequence[Any],
    served: Any,
    tolerance: float,
) -> str | None:
    """Return why a version fails its smoke test, or None if it passes.

    Args:
        signature: the manifest's: `inputs`, name to type, and `outputs` by name (`output` in manifests of before).
        status: the server's answer about the version.
        metadata: its answer to `/metadata`.
        golden: the predictions that the evaluation recorded.
        served: its `predictions` for the same instances.
        tolerance: largest difference allowed; the prediction's unit.
    """
    states = [entry["state"] for entry in status["model_version_status"]]
    if states != ["AVAILABLE"]:
        return f"the version's state is {states}, not AVAILABLE"
    definition = metadata["metadata"]["signature_def"]["signature_def"].get("serving_default", {})
    inputs = {name: tensor["dtype"] for name, tensor in definition.get("inputs", {}).items()}
    outputs = sorted(definition.get("outputs", {}))
    wanted = sorted(signature.get("outputs") or [signature["output"]])
    if inputs != signature["inputs"] or outputs != wanted:
        return (
            f"the signature is {inputs} -> {outputs}, but the package's manifest says {signature['inputs']} -> {wanted}"
        )
    if not isinstance(served, list) or len(served) != len(golden):
        return f"{len(golden)} golden instances were answered by {str(served)[:80]}"
    for index, (expected, found) in enumerate(zip(golden, served, strict=True)):
        here, there = numbers(expected), numbers(found)
        if here.keys() != there.keys():
            why = "no finite number" if "" in here else f"not as evaluated: {str(expected)[:80]}"
            return f"golden prediction {index} is {str(found)[:80]}, which is {why}"
        for place, number in there.items():
            name = f"golden prediction {index}{place}"
            if type(number) not in (int, float) or not math.isfinite(number):
                return f"{name} is {number}, which is no finite number"
            if not abs(number - here[place]) <= tolerance:
                return f"{name} is {number}, evaluated as {here[place]}: they differ by more than {tolerance}"
    return None


def numbers(prediction: Any, place: str = "") -> dict[str, Any]:
    """Return each value of a prediction by its place in it, such as `[2]` or `.price`; a single number's is empty."""
    if isinstance(prediction, list):
        parts = ((f"{place}[{index}]", each) for index, each in enumerate(prediction))
    elif isinstance(prediction, dict):
        parts = ((f"{place}.{name}", each) for name, each in prediction.items())
    else:
        return {place: prediction}
    return {name: value for inner, each in parts for name, value in numbers(each, inner).items()}
