"""Images of models on the stand-in server, made and loaded as a fork would that cannot pull TensorFlow Serving."""

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ci.packaging import package
from ci.registry import layout as image
from ci.run import images as ours
from ci.run import local_registry
from tests import pods

HERE = Path(__file__).parent
NAME = pods.images()["stand-in"]
OURS = ("tools", "pipeline", "stand-in")
"""The images that builds in pods need: the agents', and the base of models."""


def base(folder: Path) -> image.Base:
    """Build the stand-in image, which takes minutes the first time, and return it as a base for models."""
    dockerfile = pods.REPOSITORY / "ci/images/stand-in/Dockerfile"
    subprocess.run(["docker", "build", "-t", NAME, "-f", dockerfile, pods.REPOSITORY], check=True)
    archive, layout = folder / "stand-in.tar", folder / "stand-in"
    subprocess.run(["docker", "save", "-o", archive, NAME], check=True)
    copy = ["skopeo", "copy", "--quiet", "--insecure-policy", "--dest-oci-accept-uncompressed-layers"]
    subprocess.run([*copy, f"docker-archive:{archive}", f"oci:{layout}:0.1.0"], check=True)
    archive.unlink()
    [digest] = image.images(layout)
    return image.Base(layout, digest, f"{NAME}@{digest}", pinned=True)


def kubectl() -> None:
    """Build an image of this machine's kubectl under the official one's name, where that cannot be pulled."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(shutil.which("kubectl") or "kubectl", Path(folder) / "kubectl")
        (Path(folder) / "Dockerfile").write_text("FROM scratch\nCOPY kubectl /bin/kubectl\n", encoding="utf-8")
        command = ["docker", "build", "-t", pods.images()["kubectl"], "-f", Path(folder) / "Dockerfile", folder]
        subprocess.run(command, check=True)


def build_gateway() -> str:
    """Build the gateway's image, where the official one cannot be pulled, and return its name."""
    name = pods.images()["gateway"]
    subprocess.run(
        ["docker", "build", "-t", name, "-f", HERE / "drills/gateway.Dockerfile", pods.REPOSITORY], check=True
    )
    return name


def controller() -> None:
    """Build what stands in for Jenkins' own image, under its name."""
    dockerfile = HERE / "controller/Dockerfile"
    command = ["docker", "build", "-t", pods.images()["jenkins-base"], "-f", dockerfile, pods.REPOSITORY]
    subprocess.run(command, check=True)


def registry() -> dict[str, str]:
    """Start the registry if it does not run, and return what nodes and pods call our images there, by name.

    What it does not have yet is built and pushed, which takes minutes; and with it the gateway's own image, under its
    own name.
    """
    local_registry.start(print)
    kubectl()
    build_gateway()
    with contextlib.chdir(pods.REPOSITORY):
        ready = ours.ready(OURS, print)
    return {name: said.replace(local_registry.HOST, local_registry.INSIDE, 1) for name, said in ready.items()}


def spread(cluster: str, ready: Mapping[str, str]) -> None:
    """Let the nodes reach the registry, and begin to pull our images, so that the first pods need not wait for long.

    Agents run on the first worker only (tests/cluster/kind.yaml has its label), models on both.
    """
    listed = subprocess.run(["kind", "get", "nodes", "--name", cluster], check=True, capture_output=True, text=True)
    local_registry.connect(listed.stdout.split(), f"kind-{cluster}")
    for node, names in ((f"{cluster}-worker", OURS), (f"{cluster}-worker2", OURS[-1:])):
        containers = [{"name": name, "image": ready[name], "command": ["true"]} for name in names]
        spec = {"nodeName": node, "restartPolicy": "Never", "containers": containers}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pull-{node}"}, "spec": spec}
        subprocess.run(["kubectl", "apply", "-n", "default", "-f", "-"], input=json.dumps(pod), check=True, text=True)


def gateway(cluster: str) -> None:
    """Load the gateway's image into the cluster's workers."""
    name = build_gateway()
    subprocess.run(["kind", "load", "docker-image", name, "--name", cluster, "--nodes", workers(cluster)], check=True)


def workers(cluster: str) -> str:
    """Return the nodes that run models, as `kind load` takes them: no pod of one goes to the control plane."""
    return f"{cluster}-worker,{cluster}-worker2"


def load(cluster: str, folder: Path, on: image.Base, saved_model: Path, model: str, version: str) -> str:
    """Put a model on the base, load the image into the cluster's workers, and return its name."""
    layout, reference = folder / f"{model}-{version}", f"localhost/models/{model}:{version}"
    files = {f"models/{model}/{version}/{name}": path for name, path in package.model_files(saved_model).items()}
    image.index(layout, {image.build(layout, files, {}, on): reference})
    archive = folder / f"{model}-{version}.tar"
    subprocess.run(["tar", "-C", layout, "-cf", archive, "."], check=True)
    nodes = ["--name", cluster, "--nodes", workers(cluster)]
    subprocess.run(["kind", "load", "image-archive", archive, *nodes], check=True)
    archive.unlink()
    return reference


if __name__ == "__main__":
    registry()
    controller()
