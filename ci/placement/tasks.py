"""The pods that the pipeline wants to place, as tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from ci.errors import InputError
from ci.placement.inventory import COMPONENT, Pod, amounts, pod

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ci.placement.inventory import Node
    from ci.placement.model import Spread
    from ci.settings import Request, Settings

GROUPS = ("serving", "training")
PLANNING = 0.7
"""Share of the time limit that the solver gets at most; the rest is for trying the hand-over."""
_REPORTED = ("pods", "ephemeral-storage")
_SERVER, _AGENT = Path("k8s/server/pod/deployment.yaml"), Path("ci/agents/training.yaml")
_TRAINING = "tensorflow"
"""The agent's container that gets `resources.training`; other containers are named like their key, or keep theirs."""


def planned(settings: Settings, group: str | None = None) -> tuple[Pod, ...]:
    """Return the pods of one group, or of both.

    `serving` is what a rollout needs at its peak: all replicas and the canary beside them. `training` is the agent
    that trains, and the tuning chief with its workers. Where the repository has a pod's file, requests, rules and group
    (the label that the running pods carry) are from there, with CPU and memory of the settings.

    Raises:
        InputError: a pod's file is missing or no pod.
    """
    resources, names = settings.resources, [f"serving-{index}" for index in range(settings.serving.replicas)]
    found: list[Pod] = []
    if group != "training":
        server = _template(_SERVER, settings)
        found += [replace(server, name=name) for name in (*names, "canary")]
    if group != "serving":
        found.append(_task("tuning-chief", "tuning-chief", resources.chief))
        workers = range(settings.placement.tuning_workers)
        found += [_task(f"tuning-{index}", "tuning", resources.tuning) for index in workers]
        found.append(replace(_template(_AGENT, settings), name="training"))
    return tuple(found)


def reported(tasks: Sequence[Pod], nodes: Sequence[Node]) -> tuple[tuple[Pod, ...], list[str]]:
    """Return the tasks without requests for what every kubelet reports and no node here has, and what that is.

    An inventory that was written by hand often leaves it out, and says nothing about it by that.
    """
    absent = [name for name in _REPORTED if nodes and not any(name in node.allocatable for node in nodes)]
    kept = [{name: amount for name, amount in task.requests.items() if name not in absent} for task in tasks]
    return tuple(replace(task, requests=requests) for task, requests in zip(tasks, kept, strict=True)), absent


def spreads(settings: Settings) -> tuple[Spread, ...]:
    """Return the hard limits per node: by default the replicas survive the loss of any one node."""
    from ci.placement.model import Spread

    limit = settings.placement.replicas_per_node or max(1, settings.serving.replicas - 1)
    return (Spread("serving", limit, besides=frozenset({"canary"})),)


def _task(name: str, group: str, request: Request) -> Pod:
    return Pod(name, group, {**amounts(request.model_dump(), f"resources of {name}"), "pods": 1})


def _template(path: Path, settings: Settings) -> Pod:
    """Return the pod of a file (a Pod, or a Deployment's template) with the settings' CPU and memory."""
    sizes = settings.resources.model_dump()
    try:
        item = yaml.safe_load(path.read_text(encoding="utf-8"))
        item = item["spec"].get("template", item)
        for container in item["spec"]["containers"]:
            key = "training" if container["name"] == _TRAINING else container["name"]
            asked = container.setdefault("resources", {})
            asked["requests"] = {**asked.get("requests", {}), **sizes.get(key, {})}
        return pod(path.stem, item["metadata"]["labels"][COMPONENT], item["spec"], f"{path}: spec")
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run in the repository's folder") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        what = "a pod with containers that have names, and the label"
        raise InputError(f"{path}: expected {what} {COMPONENT}: {error!r}") from None
