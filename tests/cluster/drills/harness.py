"""What the drills share: light models as packages, deployments through the library, and a load that keeps failures."""

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from ci import configuration, lineage, workspace
from ci.apiserver import ApiServer
from ci.packaging import image, package
from ci.rollout.history import History
from ci.settings import Settings
from scripts import deploy
from tests import pods
from tests.cluster.tools import SERVING, kubectl

HERE = Path(__file__).parent
INSTANCES = [{"x": float(n)} for n in range(8)]
SERVER, GATEWAY = "localhost/drill-server:1", pods.images()["gateway"]


def bases(cluster: str, folder: Path) -> image.Base:
    """Build the light server and the gateway, load the gateway into the nodes, and return the server as a base."""
    for name, file in ((SERVER, "server.Dockerfile"), (GATEWAY, "gateway.Dockerfile")):
        subprocess.run(["docker", "build", "-t", name, "-f", HERE / file, pods.REPOSITORY], check=True)
    subprocess.run(["kind", "load", "docker-image", GATEWAY, "--name", cluster], check=True)
    archive, layout = folder / "server.tar", folder / "server"
    subprocess.run(["docker", "save", "-o", archive, SERVER], check=True)
    copy = ["skopeo", "copy", "--quiet", "--insecure-policy", "--dest-oci-accept-uncompressed-layers"]
    subprocess.run([*copy, f"docker-archive:{archive}", f"oci:{layout}:1"], check=True)
    [digest] = image.images(layout)
    return image.Base(layout, digest, f"{SERVER}@{digest}", pinned=True)


@dataclass
class Fork:
    """A fork's folder that deploys light models to a cluster: the stages before are written by hand."""

    cluster: str
    base: image.Base
    settings: Settings
    versions: dict[str, str] = field(default_factory=dict)

    def package(self, behaviour: Mapping[str, Any], *, loaded: bool = True, golden_off: float = 0.0) -> str:
        """Leave a package of a model with this behaviour in `build/`, its image in the nodes; return its digest."""
        version = f"2013040{len(self.versions) + 100001}"
        model = Path(f"models-{version}")
        model.mkdir()
        (model / "behaviour.json").write_text(json.dumps(behaviour))
        reference = f"localhost/models/{self.settings.model.name}:{version}"
        folder = workspace.PACKAGE
        with workspace.replacing(folder) as part:
            files = {f"models/{self.settings.model.name}/{version}/behaviour.json": model / "behaviour.json"}
            digest = image.build(part / "image", files, {}, self.base)
            image.index(part / "image", {digest: reference})
            workspace.write_json(workspace.EVALUATION / "evaluation.json", {"verdict": "promote", "reason": version})
            manifest = {
                "model": self.settings.model.name,
                "version": version,
                "as_of": "2013-04-01",
                "image": {"reference": reference, "digest": digest, "base": self.base.reference},
                "signature": {"inputs": {"x": "DT_FLOAT"}, "output": "y"},
                "digests": {"evaluation": lineage.file_digest(workspace.EVALUATION / "evaluation.json")},
            }
            workspace.write_json(part / "manifest.json", manifest)
            predictions = [row["x"] + behaviour.get("bias", 0.0) + golden_off for row in INSTANCES]
            workspace.write_json(part / "golden.json", {"instances": INSTANCES, "predictions": predictions})
            workspace.write_json(part / "reference.json", {})
            workspace.write_text(part / "SHA256SUMS", package._sums(part))
        if loaded:
            archive = Path(f"{version}.tar")
            subprocess.run(["tar", "-C", folder / "image", "-cf", archive, "."], check=True)
            subprocess.run(["kind", "load", "image-archive", archive, "--name", self.cluster], check=True)
            archive.unlink()
        self.versions[digest] = version
        return digest

    def inputs(self) -> str:
        """What a build's inputs are known by: each package has its own."""
        return f"sha256:{len(self.versions)}"

    def deploy(self) -> int:
        """Run the command on what is packaged, compared with what serves; return its exit code."""
        last = History(ApiServer(), SERVING).last()
        champion = {key: last[key] for key in ("digest", "version", "as_of", "release")} if last else None
        workspace.write_json(workspace.CHAMPION, champion)
        workspace.write_text(workspace.SETTINGS, configuration.dump(self.settings))
        return deploy.main(["--context", "-"])


class Load:
    """Clients that ask without pause, half of them on new connections, none of them twice; every failure is kept."""

    def __init__(self, url: str, clients: int = 6, log: Path | None = None):
        self.url, self.log = url, log
        self.answers: list[tuple[float, float, float]] = []
        self.failures: list[str] = []
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n % 2 == 0,)) for n in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()
        if self.log:
            self.log.write_text("".join(f"{at:.3f} {seconds:.4f} {value}\n" for at, seconds, value in self.answers))

    def _ask(self, keep: bool) -> None:
        session = requests.Session()
        while not self._done.is_set():
            begin = time.monotonic()
            try:
                answer = (session if keep else requests).post(self.url, json={"instances": [{"x": 1.0}]}, timeout=5)
                value = answer.json()["predictions"][0]
                self.answers.append((begin, time.monotonic() - begin, value))
            except (requests.RequestException, KeyError, ValueError) as error:
                self.failures.append(f"{begin:.3f} {error!r}")
            time.sleep(0.01)

    def seen(self) -> Counter[float]:
        """How often each prediction was answered."""
        return Counter(value for _, _, value in self.answers)


def settings(**analysis: float) -> Settings:
    """The shipped settings with a light model, short waits, and a window that a drill can wait for."""
    return configuration.read(pods.REPOSITORY / "pipeline.yaml", [
        "model.name=light", "serving.server=stand-in", "rollout.startup_timeout=60.0",
        "resources.serving={cpu: 100m, memory: 64Mi}", "resources.gateway={cpu: 50m, memory: 64Mi}",
        "as_of=2013-04-01",
        f"rollout.analysis={json.dumps({'window': 10.0, 'timeout': 60.0, 'min_predictions': 50, **analysis})}",
    ])  # fmt: skip


def node_port() -> str:
    """The URL that clients use, from outside."""
    service = json.loads(kubectl("get", "service", "model", "-n", SERVING, "-o", "json"))
    port = next(each["nodePort"] for each in service["spec"]["ports"] if each["name"] == "rest")
    return f"http://127.0.0.1:{port}/v1/models/light:predict"
