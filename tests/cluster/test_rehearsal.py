"""The Jenkinsfile itself, run in real pods that start empty: each build by its result and by what serves afterwards.

The builds are those of one fork, in order; each is for all that follow. `tests/jenkins` says how a build is run.
"""

import hashlib
import json
import math
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from ci.kube.api import ApiServer
from ci.releases.cluster import ClusterLedger
from ci.run import local_registry
from tests.cluster import images
from tests.cluster.drills import harness
from tests.cluster.tools import PIPELINE, SERVING, attempt, forget_rollouts, kubectl, until
from tests.jenkins import fork
from tests.jenkins.controller import Aborted, Agent, Build, Job
from tests.jenkins.pods import Cloud

pytestmark = pytest.mark.cluster


@dataclass
class Clients:
    """Clients that ask the served model all the time, on new connections; every failure is kept."""

    instances: list[dict[str, Any]] = field(default_factory=list)
    pause: float = 0.5
    """Seconds between an answer and the next request of each client."""
    failures: list[str] = field(default_factory=list)
    answers: int = 0
    _end: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, instances: list[dict[str, Any]]) -> None:
        """Begin to ask, twenty rows at a time."""
        self.instances = instances[:20]
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._end.wait(self.pause):
            try:
                predict(self.instances)
                self.answers += 1
            except (requests.RequestException, AssertionError) as error:
                self.failures.append(f"{time.strftime('%X')} {error!r:.300}")


def predict(instances: list[dict[str, Any]]) -> list[float]:
    """Return what clients get from outside."""
    service = "http://127.0.0.1:30851/v1/models/demo:predict"
    # What is missing is null in the evidence, and NaN for the server.
    rows = [{name: math.nan if value is None else value for name, value in row.items()} for row in instances]
    answer = requests.post(service, data=json.dumps({"instances": rows}), timeout=30)
    assert answer.status_code == 200, answer.text
    found: list[float] = answer.json()["predictions"]
    return found


@dataclass
class Rehearsal:
    """The fork, its job, its clients and what serves."""

    checkout: Path
    job: Job
    clients: Clients

    def releases(self) -> list[dict[str, Any]]:
        """Return the ledger."""
        return ClusterLedger(ApiServer(), SERVING).read()

    def evidence(self, digest: str) -> str:
        """Return the golden predictions of a release, as the file in its package is."""
        name = f"release-{digest.removeprefix('sha256:')[:16]}"
        found = json.loads(kubectl("get", "configmap", name, "-n", SERVING, "-o", "json"))
        return str(found["data"]["golden.json"])

    def require_served(self, digest: str) -> None:
        """Make sure that clients get this image's predictions, of as many pods as are set, and no canary is left."""
        wanted = fork.BUDGET["serving.replicas"]
        for kind, path in (("hpa", "{.spec.minReplicas}"), ("deployment", "{.spec.replicas}")):
            assert kubectl("get", kind, "model-stable", "-n", SERVING, "-o", f"jsonpath={path}") == wanted
        golden = json.loads(self.evidence(digest))
        rows = [(instance, value) for instance, value in zip(golden["instances"], golden["predictions"], strict=True)]
        for _ in range(4):  # each on a new connection, and so perhaps from another pod
            assert predict([instance for instance, _ in rows]) == pytest.approx([value for _, value in rows], abs=1e-4)
        assert attempt("get", "deployment", "model-canary", "-n", SERVING).returncode != 0

    def agents(self) -> list[str]:
        """Return the pods of the agents' namespace that are not ending."""
        found = json.loads(kubectl("get", "pods", "-n", PIPELINE, "-o", "json"))["items"]
        return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]]


@pytest.fixture(scope="module")
def rehearsal(operated: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    forget_rollouts()
    folder = tmp_path_factory.mktemp("rehearsal")
    ready = images.registry()
    images.spread(operated, ready)
    checkout = fork.repository(folder, ready)
    fork.operate(checkout)
    cloud = Cloud(fork.kubeconfig(folder / "kubeconfig"), PIPELINE, ready["tools"])
    job = Job(folder / "demo.git", "main", folder, cloud.start)
    clients = Clients()
    yield Rehearsal(checkout, job, clients)
    clients.stop()
    for build in job.builds:
        print(
            f"build {build.number}: {build.result}: { {name: round(took, 1) for name, took in build.seconds.items()} }"
        )
    # As it was before, for the tests of other files.
    kubectl("delete", "deployments", "--all", "-n", SERVING)
    kubectl("delete", "configmaps", "-l", "app.kubernetes.io/name=model", "-n", SERVING)
    kubectl("patch", "configmap", "rollout-history", "-n", SERVING, "--type=merge", "-p", '{"data": null}')
    kubectl("delete", "--wait=false", "--ignore-not-found", "-k", checkout / "ci/jenkins/pull-requests")
    kubectl("delete", "--wait=false", "--ignore-not-found", "persistentvolume", "dvc-remote-read-only")
    for name in ("rbac", "remote"):
        kubectl("delete", "-f", checkout / f"ci/jenkins/{name}.yaml", "-n", PIPELINE)
    kubectl("delete", "--wait=false", "namespace", fork.CONTROLLER)
    local_registry.remove(print)


def ran(build: Build) -> list[str]:
    """Return the cached stages that were computed, in order."""
    return re.findall(r"^Running stage '(\w+)'", build.log, re.MULTILINE)


@pytest.fixture(scope="module")
def first(rehearsal: Rehearsal) -> Build:
    """The first build."""
    build = rehearsal.job.build()
    assert build.result == "SUCCESS", build.log[-6000:]
    golden = json.loads(rehearsal.evidence(rehearsal.releases()[0]["digest"]))
    rehearsal.clients.start(golden["instances"])
    return build


@pytest.fixture(scope="module")
def better(rehearsal: Rehearsal, first: Build) -> Build:
    """A build months later, with more training: its model is better than the first by far."""
    rehearsal.clients.pause = 0.05  # a canary's tail of latency is known after some 230 requests
    build = rehearsal.job.build(AS_OF="2013-07-01", SETTINGS="training.epochs=4\ndata.training_days=108")
    rehearsal.clients.pause = 0.5
    assert build.result == "SUCCESS", build.log[-6000:]
    return build


def test_a_first_model_is_trained_and_released(rehearsal, first):
    assert ran(first) == ["prepare", "tune", "train", "test", "package"]
    [release] = rehearsal.releases()
    rehearsal.require_served(release["digest"])
    assert all(first.tests.values())
    assert first.tests
    assert "cannot be seen" not in first.log
    assert (first.artifacts / "build/report/index.html").exists()
    until(lambda: "the pods are deleted", lambda: not rehearsal.agents(), 90)


@pytest.fixture
def unchanged(rehearsal: Rehearsal, first: Build) -> Iterator[None]:
    """Whatever the build is, the same release serves afterwards, and nothing was written."""
    before, written = rehearsal.releases(), harness.written()
    yield
    assert rehearsal.releases() == before
    assert harness.written() == written
    rehearsal.require_served(before[-1]["digest"])
    assert not rehearsal.clients.failures


def test_the_same_commit_again_runs_nothing_and_rolls_nothing_out(rehearsal, unchanged):
    build = rehearsal.job.build()
    assert build.result == "SUCCESS", build.log[-6000:]
    assert ran(build) == []
    assert "deploy: nothing to do" in build.log


def test_a_commit_of_the_readme_only_does_neither(rehearsal, unchanged):
    (rehearsal.checkout / "README.md").write_text("# Another\n")
    fork.commit(rehearsal.checkout, "README")
    build = rehearsal.job.build()
    assert build.result == "SUCCESS", build.log[-6000:]
    assert ran(build) == []
    assert "deploy: nothing to do" in build.log


def test_a_setting_of_the_rollout_only_does_neither(rehearsal, unchanged):
    build = rehearsal.job.build(SETTINGS="rollout.drain_timeout=20")
    assert build.result == "SUCCESS", build.log[-6000:]
    assert ran(build) == []
    assert "deploy: nothing to do" in build.log


def test_a_better_model_is_promoted_over_the_champion_with_the_comparisons_numbers(rehearsal, better):
    assert ran(better) == ["prepare", "tune", "train", "test", "package"]
    champion, release = rehearsal.releases()
    assert release["as_of"] == "2013-07-01"
    assert release["champion"]["digest"] == champion["digest"]
    summary = (better.artifacts / "build/report/summary.md").read_text()
    [gain] = re.findall(r"Against the champion: ([+\N{MINUS SIGN}]0\.\d{4}) \(", summary)
    assert gain[0] == "+"
    rehearsal.require_served(release["digest"])
    assert not rehearsal.clients.failures


def test_a_model_that_is_no_better_is_kept_out_and_the_build_is_green(rehearsal, better, unchanged):
    # Trained on few days, and to be better beyond doubt.
    build = rehearsal.job.build(AS_OF="2013-10-01", SETTINGS="data.training_days=20\ngates.confidence=0.999")
    assert build.result == "SUCCESS", build.log[-6000:]
    assert "test: keep: " in build.log
    assert "deploy: nothing to do" in build.log


def test_a_blocked_model_ends_the_build_red_and_nothing_is_deployed(rehearsal, unchanged):
    build = rehearsal.job.build(SETTINGS="gates.limits={auc: {min: 0.99}}")
    assert build.result == "FAILURE", build.log[-6000:]
    assert build.stages[-1] == "Test"
    assert "the model is blocked: " in build.log
    assert (build.artifacts / "build/report/index.html").exists()


def test_an_earlier_release_is_brought_back_without_training(rehearsal, better):
    before = rehearsal.releases()
    build = rehearsal.job.build(ROLLBACK="1")
    assert build.result == "SUCCESS", build.log[-6000:]
    assert build.stages == ["Plan", "Checkout", "Request", "Rollback"]
    *same, release = rehearsal.releases()
    assert same == before
    assert (release["digest"], release["instead_of"]) == (before[0]["digest"], 2)
    rehearsal.require_served(release["digest"])
    assert not rehearsal.clients.failures


def test_a_pull_request_is_tested_and_not_released(rehearsal, unchanged):
    fork.pull_requests(rehearsal.checkout)
    build = rehearsal.job.build(change=True)
    assert build.result == "SUCCESS", build.log[-6000:]
    assert build.stages == ["Plan", "Checkout", "Target branch", "Request", "Pods", "Pull request"]


def test_a_release_that_there_is_not_is_refused(rehearsal, unchanged):
    build = rehearsal.job.build(ROLLBACK="99")
    assert (build.result, build.troubles[0]) == ("FAILURE", "Rollback: script returned exit code 2")
    assert "there is no release 99" in build.log


def test_a_pod_that_is_deleted_while_it_tunes_is_replaced_and_no_trial_runs_twice(rehearsal, unchanged):
    deleted: list[str] = []

    def watch(line: str, agent: Agent | None) -> None:
        if "trial 0000 reached" in line and agent and not deleted:
            deleted.append(agent.name)
            kubectl("delete", "pod", agent.name, "-n", PIPELINE, "--wait=false")

    rehearsal.job.watch = watch
    build = rehearsal.job.build(AS_OF="2013-06-01", MAX_TRIALS="2", DEPLOY="no")
    rehearsal.job.watch = lambda *_: None
    assert build.result == "SUCCESS", build.log[-6000:]
    assert deleted
    assert len(build.agents) == 3
    assert re.findall(r"trial (\d+) reached", build.log) == ["0000", "0001"]
    assert ran(build).count("prepare") == 1


def stopped(rehearsal: Rehearsal) -> str:
    """Stop a build while no node takes its pod, and return the pod, which is left."""
    planned: list[str] = []

    def watch(line: str, _: Agent | None) -> None:
        if line.startswith("agent: 64 CPU"):
            planned.append(line)
        if planned and line.startswith("Still waiting to schedule task"):
            raise Aborted("Aborted by somebody")

    rehearsal.job.watch = watch
    build = rehearsal.job.build(SETTINGS="resources.training={cpu: 64, memory: 1Gi}\nplacement.full=default")
    rehearsal.job.watch = lambda *_: None
    assert build.result == "ABORTED", build.log[-6000:]
    [left] = [name for name in rehearsal.agents() if name.startswith(f"{rehearsal.job.name}-{build.number}-")]
    return left


def change_on_the_remote(rehearsal: Rehearsal, content: str) -> None:
    """Change a file's content on the DVC remote, as an agent that was taken over could."""
    known = hashlib.md5(content.encode()).hexdigest()  # noqa: S324 - as DVC names content
    template = (rehearsal.checkout / "ci/agents/tools.yaml").read_text()
    agent = rehearsal.job.start(template, {}, Build(99, "https://x/job/x/99/", Path("build-99")), lambda _: None)
    path = f"/var/lib/dvc-remote/files/md5/{known[:2]}/{known[2:]}"
    code = agent.run(f"chmod u+w {path} && echo '{{}}' > {path}", "tools", {}, print)
    agent.close()
    assert code == 0


def test_the_last_build_removes_what_a_stopped_one_left_and_refuses_a_package_changed_on_the_remote(
    rehearsal, unchanged
):
    left = stopped(rehearsal)
    change_on_the_remote(rehearsal, rehearsal.evidence(rehearsal.releases()[0]["digest"]))
    build = rehearsal.job.build()
    assert build.result == "FAILURE", build.log[-6000:]
    assert "golden.json" in build.log
    assert re.search(rf"^sweep: pod {left} deleted: no node takes it, and it was build \d+'s$", build.log, re.MULTILINE)
    until(lambda: "the pods are deleted", lambda: not rehearsal.agents(), 90)
