"""The nodes of the placement's plan: which of them take pods before a rollout, and where its pods are afterwards."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ci.errors import InputError, StageError
from ci.kube.api import ApiServer
from ci.placement.handover import away
from ci.placement.inventory import exclusion, node
from ci.results.placement import HANDOVER, PLAN

GROUP = "serving"
"""The plan's name for the pods of stable and canary."""
_SHOWN = 3
"""Nodes and pods that a sentence names, at most."""


@dataclass(frozen=True)
class Planned:
    """What a plan says about the serving pods; without a plan it says nothing.

    Attributes:
        nodes: names of the nodes that the pods are led to.
        required: the pods may go nowhere else.
        fields: pod fields that lead them there, as Kubernetes understands them.
    """

    nodes: frozenset[str] = frozenset()
    required: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)


def read(environment: str | None = None) -> Planned:
    """Return what the last plan says; nothing if there is none, or if it was made for the example's nodes.

    Neither if it was made for another environment, which may be another cluster.
    """
    plan = PLAN.read_if_there()
    if plan is None or plan.inventory == "example" or plan.environment != environment:
        return Planned()
    return Planned(frozenset(plan.sets.get(GROUP, ())), plan.required, HANDOVER.plain().get(GROUP, {}))


def unusable(api: ApiServer, plan: Planned, pod: Mapping[str, Any] | None = None) -> str | None:
    """Return which of the plan's nodes take no pods any more, in a sentence; None if all do.

    Args:
        api: the API server.
        plan: what the plan says.
        pod: specification of the pod that is to run there, which may tolerate taints.

    Raises:
        StageError: none of them does, and pods may go nowhere else.
    """
    if not plan.nodes:
        return None
    rules = json.dumps({"tolerations": (pod or {}).get("tolerations") or []})
    usable = set()
    for item in api.get("/api/v1/nodes")["items"]:
        name = item["metadata"]["name"]
        try:
            takes = exclusion(rules, node(item, f"node {name}")) is None
        except InputError:  # it cannot be read here, so the scheduler has to say whether it takes pods
            takes = True
        if takes:
            usable.add(name)
    if not (gone := sorted(plan.nodes - usable)):
        return None
    what = f"{len(gone)} of the plan's {len(plan.nodes)} nodes take no pods ({', '.join(gone[:_SHOWN])}): plan again"
    if plan.required and not plan.nodes & usable:
        raise StageError(f"{what} with `python -m scripts.place`; placement.affinity allows no others")
    return what


def placed(plan: Planned, pods: Sequence[Mapping[str, Any]]) -> str | None:
    """Return in a sentence how many pods are on the plan's nodes, and which are not; None without a plan."""
    if not plan.nodes:
        return None
    bound = sorted((pod["metadata"]["name"], GROUP, pod["spec"].get("nodeName", "")) for pod in pods)
    strays = away({GROUP: plan.nodes}, bound)
    said = f"{len(bound) - len(strays)} of {len(bound)} pods are on the plan's nodes"
    return ": ".join([said, *filter(None, ["; ".join(strays[:_SHOWN])])])
