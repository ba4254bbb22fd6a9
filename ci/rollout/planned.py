"""The nodes of the placement's plan: which of them take pods before a rollout, and where its pods are afterwards."""

from collections.abc import Mapping, Sequence
from typing import Any

from ci.apiserver import ApiServer
from ci.errors import StageError

_HOST = "kubernetes.io/hostname"
_SHOWN = 3


def unusable(api: ApiServer, advice: Mapping[str, Any] | None) -> str | None:
    """Return which of the plan's nodes take no pods any more, in a sentence; None if all do.

    Args:
        api: the API server.
        advice: pod fields of the placement's plan.

    Raises:
        StageError: none of them does, and pods may go nowhere else.
    """
    planned, required = _planned(advice)
    if not planned:
        return None
    nodes = api.get("/api/v1/nodes")["items"]
    usable = {node["metadata"]["labels"].get(_HOST) for node in nodes if _takes_pods(node)}
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
    hosts = {
        node["metadata"]["name"]: node["metadata"]["labels"].get(_HOST) for node in api.get("/api/v1/nodes")["items"]
    }
    where = {pod["metadata"]["name"]: pod["spec"].get("nodeName", "") for pod in pods}
    away = [f"{pod} is on {node}" for pod, node in sorted(where.items()) if hosts.get(node) not in planned]
    said = f"{len(where) - len(away)} of {len(where)} pods are on the plan's nodes"
    return ": ".join([said, *filter(None, ["; ".join(away[:_SHOWN])])])


def _planned(advice: Mapping[str, Any] | None) -> tuple[set[str], bool]:
    """Return the hostnames that a plan's pod fields name, and whether pods may go nowhere else."""
    affinity = (advice or {}).get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])
    preferred = [e["preference"] for e in affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])]
    terms = [each for term in [*required, *preferred] for each in term["matchExpressions"]]
    return {name for term in terms if term["key"] == _HOST for name in term["values"]}, bool(required)


def _takes_pods(node: Mapping[str, Any]) -> bool:
    conditions = {each["type"]: each["status"] for each in node.get("status", {}).get("conditions", ())}
    return conditions.get("Ready") == "True" and not node["spec"].get("unschedulable", False)
