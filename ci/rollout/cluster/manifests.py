"""What a rollout applies to a cluster: the manifests of `k8s/`, rendered by Kustomize, with the version's fields."""

import math
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ci import workspace
from ci.errors import InputError, StageError
from ci.placement.amounts import quantity
from ci.pods.sizing import size
from ci.pods.steering import steered
from ci.releases.version import Version
from ci.settings import Settings

STABLE = "model-stable"
CANARY = "model-canary"
SERVICE = "model"
"""The Service that clients use; its selector says whether the canary takes part in the traffic."""
AUTOSCALER = "autoscaler"
"""What a rollout calls the autoscaler of stable, which has the name of its Deployment."""
CONTAINER = "serving"
GATEWAY = "gateway"
ANSWERS = "answers"
"""The volume in memory that is a gateway's cache."""
OURS = (CONTAINER, GATEWAY)
"""The containers of a pod that are a version's server."""
_OVERLAYS = Path("k8s/overlays")
_STANDIN = Path("k8s/components/stand-in")
_GRPC = Path("k8s/components/grpc")
_CACHE = Path("k8s/components/cache")
_ROOT = workspace.ROLLOUT / "manifests"
_INSTALL = "install it, 1.30 or newer, from https://kubernetes.io/docs/tasks/tools/"


_SERVER = Path("k8s/server")


def render(settings: Settings) -> list[dict[str, Any]]:
    """Return the objects that a rollout applies, as `k8s/` has them.

    They are configuration, Service, both Deployments, and the autoscaler of stable, with the replicas of the settings.

    Raises:
        InputError: there is no such overlay, kubectl is missing, or Kustomize refuses the files.
    """
    overlay = _OVERLAYS / settings.serving.overlay / "server"
    if not (overlay / "kustomization.yaml").is_file():
        raise InputError(f"serving.overlay: {overlay} has no kustomization.yaml: name a folder of {_OVERLAYS}")
    serving = settings.serving
    chosen = {_STANDIN: serving.server == "stand-in", _GRPC: serving.grpc, _CACHE: serving.cache_mib is not None}
    root: dict[str, Any] = {"resources": [_from_root(overlay)]}
    root["components"] = [_from_root(component) for component, wanted in chosen.items() if wanted]
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
    objects = list(yaml.safe_load_all(done.stdout))
    for spec in (found["spec"] for found in objects if key(found) == AUTOSCALER):
        spec["minReplicas"] = settings.serving.replicas
        spec["maxReplicas"] = max(spec["maxReplicas"], spec["minReplicas"])
    return objects


def applied(settings: Settings) -> tuple[list[dict[str, Any]], str | None]:
    """Return the Deployments of stable and canary as a rollout applies them, whatever the version.

    Where kubectl is missing they are those of `k8s/server`, without what the overlay changes, and the second value
    says so.

    Raises:
        InputError: they cannot be rendered or read, or are not what a version can be put into.
    """
    note, where = None, str(_OVERLAYS / settings.serving.overlay / "server")
    if shutil.which("kubectl"):
        objects = render(settings)
    else:
        objects, note = _unrendered(), f"{where}: kubectl is not on the PATH, so {_SERVER} was read without the overlay"
    try:
        put(objects, settings, "1", "model")
        both = [[each for each in objects if key(each) == name] for name in (STABLE, CANARY)]
        return [found for [found] in both], note
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        what = f"expected Deployments {STABLE} and {CANARY} with the containers {CONTAINER} and {GATEWAY}"
        raise InputError(f"{where}: {what}, as {_SERVER} has them: {error!r}") from None


def _unrendered() -> list[dict[str, Any]]:
    """Return the Deployments of `k8s/server` as its files have them, with what tells stable and canary apart."""
    found = []
    file, root = _SERVER / "pod" / "deployment.yaml", _SERVER / "kustomization.yaml"
    try:
        spaces = yaml.safe_load(root.read_text(encoding="utf-8"))
        for name in (STABLE, CANARY):
            deployment = yaml.safe_load(file.read_text(encoding="utf-8"))
            deployment["metadata"] |= {"name": name, "namespace": spaces["namespace"]}
            track, spec = {"track": name.removeprefix("model-")}, deployment["spec"]
            spec["selector"]["matchLabels"] |= track
            spec["template"]["metadata"]["labels"] |= track
            found.append(deployment)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing: run in the repository's folder") from None
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: expected a Deployment with labels, and {root} with a namespace: {error!r}") from None
    return found


def key(found: Mapping[str, Any]) -> str:
    """Return what a rollout calls an object: its name, but `AUTOSCALER` for the autoscaler, as stable has its name."""
    return AUTOSCALER if found["kind"] == "HorizontalPodAutoscaler" else str(found["metadata"]["name"])


def namespace(objects: list[dict[str, Any]]) -> str:
    """Return the namespace of rendered objects: all are in one."""
    return str(objects[0]["metadata"]["namespace"])


def image(version: Version) -> str:
    """Return the image that a version's pods run.

    Raises:
        StageError: it holds a model and no server.
    """
    if not version.base:
        raise StageError(
            f"{version.reference} has a model but no server in it: set packaging.base to `serving`, or to `stand-in` "
            f"with serving.server: stand-in, and package again"
        )
    local = version.reference.startswith("localhost/")
    return version.reference if local else f"{version.reference}@{version.digest}"  # a tag may move to another image


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
        advice: pod fields of the placement's plan.
    """
    for deployment in (found for found in objects if found["kind"] == "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        if advice:
            pod.update(steered({"spec": pod}, advice)["spec"])
        [container] = [found for found in pod["containers"] if found["name"] == CONTAINER]
        container["image"] = reference
        [gateway] = [found for found in pod["containers"] if found["name"] == GATEWAY]
        values = {"MODEL_NAME": settings.model.name, "MODEL_VERSION": version, "RELEASE": reference}
        values |= {"CAPTURE_EVERY": str(settings.monitoring.capture_every)}
        values |= {"CAPTURE_DROP": ",".join(settings.monitoring.drop)}
        for variable in (*container["env"], *gateway["env"]):
            if variable["name"] in values:
                variable["value"] = values[variable["name"]]
        for name in ("startupProbe", "readinessProbe"):
            container[name]["httpGet"]["path"] = f"/v1/models/{settings.model.name}/versions/{version}/metadata"
        probe = container["startupProbe"]  # the deployer gives up before the kubelet does, and says why
        tries = math.ceil((settings.rollout.startup_timeout + 30) / probe["periodSeconds"])
        probe["failureThreshold"] = max(probe["failureThreshold"], tries)
        deadline = math.ceil(settings.rollout.startup_timeout) + 60
        deployment["spec"]["progressDeadlineSeconds"] = max(deployment["spec"]["progressDeadlineSeconds"], deadline)
        if settings.serving.server == "stand-in" and settings.serving.batch_target:
            container["args"].append(f"--batch_target={settings.serving.batch_target}")
        _size_gateway(pod, gateway, settings)
        size(pod, CONTAINER, settings.resources.serving)


def _size_gateway(pod: dict[str, Any], gateway: dict[str, Any], settings: Settings) -> None:
    """Put in what a gateway requests; its cache is a volume in memory, which counts as the gateway's own."""
    amounts = settings.resources.gateway.model_dump()
    if (cache := settings.serving.cache_mib) is not None:
        own = quantity(amounts["memory"], "resources.gateway.memory")
        amounts["memory"] = f"{-(-own // 2**20) + cache}Mi"
        for variable in gateway["env"]:
            if variable["name"] == "CACHE_MIB":
                variable["value"] = str(cache)
        for volume in pod["volumes"]:
            if volume["name"] == ANSWERS:
                volume["emptyDir"]["sizeLimit"] = f"{2 * cache}Mi"
    gateway["resources"]["requests"] |= amounts
    gateway["resources"]["limits"]["memory"] = amounts["memory"]


def _from_root(folder: Path) -> str:
    """Return a folder as Kustomize wants it: relative to the root's real place."""
    return os.path.relpath(folder.resolve(), _ROOT.resolve())
