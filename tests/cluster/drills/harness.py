"""What the drills share: light models as packages, the commands run as a user does, and a load that keeps failures."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml

from ci import configuration, lineage, workspace
from ci.packaging import package
from ci.registry import layout as image
from ci.settings import Settings
from tests import builds, pods
from tests.cluster import images
from tests.cluster.tools import PIPELINE, SERVING, kubectl

HERE = Path(__file__).parent
INSTANCES = [{"x": float(n)} for n in range(8)]
SERVER = "localhost/drill-server:1"
STEPS = Path("build/rollout/steps.jsonl")


def bases(cluster: str, folder: Path) -> image.Base:
    """Build both images, load the gateway into the nodes, and return the light server as a base."""
    images.gateway(cluster)
    subprocess.run(["docker", "build", "-t", SERVER, "-f", HERE / "server.Dockerfile", pods.REPOSITORY], check=True)
    archive, layout = folder / "server.tar", folder / "server"
    subprocess.run(["docker", "save", "-o", archive, SERVER], check=True)
    copy = ["skopeo", "copy", "--quiet", "--insecure-policy", "--dest-oci-accept-uncompressed-layers"]
    subprocess.run([*copy, f"docker-archive:{archive}", f"oci:{layout}:1"], check=True)
    [digest] = image.images(layout)
    return image.Base(layout, digest, f"{SERVER}@{digest}", pinned=True)


def kubeconfig(account: str, path: Path, server: str | None = None, token: str | None = None) -> Path:
    """Write a kubeconfig whose current context is a ServiceAccount of the pipeline, perhaps through a proxy."""
    found = yaml.safe_load(kubectl("config", "view", "--minify", "--raw", "-o", "yaml"))
    cluster = {"server": server} if server else found["clusters"][0]["cluster"]
    token = token or kubectl("create", "token", account, "-n", PIPELINE, "--duration=4h").strip()
    parts = {
        "clusters": [{"name": account, "cluster": cluster}],
        "users": [{"name": account, "user": {"token": token}}],
        "contexts": [{"name": account, "context": {"cluster": account, "user": account}}],
    }
    workspace.write_text(
        path, yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": account, **parts})
    )
    return path


@dataclass
class Done:
    """How a command ended, and what it said."""

    code: int
    said: str


@dataclass(repr=False)
class Fork:
    """A fork's folder that deploys light models to a cluster; what the stages before leave is written by hand."""

    cluster: str
    base: image.Base
    settings: Settings
    kubeconfig: Path
    versions: dict[str, str] = field(default_factory=dict)

    def package(
        self,
        behaviour: Mapping[str, Any],
        *,
        loaded: bool = True,
        golden_off: float = 0.0,
        saved_model: Path | None = None,
        learned: Mapping[str, Any] | None = None,
    ) -> str:
        """Leave a package of a model with this behaviour in `build/`, its image in the nodes; return its digest.

        A SavedModel is put beside the behaviour: what the light server answers is then held to it. `learned` is the
        reference that monitoring compares with.
        """
        version = f"20130401{int(time.time() * 10) % 10**6:06d}"
        workspace.write_text(Path("code.txt"), version)  # what tells this build's inputs from the last one's
        self.configure()
        self.run("champion")
        model = Path(f"models-{version}")
        model.mkdir()
        (model / "behaviour.json").write_text(json.dumps(behaviour))
        reference = f"localhost/models/{self.settings.model.name}:{version}"
        folder = workspace.PACKAGE
        with workspace.replacing(folder) as part:
            found = package.model_files(saved_model) if saved_model else {}
            found["behaviour.json"] = model / "behaviour.json"
            files = {f"models/{self.settings.model.name}/{version}/{name}": path for name, path in found.items()}
            digest = image.build(part / "image", files, {}, self.base)
            image.index(part / "image", {digest: reference})
            builds.write("evaluation/evaluation.json", builds.evaluation(reason=version))
            manifest: dict[str, Any] = {
                "model": self.settings.model.name,
                "version": version,
                "as_of": "2013-04-01",
                "image": {"reference": reference, "digest": digest, "base": self.base.reference},
                "signature": {"inputs": {"x": "DT_FLOAT"}, "output": "y"},
                "digests": {"evaluation": lineage.file_digest(workspace.EVALUATION / "evaluation.json")},
            }
            if saved_model:
                manifest["digests"]["model"] = package.model_digest(saved_model)
            workspace.write_json(part / "manifest.json", manifest)
            predictions = [row["x"] + behaviour.get("bias", 0.0) + golden_off for row in INSTANCES]
            workspace.write_json(part / "golden.json", {"instances": INSTANCES, "predictions": predictions})
            workspace.write_json(part / "reference.json", learned or {})
            for name in (package.SBOM, package.CARD):
                workspace.write_json(part / name, {})
            workspace.write_text(part / "SHA256SUMS", package._sums(part))
        shutil.rmtree(model)
        if loaded:
            archive = Path(f"{version}.tar")
            subprocess.run(["tar", "-C", folder / "image", "-cf", archive, "."], check=True)
            nodes = ["--name", self.cluster, "--nodes", images.workers(self.cluster)]
            subprocess.run(["kind", "load", "image-archive", archive, *nodes], check=True)
            archive.unlink()
        self.versions[digest] = version
        return digest

    def plan(self, *nodes: str) -> None:
        """Leave a plan whose serving pods prefer these nodes."""
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": list(nodes)}]}
        preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}]}
        builds.write("placement/plan.json", builds.plan(inventory="by hand", sets={"serving": list(nodes)}))
        workspace.write_json(
            workspace.PLACEMENT / "handover.json", {"serving": {"affinity": {"nodeAffinity": preferred}}}
        )

    def configure(self, **changes: Any) -> None:
        """Write the settings, some of `rollout` changed for a while."""
        rollout = self.settings.rollout.model_copy(update=changes)
        workspace.write_text(
            workspace.SETTINGS, configuration.dump(self.settings.model_copy(update={"rollout": rollout}))
        )

    def start(self, command: str, *arguments: str, kubeconfig: Path | None = None) -> subprocess.Popen[str]:
        """Start a command, as the account that deploys."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(pods.REPOSITORY),
            "KUBECONFIG": str(kubeconfig or self.kubeconfig),
        }
        line = [sys.executable, "-m", f"scripts.{command}", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(line, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def run(self, command: str, *arguments: str, kubeconfig: Path | None = None) -> Done:
        """Run a command to its end."""
        process = self.start(command, *arguments, kubeconfig=kubeconfig)
        said, _ = process.communicate(timeout=300)
        print(said)
        return Done(process.returncode, said)

    def steps(self) -> list[str]:
        """The steps that the last command has finished."""
        lines = STEPS.read_text().splitlines() if STEPS.exists() else []
        return [json.loads(line)["step"] for line in lines]


class Load:
    """Clients that ask without pause, half of them on new connections, none of them twice; every failure is kept.

    An answer is kept with when it was asked for, how long it took, and the bias of the model that gave it.
    """

    def __init__(self, url: str, clients: int = 6, log: Path | None = None, rest: float = 0.01):
        self.url, self.log, self.rest = url, log, rest
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
            lines = [f"{at:.3f} {seconds:.4f} {value}\n" for at, seconds, value in sorted(self.answers)]
            self.log.write_text("".join([*lines, *(f"{line}\n" for line in self.failures)]))

    def _ask(self, keep: bool) -> None:
        session = requests.Session()
        while not self._done.is_set():
            begin, x = time.monotonic(), float(random.randrange(10_000))
            try:
                answer = (session if keep else requests).post(self.url, json={"instances": [{"x": x}]}, timeout=5)
                bias = answer.json()["predictions"][0] - x
                self.answers.append((begin, time.monotonic() - begin, bias))
            except (requests.RequestException, KeyError, ValueError) as error:
                self.failures.append(f"{begin:.3f} {error!r}")
            time.sleep(self.rest)

    def seen(self) -> Counter[float]:
        """How often each model's bias was in an answer."""
        return Counter(value for _, _, value in self.answers)


def settings() -> Settings:
    """The shipped settings with a light model, short waits, and a window that a drill can wait for."""
    watch = {"window": 6.0, "timeout": 45.0, "min_predictions": 30}
    return configuration.read(
        pods.REPOSITORY / "tests/pipeline.yaml",
        [
            "as_of=2013-04-01",
            "model.name=light",
            "serving.server=stand-in",
            "serving.context=deployer",
            "rollout.startup_timeout=40.0",
            "resources.serving={cpu: 100m, memory: 64Mi}",
            "resources.gateway={cpu: 50m, memory: 64Mi}",
            f"rollout.analysis={json.dumps(watch)}",
        ],
    )


def written() -> dict[str, str]:
    """What rollouts have written, by kind and name: of a Deployment what was asked of it, as its status goes on."""
    found = json.loads(kubectl("get", "deployments,services,configmaps", "-n", SERVING, "-o", "json"))["items"]
    return {
        f"{each['kind']}/{each['metadata']['name']}": json.dumps([each["spec"], each["metadata"]["annotations"]])
        if each["kind"] == "Deployment"
        else each["metadata"]["resourceVersion"]
        for each in found
    }


def url() -> str:
    """The URL that clients use, from outside."""
    service = json.loads(kubectl("get", "service", "model", "-n", SERVING, "-o", "json"))
    port = next(each["nodePort"] for each in service["spec"]["ports"] if each["name"] == "rest")
    return f"http://127.0.0.1:{port}/v1/models/light:predict"


@contextmanager
def fork(cluster: str, folder: Path) -> Iterator[Fork]:
    """A fork's folder, the current one for the block, on a cluster that an operator has prepared."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        Path("k8s").symlink_to(pods.REPOSITORY / "k8s")
        graph = {"stages": {"train": {"cmd": "x", "deps": ["code.txt"]}}}
        Path("dvc.yaml").write_text(yaml.safe_dump(graph))
        account = kubeconfig("deployer", folder / "kubeconfig")
        yield Fork(cluster, bases(cluster, folder), settings(), account)
    finally:
        os.chdir(before)
