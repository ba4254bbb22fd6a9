"""Try the real parts of this machine: `make conformance`.

The other tests hold the stand-in server to TensorFlow Serving's contract. This holds TensorFlow Serving's own image to
it, and runs a whole build on Kind: its tuning by a Job of two workers, its model rolled out on TensorFlow Serving. The
build's task is the small one of tests/e2e/fork, so that no gate of this repository's own decides what passes. A part
that is not there is told as "not run", with the reason.

Exit code 0 if nothing failed, else 1.
"""

import importlib.metadata
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import requests

from ci.registry import bases
from ci.run import checks
from ci.run.programs import attempt, last_words
from tests import pods, saved_models
from tests.repositories import AUTHOR

CLUSTER, PORT = "model-pipeline-conformance", 18501
"""A cluster of its own, and the port that leads to its model."""
OF_JENKINS = "jenkins-base"
"""The one listed image of others that no build on Kind needs."""
CONTRACT = ("tests/ci/serving/test_contract.py", "tests/ci/serving/test_api.py")
TASK = pods.REPOSITORY / "tests/e2e/fork"
"""The task of the build: its model changes the day before's value, so it beats any constant after a short training."""
DATA = "vega-datasets"
"""The package that has its data, for the image of the pods."""
SETTINGS = (
    *("serving.server=tensorflow-serving", "model.name=demo", f"serving.port={PORT}"),
    *("tuning.workers=2", "tuning.max_trials=4", "gates.limits={}"),
)
"""Settings of the build beside the task's own: on the real server, and nothing is asked of its metrics."""
LOADING = 120.0
"""Longest wait for TensorFlow Serving to load a small model; seconds."""


class NotRunError(Exception):
    """A real part is not there; the message says which and why."""


class FailedError(Exception):
    """A real part does not do what it should."""


def main() -> int:
    """Try each part, print how it went, and return the exit code."""
    counts = {"passed": 0, "failed": 0, "not run": 0}
    # Pods write there as a user of their own, so perhaps not all of it can be deleted.
    with tempfile.TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True) as folder:
        built = Build(Path(folder) / "repository")
        parts: dict[str, Callable[[], str]] = {
            "REST contract of TensorFlow Serving": lambda: contract(Path(folder)),
            "tuning by a Job of two workers": built.tuned,
            "rollout on TensorFlow Serving": built.rolled_out,
        }
        try:
            for name, part in parts.items():
                try:
                    how, said = "passed", part()
                except NotRunError as why:
                    how, said = "not run", str(why)
                except FailedError as why:
                    how, said = "failed", str(why)
                counts[how] += 1
                print(f"conformance: {name}: {how}: {said}", flush=True)
        finally:
            built.remove()
    print("conformance: " + ", ".join(f"{number} {how}" for how, number in counts.items()))
    return 1 if counts["failed"] else 0


def pulled(name: str) -> str:
    """Return the reference of a listed image of others, once this machine has it."""
    found, reference = checks.docker(), pods.images()[name]
    if found.wrong:
        raise NotRunError(f"Docker {found.found}")
    done = attempt("docker", "pull", reference, timeout=1800)
    if done.returncode:
        raise NotRunError(f"{reference} cannot be pulled: {last_words(done)}")
    return reference


def contract(folder: Path) -> str:
    """Hold TensorFlow Serving to the cases that the stand-in is held to."""
    image, model = pulled("serving"), saved_models.save_kinds(folder / "echo" / "7").parent
    name = f"conformance-{secrets.token_hex(4)}"
    configuration = pods.REPOSITORY / "k8s/server/monitoring.config"
    started = attempt(
        "docker", "run", "-d", "--name", name, "-p", "127.0.0.1::8501", "-v", f"{model}:/models/echo:ro",
        "-v", f"{configuration}:/etc/monitoring.config:ro", "--entrypoint", "/usr/bin/tensorflow_model_server", image,
        "--rest_api_port=8501", "--model_name=echo", "--model_base_path=/models/echo", "--enable_profiler=false",
        "--monitoring_config_file=/etc/monitoring.config", timeout=120,
    )  # fmt: skip
    try:
        if started.returncode:
            raise FailedError(f"docker does not run it: {last_words(started)}")
        url = f"http://{attempt('docker', 'port', name, '8501').stdout.split()[0]}"
        wait(url, name)
        tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CONTRACT]
        environment = {**os.environ, "CONFORMANCE_URL": url}
        done = subprocess.run(tests, cwd=pods.REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        print(done.stdout)
        last = done.stdout.strip().splitlines()[-1]
        if done.returncode or not all_passed(last):
            raise FailedError(f"{last}; what differs is above")
        return last
    finally:
        attempt("docker", "rm", "-f", name)


def all_passed(summary: str) -> bool:
    """Tell whether some cases passed and none was left out, from pytest's last line."""
    return bool(re.search(r"\b\d+ passed", summary)) and not re.search(r"\d+ (failed|skipped|error|xfailed)", summary)


def wait(url: str, name: str) -> None:
    """Wait until the server has loaded the model."""
    end = time.monotonic() + LOADING
    while time.monotonic() < end:
        try:
            if requests.get(f"{url}/v1/models/echo/versions/7/metadata", timeout=5).status_code == 200:
                return
        except requests.RequestException:
            pass
        time.sleep(1)
    raise FailedError(f"the model is not loaded after {LOADING:g} s: {last_words(attempt('docker', 'logs', name))}")


def tuned(said: str) -> str:
    """Return how a Job of two workers tuned, from what the build said.

    Raises:
        FailedError: it made none, or the Job did not end well.
    """
    ended = re.search(r"^tune_job: (2 pods, \d+ s)$", said, re.MULTILINE)
    trials = set(re.findall(r"^  trial (\d+) (?:reached|stopped after)", said, re.MULTILINE))
    if not ended or not trials:
        raise FailedError("no Job of two pods has ended well with trials, see above")
    return f"{ended[1]}, {len(trials)} trials"


class Build:
    """One build on Kind, in a clone of this repository, of which several parts are looked at."""

    def __init__(self, clone: Path):
        self._clone = clone
        # A DVC remote of its own: one that has the results of an earlier build gives them, and no Job is made.
        self.environment = {**os.environ, "CLUSTER": CLUSTER, "XDG_CACHE_HOME": str(clone.parent / "cache")}
        self._code: int | None = None
        self._said = ""

    def tuned(self) -> str:
        """Say how the Job tuned."""
        self._run()
        return tuned(self._said)

    def rolled_out(self) -> str:
        """Say what serves, as its own answer."""
        self._run()
        if self._code:
            raise FailedError(f"the build ended with exit code {self._code}, see above")
        answer = requests.get(f"http://127.0.0.1:{PORT}/v1/models/demo", timeout=10)
        if answer.status_code != 200 or '"AVAILABLE"' not in answer.text:
            raise FailedError(f"HTTP {answer.status_code}: {answer.text[:200]}")
        return "its model answers AVAILABLE"

    def _run(self) -> None:
        """Run it, the first time this is asked."""
        if self._code is not None:
            return
        if wrong := [each for each in checks.for_kind() if each.wrong]:
            raise NotRunError("; ".join(f"{each.name} {each.found}" for each in wrong))
        for entry in bases.read():
            if not entry.dockerfile and entry.name != OF_JENKINS:
                pulled(entry.name)
        self.clone()
        command = [sys.executable, "-m", "scripts.pipeline", "--executor", "kind"]
        environment = {**self.environment, "PIPELINE_SET": "\n".join(SETTINGS)}
        with subprocess.Popen(
            command, cwd=self._clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout
            for line in process.stdout:
                print(line, end="", flush=True)
                self._said += line
        self._code = process.returncode

    def clone(self) -> None:
        """Clone this repository, with another task."""
        subprocess.run(["git", "clone", "-q", pods.REPOSITORY, self._clone], check=True)
        shutil.rmtree(self._clone / "model")
        shutil.copytree(TASK, self._clone, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        installed = importlib.metadata.version(DATA)
        (self._clone / "model/requirements.txt").write_text(f"{DATA}=={installed}\n", encoding="utf-8")
        for command in (["add", "-A"], [*AUTHOR, "commit", "-q", "-m", "The task of the conformance test"]):
            subprocess.run(["git", *command], cwd=self._clone, check=True)

    def remove(self) -> None:
        """Delete the cluster that the build made, also if it was interrupted."""
        if self._clone.exists():
            delete = [sys.executable, "-m", "scripts.cluster", "delete", "--name", CLUSTER]
            subprocess.run(delete, cwd=pods.REPOSITORY, env=self.environment, check=False)
            shutil.rmtree(self._clone, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
