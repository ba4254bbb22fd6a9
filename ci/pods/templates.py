"""Templates of pods: the files of this repository, and what any object says of the pods that it makes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci import reading_yaml
from ci.errors import InputError
from ci.pods.objects import an_object, texts

TRAINING = Path("ci/agents/training.yaml")
TOOLS = Path("ci/agents/tools.yaml")
TUNER = Path("ci/agents/tuner.yaml")
TUNING = Path("ci/agents/tuning.yaml")
RELEASE = Path("ci/agents/release.yaml")
PULL_REQUEST = Path("ci/agents/pull-request.yaml")
CONTAINERS = {
    **dict.fromkeys((TRAINING, PULL_REQUEST, TUNING), "tensorflow"),
    **dict.fromkeys((TOOLS, TUNER, RELEASE), "tools"),
}
"""The container of each template that the stages run in."""
NAMESPACE = "model-pipeline"
"""Where builds run."""
UNTRUSTED = "model-pipeline-pull-requests"
"""Where the code of pull requests runs."""
BUILD = "model-pipeline/build"
"""Label with the build that a pod or a Job belongs to."""
COMPONENT = "app.kubernetes.io/component"
"""Label with the group of a pod: pods of one group are interchangeable."""


@dataclass(frozen=True)
class Template:
    """The pods that an object makes: where they are written, their namespace (empty if unknown), labels and spec."""

    where: str
    namespace: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]

    @property
    def group(self) -> str:
        """The group of the pods."""
        return self.labels[COMPONENT]


def read(path: Path) -> dict[str, Any]:
    """Return the object in the file of one of the templates above: a Pod or a Job.

    Raises:
        InputError: the file is missing, is not YAML, or has not the container that stages run in.
    """
    if not path.exists():
        raise InputError(f"{path} is missing: run in the repository's folder")
    item = reading_yaml.read(path)
    wanted = next(name for file, name in CONTAINERS.items() if file.name == path.name)
    try:
        names = [container["name"] for container in spec_of(item)["containers"]]
    except (TypeError, KeyError):
        raise InputError(f"{path}: spec.containers: expected a list of containers, each with a name") from None
    if wanted not in names:
        raise InputError(f"{path}: spec.containers: the stages run in a container named {wanted}: add it")
    return dict(item)


def spec_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the specification of the pods of an object: a Pod's own, or that of its template; to be changed in place.

    Raises:
        KeyError, TypeError: it has none.
    """
    spec: dict[str, Any] = item["spec"]
    return spec["template"]["spec"] if "template" in spec else spec


def template(item: object, where: str, namespace: str = "") -> Template:
    """Return the pods of an object: a Pod, or what has a pod's template such as a Deployment.

    Raises:
        InputError: it is neither, or its pods have no group.
    """
    whole = an_object(item, where)
    spec = an_object(whole.get("spec"), f"{where}: spec")
    metadata = an_object(whole.get("metadata"), f"{where}: metadata")
    if "template" in spec:
        inner = an_object(spec["template"], f"{where}: spec.template")
        labels = an_object(inner.get("metadata"), f"{where}: spec.template.metadata").get("labels")
        where, spec = f"{where}: spec.template.spec", an_object(inner.get("spec"), f"{where}: spec.template.spec")
    else:
        labels, where = metadata.get("labels"), f"{where}: spec"
    found = texts(labels, f"{where}: labels")
    if not spec.get("containers") or COMPONENT not in found:
        raise InputError(f"{where}: expected a pod with containers, and with the label {COMPONENT}")
    return Template(where, str(metadata.get("namespace") or namespace), found, spec)
