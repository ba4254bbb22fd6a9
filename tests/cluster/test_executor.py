"""README's section on Kind, word for word, and what follows in its cluster when something changes or fails.

The tests go through the life of one cluster, in order.
"""

import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import requests

from ci.run import kind, local_registry
from ci.run.images import ready
from tests.cluster import images
from tests.cluster.ours import BETTER, Copy, Done, agents, answers, gone, section
from tests.cluster.tools import PIPELINE, SERVING, kubectl, restart_api_server, until

pytestmark = [pytest.mark.cluster, pytest.mark.own_cluster]
NAME, PORT = "from-readme", 8501
SEARCH = {
    "tuning.max_trials": "6",
    "tuning.epochs": "3",
    "data.training_days": "90",
    "resources.training": "{cpu: 1, memory: 4Gi}",
    "resources.tuning": "{cpu: 1, memory: 3Gi}",
}
"""A search that takes longer than its pods take to start, two of which find room beside what serves."""
BOTH_BUSY = 2
"""Trials that run at the same time where two workers run one each."""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """The copy of this repository; in the end nothing of its cluster is left, whatever happened."""
    images.kubectl()
    images.build_gateway()
    home = tmp_path_factory.mktemp("a home")
    found = Copy(home / "my clone", NAME, home, registry=local_registry.running())
    found.make()
    with pytest.MonkeyPatch.context() as environment:
        environment.chdir(found.folder)
        for name, value in found.environment.items():
            environment.setenv(name, value)
        try:
            yield found
        finally:
            found.run(sys.executable, "-m", "scripts.cluster", "delete")
            for process in found.started:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def first(ours: Copy) -> Done:
    """The section's commands up to the build, on a machine that has no cluster."""
    for words in (("make", "doctor"), ("make", "cluster")):
        assert ours.follow(*words).code == 0
    done = ours.follow("make", "ci")
    assert done.code == 0
    return done


@pytest.fixture(scope="module")
def pulled(ours: Copy, first: Done) -> None:
    """Every node that tunes has the image: else a search is over before its second pod begins."""
    [reference] = ready(["pipeline"], print).values()
    nodes = kubectl("get", "nodes", "-l", kind.LABELS["tuning"], "-o", "jsonpath={.items[*].metadata.name}").split()
    for node in nodes:
        container = {"name": "pipeline", "image": reference, "command": ["true"]}
        spec = {"nodeName": node, "restartPolicy": "Never", "containers": [container]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pull-{node}"}, "spec": spec}
        kubectl("apply", "-n", "default", "-f", "-", given=json.dumps(pod))
    over = ("get", "pods", "-n", "default", "-o", "jsonpath={.items[*].status.phase}")
    until(lambda: kubectl(*over), lambda: {*kubectl(*over).split()} == {"Succeeded"}, 300)
    kubectl("delete", "pods", "--all", "-n", "default")


def test_the_section_of_the_readme_leads_to_a_model_that_answers(ours, first):
    assert [shlex.split(command)[:2] for command in section()] == [
        ["make", "doctor"],
        ["make", "cluster"],
        ["make", "ci"],
        ["curl", "--silent"],
        ["make", "cluster-delete"],
    ]
    doctor, cluster, _ = ours.commands.values()
    assert "doctor: `make ci` can run on Kind here" in doctor.said
    assert f"cluster: making {NAME} of 4 nodes" in cluster.said
    assert "images: unchanged" in first.said
    assert "AVAILABLE" in ours.follow("curl").said


def test_the_printed_request_is_answered_as_the_model_does(ours, first):
    release = ours.releases()[-1]
    golden = ours.ledger().version(release["digest"])
    assert answers(first.said) == pytest.approx(golden.predictions[:1], abs=1e-5)
    rows = [{name: float("nan") if value is None else value for name, value in row.items()} for row in golden.instances]
    url = f"http://127.0.0.1:{PORT}/v1/models/{golden.model}:predict"
    asked = requests.post(url, data=json.dumps({"instances": rows}), timeout=30).json()["predictions"]
    assert asked == pytest.approx(golden.predictions, abs=1e-5)
    assert "report: build/report/index.html" in first.said
    assert "is serving" in ours.report()
    gone()
    served = ours.run("make", "serve")
    assert (served.code, answers(served.said)) == (0, answers(first.said))


def test_the_cluster_has_all_that_an_operator_applies_and_making_it_again_changes_nothing(ours, first):
    labels = [node["metadata"]["labels"] for node in json.loads(kubectl("get", "nodes", "-o", "json"))["items"]]
    assert sum("model-pipeline/training" in each for each in labels) == 3
    assert sum("model-pipeline/serving" in each for each in labels) == 2
    accounts = kubectl("get", "serviceaccounts", "-n", PIPELINE, "-o", "name").split()
    assert {f"serviceaccount/{name}" for name in ("pipeline", "deployer", "tuner")} < set(accounts)
    claim = json.loads(kubectl("get", "pvc", "dvc-remote", "-n", PIPELINE, "-o", "json"))
    assert claim["status"]["phase"] == "Bound"
    announced = kubectl("get", "configmap", "local-registry-hosting", "-n", "kube-public", "-o", "yaml")
    assert local_registry.HOST in announced
    again = ours.run("make", "cluster")
    assert again.code == 0
    assert "images: unchanged" in again.said
    assert not re.search("making|building|pushed", again.said)


def test_again_nothing_runs_and_only_another_number_of_pods_is_applied(ours, first):
    before = ours.releases()
    again = ours.build({"serving.replicas": "3"})
    assert again.code == 0
    assert "images: unchanged" in again.said
    assert "Running stage" not in again.said
    assert "deploy: nothing to do" in again.said
    assert "model-stable has at least 3 pods now, 2 before" in again.said
    assert ours.releases() == before
    ready = ("get", "deployment", "model-stable", "-n", SERVING, "-o", "jsonpath={.status.readyReplicas}")
    until(lambda: kubectl(*ready), lambda: kubectl(*ready) == "3", 120)
    kubectl("delete", "hpa", "model-stable", "-n", SERVING)  # without metrics it would not take pods away
    kubectl("scale", "deployment", "model-stable", "-n", SERVING, "--replicas=2")
    gone()


@pytest.mark.long
def test_an_interrupted_build_leaves_no_pod_and_another_one_is_refused_only_meanwhile(ours, first):
    refused: list[Done] = []

    def another(line: str) -> None:
        if "Running stage 'tune'" in line:
            refused.append(ours.build())

    ours.until(r"> python -m scripts.tune", {"seed": "8"}, another)
    assert [(other.code, "is in use by process" in other.said) for other in refused] == [(1, True)]
    gone()


def test_a_version_of_a_second_commit_that_fails_as_a_canary_never_takes_over(ours, first):
    (ours.folder / "pipeline.yaml").open("a").write("# another commit\n")
    ours.git("commit", "-qam", "two")
    before = ours.releases()
    bad = ours.build({**BETTER, "resources.serving.memory": "32Mi"})
    assert bad.code == 1
    assert ours.releases() == before
    assert re.search(r"OOMKilled|ended|had not loaded", bad.said.splitlines()[-1])
    assert "keeps serving" in ours.report() or "serves" in bad.said.splitlines()[-1]
    assert answers(first.said) is not None
    gone()


def test_a_second_model_rolls_out_by_canary_under_the_builds_own_traffic(ours, first):
    good = ours.build(BETTER)
    assert good.code == 0
    assert "Running stage" not in good.said  # all of it was done by the build before
    releases = ours.releases()
    assert len(releases) == 2
    assert releases[-1]["champion"]["digest"] == releases[0]["digest"]
    steps = [json.loads(line) for line in (ours.folder / "build/rollout/steps.jsonl").read_text().splitlines()]
    names = [step["step"] for step in steps]
    assert names.index("join") < names.index("analyse") < names.index("promote")
    history = ours.home / "model-pipeline/volume/dvc-remote/history/builds.jsonl"
    assert [json.loads(line)["release"] for line in history.read_text().splitlines()][-1] == 2
    gone()


@pytest.mark.long
def test_two_workers_of_the_tuning_job_make_the_trials_of_one_and_its_seconds_are_printed(ours, pulled):
    by_two, said = ours.until(r"^tune_job: 2 pods, (\d+) s", {**SEARCH, "seed": "21", "tuning.workers": "2"})
    assert second_ran(said)
    by_one, alone = ours.until(r"^seconds: status .*tune (\S+?);", {**SEARCH, "seed": "20"})
    [searched] = re.findall(r"^seconds: status .*tune (\S+?);", said, re.MULTILINE)  # what index 0 says
    print(
        f"makespan of {SEARCH['tuning.max_trials']} trials: {searched} s by two workers, {by_one[1]} s by one; "
        f"the Job with its pods' start and data {by_two[1]} s"
    )
    assert ended(said) == ended(alone) == Counter(f"{number:04}" for number in range(int(SEARCH["tuning.max_trials"])))
    gone()


@pytest.mark.long
def test_a_killed_worker_costs_one_trial_at_most(ours, pulled):
    trial, killed = Running(), []

    def kill(line: str) -> None:
        """Kill the pod of index 1 without grace once both workers run a trial."""
        if trial.hear(line) == BOTH_BUSY and not killed:
            killed.append(line)
            index = "batch.kubernetes.io/job-completion-index=1"
            kubectl("delete", "pod", "-n", PIPELINE, "-l", index, "--grace-period=0", "--force", "--wait=false")

    _, said = ours.until(r"^tune_job: 2 pods, (\d+) s", {**SEARCH, "seed": "22", "tuning.workers": "2"}, kill)
    trials = int(SEARCH["tuning.max_trials"])
    assert ended(said) == Counter(f"{number:04}" for number in range(trials))
    assert killed
    assert len(trial.begun) <= trials + 1, trial.begun
    gone()


@pytest.mark.long
def test_an_api_server_that_is_restarted_while_a_job_tunes_costs_no_trial(ours, pulled):
    trial, restarted = Running(), []

    def restart(line: str) -> None:
        """Take the API server away once both workers run a trial."""
        if trial.hear(line) == BOTH_BUSY and not restarted:
            restarted.append(line)
            ours.started += restart_api_server(away=10)

    _, said = ours.until(r"^tune_job: 2 pods, (\d+) s", {**SEARCH, "seed": "24", "tuning.workers": "2"}, restart)
    once = Counter(f"{number:04}" for number in range(int(SEARCH["tuning.max_trials"])))
    assert restarted
    assert ended(said) == Counter(trial.begun) == once
    gone()


@pytest.mark.long
def test_a_search_that_is_interrupted_leaves_no_job(ours, first):
    _, said = ours.until(r"^  trial 0000: ", {**SEARCH, "seed": "23", "tuning.workers": "2"})
    assert "tune_job: Job tuning-" in said
    gone()


@dataclass
class Running:
    """The trials that have begun, and those of them that have not come to their end."""

    begun: list[str] = field(default_factory=list)
    now: set[str] = field(default_factory=set)

    def hear(self, line: str) -> int:
        """Take a line of the build, and return how many trials run."""
        if found := re.match(r"  trial (\d+)(: | reached| stopped after)", line):
            if found[2] == ": ":
                self.begun.append(found[1])
                self.now.add(found[1])
            else:
                self.now.discard(found[1])
        return len(self.now)


def second_ran(said: str) -> bool:
    """Tell whether the pod of index 1 found a node and ran."""
    return bool(re.search(r"^tune_job: pod tuning-\w+-1-\w+: it runs$", said, re.MULTILINE))


def ended(said: str) -> Counter[str]:
    """Return how often each trial came to its end."""
    return Counter(re.findall(r"^  trial (\d+) (?:reached|stopped after)", said, re.MULTILINE))


def test_deleting_the_cluster_as_the_section_says_leaves_nothing_running(ours, first):
    assert not agents()
    done = ours.follow("make", "cluster-delete")
    assert f"cluster: {NAME} deleted" in done.said
    listed = subprocess.run(["kind", "get", "clusters"], check=True, capture_output=True, text=True).stdout
    assert NAME not in listed.split()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{PORT}/", timeout=5)
    if ours.registry:  # `python -m tests.cluster.images` has started it
        assert f"the registry {local_registry.NAME} was not made here, and stays" in done.said
    else:
        assert f"cluster: registry {local_registry.NAME} removed" in done.said
    assert local_registry.running() == ours.registry
