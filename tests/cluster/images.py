"""Images of models on the stand-in server, made and loaded as a fork would that cannot pull TensorFlow Serving."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ci.packaging import package
from ci.registry import layout as image
from tests import pods

HERE = Path(__file__).parent
NAME = pods.images()["stand-in"]


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


def warm(names: Sequence[str]) -> None:
    """Build images of ours once, so that what builds them later finds their layers."""
    kubectl()
    build_gateway()
    for name in names:
        dockerfile = pods.REPOSITORY / "ci/images" / name / "Dockerfile"
        subprocess.run(
            ["docker", "build", "-t", f"localhost/warm-{name}:1", "-f", dockerfile, pods.REPOSITORY], check=True
        )


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
    warm(sys.argv[1:] or ["tools", "pipeline", "stand-in"])
