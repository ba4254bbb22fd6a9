"""What there is of a cluster of Kind, and what makes it ready."""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ci.errors import InputError
from ci.run import state
from ci.run.programs import Done, attempt, output

MARK = "model-pipeline/cluster"
"""Label of the control plane of a cluster that is ours."""
RECORD = "model-pipeline-cluster"
"""ConfigMap in `kube-system`: the port that leads to the model, and the digest of what was applied."""
_PORTS = 65535
"""The highest port."""
_ANSWER = 60.0
"""Longest wait for an API server that was just started; seconds."""
Step = Literal["create", "remake", "refuse", "silent", "apply", "nothing"]


@dataclass(frozen=True)
class Seen:
    """What was found of a cluster, for the decision."""

    listed: bool = False
    """Kind knows a cluster of that name."""
    noted: str = ""
    """What this machine remembers of it: `begun`, `made`, or nothing."""
    answers: bool = False
    """Its API server does."""
    marked: bool = False
    """Its control plane has our label."""
    nodes: Mapping[str, str] = field(default_factory=dict)
    """Each node and why it is not ready; empty if it is."""
    record: Mapping[str, str] = field(default_factory=dict)
    """What was recorded in it when it was ready; empty if nothing was."""
    damage: str = ""
    """What is wrong with that record, in words; empty if nothing is."""

    @property
    def port(self) -> int | None:
        """The port that leads to the model; None if nothing sound was recorded."""
        return None if self.damage or not self.record else int(self.record["port"])


def decide(seen: Seen, nodes: int, digest: str) -> Step:
    """Return what makes a cluster ready.

    Args:
        seen: what there is.
        nodes: how many it should have.
        digest: of what is to be applied.

    Returns:
        `create` it; `remake` one that we half made; `refuse` somebody else's; it is `silent`, so whose it is cannot be
        seen; `apply` what is not there or has changed; or `nothing`.
    """
    if not seen.listed:
        return "create"
    if not seen.answers:
        return "remake" if seen.noted == "begun" else "silent"
    if not seen.marked:  # labels come with nodes, so without any a cluster that we began to make has none yet
        return "remake" if seen.noted == "begun" and not seen.nodes else "refuse"
    if len(seen.nodes) < nodes and not seen.record:
        return "remake"
    return "nothing" if seen.record.get("applied") == digest else "apply"


def look(name: str, patience: float = _ANSWER) -> Seen:
    """Return what there is of a cluster.

    Args:
        name: its name.
        patience: how long an API server may take to answer, as after a restart of Docker; seconds.
    """
    noted = note(name).text()
    if name not in listed():
        return Seen(noted=noted)
    end = time.monotonic() + (0 if noted == "begun" else patience)
    ask = ("kubectl", "--context", f"kind-{name}", "--request-timeout=10s", "get", "-o", "json")
    while (done := attempt(*ask, "nodes")).returncode:
        if "does not exist" in done.stderr or "context was not found" in done.stderr:
            keep_context(lambda: attempt("kind", "export", "kubeconfig", "--name", name))
            done = attempt(*ask, "nodes")
        if done.returncode == 0:
            break
        if time.monotonic() >= end:
            return Seen(listed=True, noted=noted)
        time.sleep(1)
    nodes = json.loads(done.stdout)["items"]
    record, damage = _recorded(output(*ask, "configmap", RECORD, "-n", "kube-system", "--ignore-not-found").strip())
    return Seen(
        listed=True,
        noted=noted,
        answers=True,
        marked=any(MARK in node["metadata"].get("labels", {}) for node in nodes),
        nodes={node["metadata"]["name"]: _unready(node) for node in nodes},
        record=record,
        damage=damage,
    )


def _recorded(text: str) -> tuple[dict[str, str], str]:
    """Return what a ConfigMap records, empty if there is none, and what is wrong with it."""
    if not text:
        return {}, ""
    try:
        found = dict(json.loads(text).get("data") or {})
    except (ValueError, AttributeError):
        return {}, f"is no JSON object: {text!r:.80}"
    if "port" not in found:
        return found, "port: is missing"
    if not re.fullmatch("[1-9][0-9]{0,4}", found["port"]) or int(found["port"]) > _PORTS:
        return found, f"port: {found['port']!r:.80} is no port"
    return found, ""


def require_sound(name: str, seen: Seen) -> None:
    """Make sure that what a cluster records can be relied on.

    Raises:
        InputError: somebody has changed it.
    """
    if seen.damage:
        raise InputError("{}: {}".format(*damaged(name, seen)))


def damaged(name: str, seen: Seen) -> tuple[str, str]:
    """Return what is wrong with what a cluster records, and what mends it."""
    anew = f"`make cluster-delete CLUSTER={name}`, then `make ci CLUSTER={name}` makes the cluster anew"
    return f"ConfigMap {RECORD} in kube-system of the cluster {name}: {seen.damage}", anew


def require_name(name: str) -> None:
    """Make sure that a name is one that a cluster may have.

    Raises:
        InputError: it is not.
    """
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?", name):
        raise InputError(f"CLUSTER: {name!r:.60} is no name of a cluster: small letters, digits and `-`, 32 at most")


def note(name: str) -> state.Note:
    """Return where this machine remembers a cluster that it began to make (`begun`) or made (`made`)."""
    return state.Note(f"kind-{name}.note")


def listed() -> list[str]:
    """Return the names of all clusters of Kind on this machine."""
    return output("kind", "get", "clusters").split()


def _unready(node: Mapping[str, Any]) -> str:
    """Return why a node is not ready; empty if it is."""
    found = [each for each in node.get("status", {}).get("conditions", ()) if each["type"] == "Ready"]
    if found and found[0]["status"] == "True":
        return ""
    return str(found[0].get("message") or found[0].get("reason")) if found else "its kubelet has not reported yet"


def keep_context(act: Callable[[], Done]) -> Done:
    """Do what makes Kind write a context into the kubeconfig, and let the current one stay as it was."""
    before = attempt("kubectl", "config", "current-context").stdout.strip()
    done = act()
    if before:
        attempt("kubectl", "config", "use-context", before)
    return done
