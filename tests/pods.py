"""Every pod that the repository's manifests describe, and what the house demands of a pod."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parent.parent
UID = 1000


def manifests() -> list[Path]:
    """Return the manifests of agents and of what is applied to a cluster."""
    return [
        path
        for room in ("ci/agents", "ci/jenkins", "ci/kind/jenkins", "k8s")
        for path in sorted((REPOSITORY / room).rglob("*.yaml"))
    ]


def pod_specs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name (file and kind) and specification of every pod and pod template."""
    for path in manifests():
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            spec = document.get("spec", {})
            if document["kind"] == "CronJob":
                spec = spec["jobTemplate"]["spec"]
            if "template" in spec:
                spec = spec["template"]["spec"]
            if "containers" in spec:
                yield f"{path.relative_to(REPOSITORY)} {document['kind']}", spec


def images() -> dict[str, str]:
    """Return the full reference of every image of ci/images/images.yaml by its name there."""
    listed = yaml.safe_load((REPOSITORY / "ci/images/images.yaml").read_text(encoding="utf-8"))["images"]
    return {
        image["name"]: f"{image['repository']}:{image['tag']}" + (f"@{image['digest']}" if image["digest"] else "")
        for image in listed
    }


def violations(spec: dict[str, Any]) -> list[str]:
    """Return what the pod does against Pod Security `restricted` and the stricter rules of this repository.

    The rules of the profile: https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    found = [f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += [
        f"volume {volume['name']} is of a forbidden type"
        for volume in spec.get("volumes", [])
        if not set(volume) - {"name"}
        <= {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    ]
    if spec.get("automountServiceAccountToken") is not False and "serviceAccountName" not in spec:
        found.append("a token of the default ServiceAccount is mounted")
    pod = spec.get("securityContext", {})
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        found += [f"{container['name']}: {problem}" for problem in _of_container(container, pod)]
    return found


def _of_container(container: dict[str, Any], pod: dict[str, Any]) -> Iterator[str]:
    own = container.get("securityContext", {})
    effective = {**pod, **own}
    if effective.get("runAsNonRoot") is not True:
        yield "may run as root"
    if effective.get("runAsUser") != UID or effective.get("runAsGroup") != UID:
        yield f"does not run as {UID}:{UID}"
    if effective.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "has no seccomp profile"
    if own.get("privileged"):
        yield "is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "may escalate privileges"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "has a writable root file system"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "keeps capabilities"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "takes a port of the host"
    for kind in ("requests", "limits"):
        missing = {"cpu", "memory"} - set(container.get("resources", {}).get(kind, {}))
        if missing:
            yield f"has no {kind} of {' and '.join(sorted(missing))}"
