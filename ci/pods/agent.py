"""The training agent's pod: the file in this folder with the requests of the settings and the planned node."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from ci import reading_yaml
from ci.errors import InputError
from ci.settings import Request

TRAINING = Path("ci/agents/training.yaml")
CONTAINER = "tensorflow"
_HARD = "DoNotSchedule"


def read(path: Path) -> dict[str, Any]:
    """Read a pod.

    Raises:
        InputError: the file is missing, is not YAML, is no pod, or has no container for the training stages.
    """
    if not path.exists():
        raise InputError(f"{path} is missing: run in the repository's folder")
    pod = reading_yaml.read(path)
    try:
        names = [container["name"] for container in pod["spec"]["containers"]]
    except (TypeError, KeyError):
        raise InputError(f"{path}: spec.containers: expected a list of containers, each with a name") from None
    if CONTAINER not in names:
        raise InputError(f"{path}: spec.containers: the training stages run in a container named {CONTAINER}: add it")
    return dict(pod)


def sized(pod: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """Return the pod with CPU and memory of its training container requested and limited to `request`.

    Limits equal requests: training that outgrows its memory ends itself, not a neighbour on the node.
    """
    result = deepcopy(dict(pod))
    for container in result["spec"]["containers"]:
        if container["name"] == CONTAINER:
            resources = container.setdefault("resources", {})
            for kind in ("requests", "limits"):
                resources[kind] = {**resources.get(kind, {}), "cpu": request.cpu, "memory": request.memory}
    return result


def steered(pod: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pod with the fields that a plan gives it, beside what it asks for already.

    A hard spread of its own over the same domains stays in the place of the plan's: Kubernetes takes one of each. A
    soft one over them gives way, because its scores would pull pods off the plan.

    Args:
        pod: the pod.
        fields: node affinity, preferred or required, and spread constraints, as `ci.placement.handover` makes them.
    """
    result = deepcopy(dict(pod))
    spec = result["spec"]
    planned = fields.get("topologySpreadConstraints", [])
    keys = {each["topologyKey"] for each in planned}
    own = spec.get("topologySpreadConstraints") or []
    kept = [each for each in own if each["topologyKey"] not in keys or each["whenUnsatisfiable"] == _HARD]
    there = {(each["topologyKey"], each["whenUnsatisfiable"]) for each in kept}
    more = [each for each in planned if (each["topologyKey"], each["whenUnsatisfiable"]) not in there]
    spec["topologySpreadConstraints"] = [*kept, *more]
    affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    for strength, given in fields["affinity"]["nodeAffinity"].items():
        if strength.startswith("preferred"):
            affinity.setdefault(strength, []).extend(given)
            continue
        # Terms are alternatives: what the plan demands is demanded of each.
        wanted = given["nodeSelectorTerms"][0]["matchExpressions"]
        terms = affinity.get(strength, {}).get("nodeSelectorTerms") or [{}]
        both = [{**term, "matchExpressions": [*term.get("matchExpressions", []), *wanted]} for term in terms]
        affinity[strength] = {"nodeSelectorTerms": both}
    return result
