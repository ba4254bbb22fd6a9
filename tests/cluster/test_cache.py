"""The gateway's cache on real pods: one version takes over from another while clients ask the same again and again."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.cluster.drills import harness
from tests.cluster.tools import SERVING, attempt, forget_rollouts, kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.long]


@pytest.fixture
def fork(operated: str, tmp_path) -> Iterator[harness.Fork]:
    forget_rollouts()
    with harness.fork(operated, tmp_path) as found:
        serving = found.settings.serving.model_copy(update={"cache_mib": 8})
        monitoring = found.settings.monitoring.model_copy(update={"capture_every": 1})
        found.settings = found.settings.model_copy(update={"serving": serving, "monitoring": monitoring})
        yield found
        kubectl("delete", "deployments", "--all", "-n", SERVING)


class Watched:
    """What all gateways tell while the block runs, read each second, by pod and number; and who asks the same again."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, int], dict[str, Any]] = {}
        self.cached: dict[str, int] = {}
        self.failed = 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._watch, self._ask)]

    def __enter__(self) -> "Watched":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self.read()

    def read(self) -> None:
        listed = attempt("get", "pods", "-n", SERVING, "-l", "app.kubernetes.io/name=model", "-o", "name").stdout
        for pod in (line.rpartition("/")[2] for line in listed.split()):
            for what in ("captured", "traffic"):
                said = attempt("get", "--raw", f"/api/v1/namespaces/{SERVING}/pods/{pod}:8081/proxy/{what}")
                if said.returncode:  # it begins, or is gone
                    continue
                told = json.loads(said.stdout)
                if what == "traffic":
                    self.cached[pod] = told["cached"]
                else:
                    self.entries |= {(pod, entry["number"]): entry for entry in told}

    def _watch(self) -> None:
        while not self._over.wait(1):
            self.read()

    def _ask(self) -> None:
        while not self._over.wait(0.02):
            try:
                answer = requests.post(harness.url(), json={"instances": [{"x": 7.0}]}, timeout=5)
                self.failed += not answer.ok
            except requests.RequestException:
                self.failed += 1


def test_every_version_answers_as_itself_from_its_first_answer_on(fork):
    biases = {fork.versions[fork.package({"bias": 1.0})]: 1.0}
    assert fork.run("deploy").code == 0
    biases[fork.versions[fork.package({"bias": 2.0})]] = 2.0
    with harness.Load(harness.url()) as load, Watched() as watched:
        assert fork.run("deploy").code == 0
    assert not load.failures
    assert not watched.failed
    assert sum(watched.cached.values()) > 100
    versions = {entry["version"] for entry in watched.entries.values()}
    assert versions == set(biases)
    for entry in watched.entries.values():
        x = json.loads(entry["request"])["instances"][0]["x"]
        assert json.loads(entry["response"]) == {"predictions": [x + biases[entry["version"]]]}, entry
