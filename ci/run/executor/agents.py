"""The agent pods as the executor makes them: those of `ci/agents/`, without what only Jenkins needs in them."""

import copy
from collections.abc import Mapping
from typing import Any

from ci.pods.templates import BUILD, NAMESPACE
from ci.run.executor.pod import HOME

Json = dict[str, Any]
PART_OF = {"app.kubernetes.io/part-of": "model-pipeline"}
"""Label of all pods of builds, whoever makes them."""
MANAGED_BY = {"app.kubernetes.io/managed-by": "model-pipeline-executor"}
"""What tells the executor's pods from those of Jenkins, which it never touches."""
_CONNECTOR = "jnlp"
_VOLUME = "workspace-volume"


def manifest(
    template: Mapping[str, Any],
    name: str,
    build: str,
    container: str,
    *,
    image: str | None = None,
) -> Json:
    """Return the pod of one part of a build.

    Args:
        template: as `ci.pods.templates.read` returns it, or as Plan made it.
        name: of the pod.
        build: what all pods of this build share.
        container: name of the container that steps run in.
        image: its image, in place of the template's.
    """
    pod = copy.deepcopy(dict(template))
    spec = pod["spec"]
    spec["containers"] = [each for each in spec["containers"] if each["name"] != _CONNECTOR]
    [found] = [each for each in spec["containers"] if each["name"] == container]
    for each in spec["containers"]:
        each["volumeMounts"] = [*each.get("volumeMounts", ()), {"name": _VOLUME, "mountPath": HOME}]
    found["workingDir"] = HOME
    if image:
        found["image"] = image
    spec["volumes"] = [*spec.get("volumes", ()), {"name": _VOLUME, "emptyDir": {}}]
    labels = {**(pod.get("metadata", {}).get("labels") or {}), **PART_OF, **MANAGED_BY, BUILD: build}
    pod["metadata"] = {**pod.get("metadata", {}), "name": name, "namespace": NAMESPACE, "labels": labels}
    return pod
