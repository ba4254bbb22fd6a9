"""Pods with the size, the devices and the kind of node that the settings ask for."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from ci.pods import templates
from ci.pods.templates import spec_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ci.settings import Settings
    from ci.settings.cluster import Request


def training(settings: Settings, path: Path = templates.TRAINING) -> dict[str, Any]:
    """Return the pod that trains, as the settings size it; a pull request's has a file of its own."""
    return sized(templates.read(path), templates.CONTAINERS[path], settings.resources.training)


def tuning(settings: Settings) -> dict[str, Any]:
    """Return the Job that tunes, with as many pods as there are workers, as the settings size them."""
    path = templates.TUNING
    job = sized(templates.read(path), templates.CONTAINERS[path], settings.resources.tuning)
    job["spec"] |= {"completions": settings.tuning.workers, "parallelism": settings.tuning.workers}
    return job


def sized(item: Mapping[str, Any], container: str, request: Request) -> dict[str, Any]:
    """Return an object with its pods sized; see `size`."""
    result = deepcopy(dict(item))
    size(spec_of(result), container, request)
    return result


def size(spec: dict[str, Any], container: str, request: Request) -> None:
    """Put what is requested into a pod's specification, in place.

    The container's limits equal its requests: a process that outgrows its memory ends itself, not a neighbour on the
    node, and Kubernetes takes devices in no other way. Node labels and tolerations come to those that are there.
    """
    amounts = {"cpu": request.cpu, "memory": request.memory}
    amounts |= {name: str(count) for name, count in request.extended.items()}
    for each in spec["containers"]:
        if each["name"] == container:
            resources = each.setdefault("resources", {})
            for kind in ("requests", "limits"):
                resources[kind] = {**resources.get(kind, {}), **amounts}
    if request.node_labels:
        spec["nodeSelector"] = {**(spec.get("nodeSelector") or {}), **request.node_labels}
    tolerations = [each.model_dump(exclude_none=True) for each in request.tolerations]
    there = spec.get("tolerations") or []
    if more := [each for each in tolerations if each not in there]:
        spec["tolerations"] = [*there, *more]
