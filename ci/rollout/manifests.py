"""What a rollout applies to a cluster: the manifests of `k8s/`, rendered by Kustomize, with the version's fields."""

import math
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import TypedDict

from ci import workspace
from ci.agents.pod import steered
from ci.errors import InputError, StageError
from ci.settings import Settings

STABLE = "model-stable"
CANARY = "model-canary"
SERVICE = "model"
"""The Service that clients use; its selector says whether the canary takes part in the traffic."""
CONTAINER = "serving"
GATEWAY = "gateway"
_OVERLAYS = Path("k8s/overlays")
_STANDIN = Path("k8s/components/stand-in")
_ROOT = workspace.ROLLOUT / "manifests"
_INSTALL = "install it, 1.30 or newer, from https://kubernetes.io/docs/tasks/tools/"


class _Plan(TypedDict):
    inventory: str


def render(settings: Settings) -> list[dict[str, Any]]:
    """Return the objects that a rollout applies, as `k8s/` has them: configuration, Service and both Deployments.

    Raises:
        InputError: there is no such overlay, kubectl is missing, or Kustomize refuses the files.
    """
    overlay = _OVERLAYS / settings.serving.overlay / "server"
    if not (overlay / "kustomization.yaml").is_file():
        raise InputError(f"serving.overlay: {overlay} has no kustomization.yaml: name a folder of {_OVERLAYS}")
    root: dict[str, Any] = {"resources": [_from_root(overlay)]}
    if settings.serving.server == "stand-in":
        root["components"] = [_from_root(_STANDIN)]
    workspace.write_text(_ROOT / "kustomization.yaml", yaml.safe_dump(root))
    try:
        done = subprocess.run(
            ["kubectl", "kustomize", _ROOT],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=60,
        )
    except FileNotFoundError:
        raise InputError(f"kubectl is not on the PATH, and renders the manifests: {_INSTALL}") from None
    if done.returncode:
        raise InputError(f"{overlay} cannot be rendered: {done.stderr.strip()}")
    return list(yaml.safe_load_all(done.stdout))


def namespace(objects: list[dict[str, Any]]) -> str:
    """Return the namespace of rendered objects: all are in one."""
    return str(objects[0]["metadata"]["namespace"])


def image(packaged: Mapping[str, Any]) -> str:
    """Return the image that pods run, from a package's manifest.

    Raises:
        StageError: it holds a model and no server.
    """
    found = packaged["image"]
    if not found.get("base"):
        raise StageError(
            f"{found['reference']} has a model but no server in it: set packaging.base to `serving`, or to `stand-in` "
            f"with serving.server: stand-in, and package again"
        )
    reference, local = str(found["reference"]), str(found["reference"]).startswith("localhost/")
    return reference if local else f"{reference}@{found['digest']}"  # a tag may be given to another image


def advice() -> dict[str, Any]:
    """Return the pod fields that the last plan gives to serving pods; none if it was made for the example's nodes."""
    if not (workspace.PLACEMENT / "plan.json").exists():
        return {}
    if workspace.read_json(workspace.PLACEMENT / "plan.json", _Plan)["inventory"] == "example":
        return {}
    kind = dict[str, dict[str, Any]]
    fields: dict[str, dict[str, Any]] = workspace.read_json(workspace.PLACEMENT / "handover.json", kind)
    return fields.get("serving", {})


def put(
    objects: list[dict[str, Any]],
    settings: Settings,
    version: str,
    reference: str,
    advice: Mapping[str, Any] | None = None,
) -> None:
    """Put a version into the pods of both Deployments, so that each revision holds all that tells it from another.

    Args:
        objects: what `render` returned; changed in place.
        settings: the model's name, and what a serving pod requests.
        version: the model's version.
        reference: its image, by digest where a registry has it.
        advice: pod fields of the plan, as `ci.placement.handover.advice` gives them.
    """
    for deployment in (found for found in objects if found["kind"] == "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        if advice:
            advice = {"topologySpreadConstraints": [], **advice}
            planned = {each["topologyKey"] for each in advice["topologySpreadConstraints"]}
            own = pod.get("topologySpreadConstraints", ())
            pod["topologySpreadConstraints"] = [each for each in own if each["topologyKey"] not in planned]
            pod.update(steered({"spec": pod}, advice)["spec"])
        [container] = [found for found in pod["containers"] if found["name"] == CONTAINER]
        container["image"] = reference
        values = {"MODEL_NAME": settings.model.name, "MODEL_VERSION": version}
        for variable in container["env"]:
            if variable["name"] in values:
                variable["value"] = values[variable["name"]]
        for name in ("startupProbe", "readinessProbe"):
            container[name]["httpGet"]["path"] = f"/v1/models/{settings.model.name}/versions/{version}/metadata"
        probe = container["startupProbe"]  # the deployer gives up before the kubelet does, and says why
        tries = math.ceil((settings.rollout.startup_timeout + 30) / probe["periodSeconds"])
        probe["failureThreshold"] = max(probe["failureThreshold"], tries)
        deadline = math.ceil(settings.rollout.startup_timeout) + 60
        deployment["spec"]["progressDeadlineSeconds"] = max(deployment["spec"]["progressDeadlineSeconds"], deadline)
        [gateway] = [found for found in pod["containers"] if found["name"] == GATEWAY]
        gateway["resources"]["requests"] |= settings.resources.gateway.model_dump()
        gateway["resources"]["limits"]["memory"] = settings.resources.gateway.memory
        for kind in ("requests", "limits"):  # limits equal requests: a full node takes nothing away from a server
            container["resources"][kind] |= settings.resources.serving.model_dump()


def _from_root(folder: Path) -> str:
    """Return a folder as Kustomize wants it: relative to the root's real place."""
    return os.path.relpath(folder.resolve(), _ROOT.resolve())
