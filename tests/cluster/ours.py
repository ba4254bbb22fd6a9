"""A copy of this repository as somebody has it who follows README's section on Kind, and builds in its cluster."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci.kube.api import ApiServer
from ci.kube.context import Context
from ci.releases.cluster import ClusterLedger
from tests.cluster.tools import PIPELINE, SERVING, kubectl, until
from tests.pods import REPOSITORY
from tests.repositories import AUTHOR

SMALL = {
    "serving.server": "stand-in",  # as TensorFlow Serving's image may be out of reach here
    "serving.replicas": "2",
    "data.training_days": "40",
    "tuning.max_trials": "1",
    "tuning.epochs": "1",
    "training.epochs": "1",
    "gates.resamples": "200",
    "gates.confidence": "0.6",
    "gates.slice_margin": "1.0",
    "gates.limits": "{auc: {min: 0.5}, log_loss: {max: 2.0}}",
    "rollout.analysis": "{window: 5, confidence: 0.9, error_margin: 0.05, min_predictions: 50, max_psi: 10, "
    "latency_ratio: 50, latency_margin: 1}",
}
"""What makes builds short, and the first model a poor one: a later one is better for certain."""
BETTER = {"training.epochs": "4", "data.training_days": "90"}


@dataclass
class Done:
    """How a command ended, what it said, and how long it took."""

    code: int
    said: str
    seconds: float


@dataclass
class Copy:
    """The repository's copy.

    Attributes:
        folder: where it is; its path has a space.
        name: of its cluster.
        home: of the kubeconfig, and of what this machine remembers of its clusters.
        registry: whether there was a registry before, which is not this copy's then.
        commands: those of README's section, each with what came of it.
        started: what tests have started for its cluster, and the cluster's end does not end.
    """

    folder: Path
    name: str
    home: Path
    registry: bool = False
    commands: dict[str, Done] = field(default_factory=dict)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def make(self) -> None:
        """Copy the files that Git knows, as they are now, and commit them."""
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True, text=True)
        for path in filter(lambda path: path and (REPOSITORY / path).exists(), listed.stdout.split("\0")):
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / path, self.folder / path)
        (self.folder / ".venv").symlink_to((REPOSITORY / ".venv").resolve())
        for file in ("requirements.txt", "requirements-dev.txt", "model/requirements.txt"):  # installed already
            os.utime(self.folder / file, (0, 0))
        self.git("init", "-q")
        self.git("add", "-A")
        self.git("commit", "-qm", "one")

    def git(self, *arguments: str) -> None:
        """Run Git there."""
        subprocess.run(["git", *AUTHOR, *arguments], cwd=self.folder, check=True)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead to its cluster, apart from settings."""
        return {"XDG_CACHE_HOME": str(self.home), "KUBECONFIG": str(self.home / "kubeconfig"), "CLUSTER": self.name}

    def start(self, *command: str, settings: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command there, with small settings but for those given."""
        lines = "\n".join(f"{key}={value}" for key, value in {**SMALL, **(settings or {})}.items())
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, **self.environment, "PIPELINE_SET": lines},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def run(self, *command: str, settings: Mapping[str, str] | None = None) -> Done:
        """Run a command to its end, and print what it says as it comes."""
        begun, lines = time.monotonic(), []
        with self.start(*command, settings=settings) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(f"{time.monotonic() - begun:6.1f} {line}", end="", flush=True)
                lines.append(line)
        return Done(process.returncode, "".join(lines), time.monotonic() - begun)

    def follow(self, *words: str) -> Done:
        """Run the command of README's section that begins with these words, word for word."""
        [command] = [each for each in section() if shlex.split(each)[: len(words)] == [*words]]
        self.commands[command] = done = self.run("bash", "-c", command)
        return done

    def build(self, settings: Mapping[str, str] | None = None) -> Done:
        """Run a build as `make ci` does."""
        return self.run(sys.executable, "-m", "scripts.pipeline", "--executor=auto", settings=settings)

    def until(
        self, pattern: str, settings: Mapping[str, str], hear: Callable[[str], object] = lambda _: None
    ) -> tuple[re.Match[str], str]:
        """Start a build, interrupt it once a line is as wanted, and return the match and what was said until then.

        Args:
            pattern: what the line begins with.
            settings: of the build, beside the small ones.
            hear: called with each line.
        """
        said, begun = "", time.monotonic()
        with self.start(sys.executable, "-m", "scripts.pipeline", "--executor=auto", settings=settings) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(f"{time.monotonic() - begun:6.1f} {line}", end="", flush=True)
                said += line
                hear(line)
                if found := re.match(pattern, line):
                    break
            else:
                raise AssertionError(f"the build ended without a line {pattern}")
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=120)
        assert process.returncode == 130, rest
        return found, said

    def ledger(self) -> ClusterLedger:
        """Return what the cluster has recorded."""
        return ClusterLedger(ApiServer(Context(f"kind-{self.name}")), SERVING)

    def releases(self) -> list[Any]:
        """Return the releases that the cluster has recorded."""
        return self.ledger().read()

    def report(self) -> str:
        """Return the text of the last build's report."""
        return (self.folder / "build/report/index.html").read_text(encoding="utf-8")


def section() -> list[str]:
    """Return the commands of README's section on Kind."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^## On Kind\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert found
    return [line.strip() for line in found[1].splitlines() if line.startswith("    ")]


def agents() -> list[str]:
    """Return the pods and Jobs of builds that are there."""
    return kubectl("get", "pods,jobs", "-n", PIPELINE, "-o", "name").split()


def gone() -> None:
    """Wait until no agent is left: a pod that was deleted has some seconds to end."""
    until(lambda: f"agents are left: {agents()}", lambda: not agents(), 60)


def answers(said: str) -> list[Any]:
    """Ask as the build's last lines say, and return the predictions."""
    [command] = re.findall(r"^curl .*$", said, re.MULTILINE)
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout)["predictions"])
