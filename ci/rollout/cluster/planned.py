"""The nodes of the placement's plan: which of them take pods before a rollout, and where its pods are afterwards."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ci.errors import InputError, StageError
from ci.kube.api import ApiServer
from ci.placement.inventory import exclusion, node

_HOST = "kubernetes.io/hostname"
_SHOWN = 3


def unusable(api: ApiServer, advice: Mapping[str, Any] | None, pod: Mapping[str, Any] | None = None) -> str | None:
    """Return which of the plan's nodes take no pods any more, in a sentence; None if all do.

    Args:
        api: the API server.
        advice: pod fields of the placement's plan.
        pod: specification of the pod that is to run there, which may tolerate taints.

    Raises:
        StageError: none of them does, and pods may go nowhere else.
    """
    planned, required = _planned(advice)
    if not planned:
        return None
    rules = json.dumps({"tolerations": (pod or {}).get("tolerations") or []})
    usable = set()
    for item in api.get("/api/v1/nodes")["items"]:
        try:
            found = node(item, f"node {item['metadata']['name']}")
        except InputError:  # whatever cannot be read of it, whether it takes pods is the scheduler's to say
            usable.add((item["metadata"].get("labels") or {}).get(_HOST))
            continue
        if exclusion(rules, found) is None:
            usable.add(found.labels.get(_HOST))
    if not (gone := sorted(planned - usable)):
        return None
    what = f"{len(gone)} of the plan's {len(planned)} nodes take no pods ({', '.join(gone[:_SHOWN])}): plan again"
    if required and not planned & usable:
        raise StageError(f"{what} with `python -m scripts.place`; placement.affinity allows no others")
    return what


def strays(api: ApiServer, advice: Mapping[str, Any] | None, pods: Sequence[Mapping[str, Any]]) -> str | None:
    """Return in a sentence how many pods are on the plan's nodes, and which are not; None without a plan."""
    planned, _ = _planned(advice)
    if not planned:
        return None
    items = [each["metadata"] for each in api.get("/api/v1/nodes")["items"]]
    hosts = {each["name"]: (each.get("labels") or {}).get(_HOST) for each in items}
    where = {pod["metadata"]["name"]: pod["spec"].get("nodeName", "") for pod in pods}
    away = [f"{pod} is on {node}" for pod, node in sorted(where.items()) if hosts.get(node) not in planned]
    said = f"{len(where) - len(away)} of {len(where)} pods are on the plan's nodes"
    return ": ".join([said, *filter(None, ["; ".join(away[:_SHOWN])])])


def _planned(advice: Mapping[str, Any] | None) -> tuple[set[str], bool]:
    """Return the hostnames that a plan's pod fields lead to, and whether pods may go nowhere else."""
    affinity = (advice or {}).get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])
    preferred = [e["preference"] for e in affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])]
    only, rather = ({name for term in terms for name in _hosts(term)} for terms in (required, preferred))
    return only | rather, bool(only)


def _hosts(term: Mapping[str, Any]) -> list[str]:
    found = [each for each in term["matchExpressions"] if each["key"] == _HOST and each["operator"] == "In"]
    return [name for each in found for name in each["values"]]
