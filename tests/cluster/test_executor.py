"""`make ci` in pods of its own cluster: from nothing to an answer, and what follows when something changes or fails.

The tests go through the life of one fork, in order. The fork is the small one of `tests/e2e`, its data in its commit.
"""

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from ci.kube.api import ApiServer
from ci.kube.context import Context
from ci.releases.cluster import ClusterLedger
from tests.cluster import images
from tests.cluster.tools import PIPELINE, SERVING, kubectl, until
from tests.pods import REPOSITORY
from tests.repositories import AUTHOR

pytestmark = [pytest.mark.cluster, pytest.mark.own_cluster, pytest.mark.long]
NAME = "executor-test"
PORT = 18503
FORK = REPOSITORY / "tests/e2e/fork"
GATES = "gates.limits={rmse: {max: 1000}}"
"""The first model is a poor one, so that a later one is better for certain."""
SETTINGS = (
    "serving.server=stand-in",
    f"serving.port={PORT}",
    "resources.serving={cpu: 200m, memory: 1Gi}",
    "rollout.analysis={window: 5, confidence: 0.9, error_margin: 0.05, min_predictions: 50, max_psi: 10}",
    GATES,
)
POOR = ("tuning.max_trials=1", "tuning.epochs=1", "training.epochs=1")


@dataclass
class Done:
    """How a build ended, what it said, and how long it took."""

    code: int
    said: str
    seconds: float


@dataclass
class Fork:
    """The fork's folder."""

    folder: Path

    def start(self, *settings: str) -> subprocess.Popen[str]:
        overrides = [f"--set={each}" for each in (*SETTINGS, *settings)]
        command = [sys.executable, "-m", "scripts.pipeline", "--executor=auto", f"--cluster={NAME}", *overrides]
        return subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
        )

    def build(self, *settings: str) -> Done:
        """Run `make ci` to its end."""
        begun = time.monotonic()
        process = self.start(*settings)
        said, _ = process.communicate(timeout=1800)
        print(said)
        return Done(process.returncode, said, time.monotonic() - begun)

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *AUTHOR, *arguments], cwd=self.folder, check=True)

    def releases(self) -> list[Any]:
        """Return the releases that the cluster has recorded."""
        return ClusterLedger(ApiServer(Context(f"kind-{NAME}")), SERVING).read()

    def report(self) -> str:
        return (self.folder / "build/report/index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fork]:
    """The fork, in a folder with a space in its name; in the end nothing of its cluster is left."""
    images.kubectl()
    images.build_gateway()
    home = tmp_path_factory.mktemp("a home")
    found = Fork(home / "fork")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True, text=True)
    for path in filter(None, listed.stdout.split("\0")):
        if Path(path).parts[0] not in ("model", "pipeline.yaml", "tests"):
            (found.folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / path, found.folder / path)
    shutil.copytree(FORK, found.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    package = importlib.util.find_spec("vega_datasets")
    assert package is not None
    assert package.origin is not None
    shutil.copy(Path(package.origin).parent / "_data/seattle-weather.csv", found.folder / "weather.csv")
    settings = found.folder / "pipeline.yaml"
    settings.write_text(settings.read_text().replace("data:\n", "data:\n  source: weather.csv\n", 1))
    found.git("init", "-q")
    found.git("add", "-A")
    found.git("commit", "-qm", "one")
    with pytest.MonkeyPatch.context() as environment:
        environment.chdir(found.folder)
        environment.setenv("KUBECONFIG", str(home / "kubeconfig"))
        environment.setenv("XDG_CACHE_HOME", str(home))
        environment.delenv("PIPELINE_SET", raising=False)
        delete = [sys.executable, "-m", "scripts.cluster", "delete", "--name", NAME]
        try:
            yield found
        finally:
            subprocess.run(delete, cwd=found.folder, check=True)
            listed = subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=True)
            assert NAME not in listed.stdout.split()


def gone() -> None:
    """Wait until no agent is left: a pod that was deleted has some seconds to end."""
    until(lambda: f"agents are left: {agents()}", lambda: not agents(), 60)


def agents() -> list[str]:
    """Return the pods and Jobs of builds that are there."""
    return kubectl("get", "pods,jobs", "-n", PIPELINE, "-o", "name").split()


def answers(said: str) -> list[float]:
    """Ask as the build's last lines say, and return the predictions."""
    [command] = re.findall(r"^curl .*$", said, re.MULTILINE)
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout)["predictions"])


@pytest.fixture(scope="module")
def first(fork: Fork) -> Done:
    """The first build, which makes cluster and images too."""
    return fork.build(*POOR)


def test_from_nothing_the_printed_request_is_answered_as_the_model_does(fork, first):
    assert first.code == 0
    release = fork.releases()[-1]
    golden = ClusterLedger(ApiServer(Context(f"kind-{NAME}")), SERVING).version(release["digest"])
    assert answers(first.said) == pytest.approx(golden.predictions[:1], abs=1e-5)
    url = f"http://127.0.0.1:{PORT}/v1/models/seattle-heat:predict"
    asked = requests.post(url, json={"instances": golden.instances}, timeout=30).json()["predictions"]
    assert asked == pytest.approx(golden.predictions, abs=1e-5)
    assert "report: build/report/index.html" in first.said
    assert "is serving" in fork.report()
    gone()


def test_again_nothing_runs_and_nothing_rolls_out(fork, first):
    before = fork.releases()
    again = fork.build(*POOR)
    assert again.code == 0
    assert "images: unchanged" in again.said
    assert "Running stage" not in again.said
    assert "deploy: nothing to do" in again.said
    assert fork.releases() == before
    print(f"again: {again.seconds:.0f} s")
    gone()


def test_an_interrupted_build_leaves_no_pod_and_the_next_one_is_refused_only_meanwhile(fork, first):
    process = fork.start(*POOR, "seed=8")
    assert process.stdout is not None
    for line in process.stdout:
        if "Running stage 'tune'" in line:
            break
    other = fork.build(*POOR)
    assert (other.code, "is in use by process" in other.said) == (1, True)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    deadline = time.monotonic() + 60
    while agents():
        assert time.monotonic() < deadline, agents()
        time.sleep(0.5)


def test_a_version_that_fails_as_a_canary_never_takes_over(fork, first):
    (fork.folder / "pipeline.yaml").open("a").write("# another commit\n")
    fork.git("commit", "-qam", "two")
    before = fork.releases()
    bad = fork.build("resources.serving={cpu: 200m, memory: 32Mi}")
    assert bad.code == 1
    assert fork.releases() == before
    assert re.search(r"OOMKilled|ended|had not loaded", bad.said.splitlines()[-1])
    assert "keeps serving" in fork.report() or "serves" in bad.said.splitlines()[-1]
    assert answers(first.said) is not None
    gone()


def test_a_second_model_rolls_out_by_canary_under_the_builds_own_traffic(fork, first):
    good = fork.build()
    assert good.code == 0
    assert "Running stage" not in good.said  # all of it was done by the build before
    releases = fork.releases()
    assert len(releases) == 2
    assert releases[-1]["champion"]["digest"] == releases[0]["digest"]
    steps = [json.loads(line) for line in (fork.folder / "build/rollout/steps.jsonl").read_text().splitlines()]
    names = [step["step"] for step in steps]
    assert names.index("join") < names.index("analyse") < names.index("promote")
    history = Path(os.environ["XDG_CACHE_HOME"]) / "model-pipeline/volume/dvc-remote/history/builds.jsonl"
    assert [json.loads(line)["release"] for line in history.read_text().splitlines()][-1] == 2
    gone()
