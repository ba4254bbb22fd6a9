"""Pods led to the nodes of a plan."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from ci.pods.templates import spec_of

_HARD = "DoNotSchedule"


def steered(item: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with the fields that a plan gives its pods, beside what they ask for already.

    A hard spread of its own over the same domains stays in the place of the plan's: Kubernetes takes one of each. A
    soft one over them gives way, because its scores would pull pods off the plan.

    Args:
        item: a Pod, or what has a pod's template.
        fields: node affinity, preferred or required, and spread constraints, as `ci.placement.handover` makes them.
    """
    result = deepcopy(dict(item))
    spec = spec_of(result)
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
