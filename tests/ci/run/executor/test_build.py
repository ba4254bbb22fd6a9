"""A build in pods: what runs where, what is carried from one to the next, and what becomes of it when pods are lost."""

import json
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ci.errors import InputError, StageError
from ci.run.executor import build, code
from ci.run.sequence import parts
from tests.ci.podservers import Pods
from tests.ci.run.executor.conftest import new, place
from tests.pods import REPOSITORY
from tests.repositories import git


def ran(repository: Path) -> list[tuple[str, str]]:
    """Return what ran, as pod and command."""
    lines = (repository.parent / "remote/ran").read_text().splitlines()
    return [(pod, command) for pod, _, command in (line.partition(": ") for line in lines)]


def tell(repository: Path, command: str, text: str) -> None:
    """Let a command fail once with a text, or `wait`."""
    (repository.parent / "remote" / command).write_text(text)


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def runs(repository: Path, command: str) -> bool:
    path = repository.parent / "remote/ran"
    return path.exists() and path.read_text().endswith(f"{command}\n")


@dataclass
class Finished:
    """A build that ended well, and what was left of it."""

    build: build.Build
    said: list[str]
    pods: Pods
    repository: Path
    left: list[str]
    files: dict[str, str]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Iterator[Finished]:
    """A build with changes that are not committed."""
    said: list[str] = []
    with place(tmp_path_factory.mktemp("finished")) as (pods, api, repository):
        (repository / "scripts/some.py").write_text("changed")
        (repository / "scripts/more.py").write_text("new")
        git("add", "scripts/more.py")
        (repository / "unknown.txt").write_text("x")
        started = new(api, said, PIPELINE_SET="seed=7\nas_of=2013-04-01")
        build.run(started)
        files = {str(path): path.read_text() for path in Path("build").rglob("*") if path.is_file()}
        yield Finished(started, said, pods, repository, [*pods.pods], files)


def test_every_command_of_the_sequence_runs_in_its_pod_and_nothing_else_does(finished):
    expected = [
        (f"{part.name}-b1", command.removeprefix("python -m scripts."))
        for part in parts()
        for command in (*part.commands, *part.always)
    ]
    assert ran(finished.repository) == expected
    stages = {"Plan", "Prepare", "Tune", "Train", "Test", "Package", "Place", "Deploy", "Monitor"}
    assert stages < set(finished.build.seconds)


def test_overrides_reach_plan_and_the_last_hand_over_is_the_one_that_travels(finished):
    assert (finished.repository.parent / "remote/settings").read_text() == "seed=7\nas_of=2013-04-01"
    assert json.loads(finished.build.handoff)["files"]["by"] == "model-b1"
    assert finished.build.traffic == b"rows"


def test_afterwards_no_pod_is_there_and_the_report_is_on_this_machine_but_no_results_of_cached_stages(finished):
    assert finished.left == []
    assert finished.files == {"build/report/index.html": "by release-b1"}


def test_pods_are_those_of_jenkins_without_its_own_container_and_can_be_told_from_them(finished):
    plan, model, release = finished.pods.created
    for pod in finished.pods.created:
        [container] = pod["spec"]["containers"]
        assert container["image"].startswith("here/")
        assert {"name": "workspace-volume", "mountPath": "/home/jenkins/agent"} in container["volumeMounts"]
        labels = pod["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "model-pipeline"
        assert labels["app.kubernetes.io/managed-by"] == "model-pipeline-executor"
        assert labels["model-pipeline/build"] == "b1"
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert pod["spec"]["activeDeadlineSeconds"] > 0
    assert plan["spec"]["serviceAccountName"] == "pipeline"
    assert release["spec"]["serviceAccountName"] == "deployer"
    assert not model["spec"]["automountServiceAccountToken"]


def test_each_pod_starts_empty_but_for_the_commit_with_changes_that_are_not_committed(finished, monkeypatch):
    said = finished.said
    monkeypatch.chdir(finished.repository)
    assert "changes that are not committed are part of this build" in said[0]
    assert "files that Git does not know are not (unknown.txt)" in said[0]
    for part in parts():
        first = next(line for line in said if line.startswith(f"{part.name}-b1 runs "))
        built = ["build"] * (part.name != "plan")  # the hand-over
        assert first.endswith(f"here are {['.git', '.gitignore', *built, 'ci', 'scripts']}")
    commit = said[0].split()[2]
    changed = git("show", "--format=", "--name-only", "-m", "--first-parent", commit).split()
    assert changed == ["scripts/more.py", "scripts/some.py"]
    assert git("for-each-ref").count("\n") == 1
    assert git("stash", "list") == ""


@pytest.mark.parametrize(
    ("text", "kind"), [("failed: the model is blocked", StageError), ("bad input: no", InputError)]
)
def test_a_command_that_fails_ends_the_build_with_its_own_words_after_the_report(here, text, kind):
    pods, api, repository = here
    tell(repository, "test", text)
    said: list[str] = []
    with pytest.raises(kind, match=text.partition(": ")[2]):
        build.run(new(api, said))
    assert [command for _, command in ran(repository)][-2:] == ["pipeline test", "pipeline report"]
    assert Path("build/report/index.html").read_text() == "by model-b1"
    assert text not in said
    assert not pods.pods


def test_a_hand_over_that_lacks_the_settings_ends_the_build_in_words(here):
    pods, api, repository = here
    tell(repository, "without", "build/settings.yaml")
    with pytest.raises(
        StageError, match=r"build/handoff\.json of the last pod: files\.build/settings\.yaml is missing"
    ):
        build.run(new(api, []))
    assert not pods.pods


@pytest.mark.parametrize("name", ["tools", "release"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Pod\nspec: {containers: [{name: other}]}\n", "spec.containers: .* a container named tools: add it"),
        ("kind: Pod\n", "spec.containers: expected a list of containers, each with a name"),
    ],
)
def test_an_agent_file_without_its_container_ends_the_build_with_the_files_name(here, name, text, said):
    pods, api, repository = here
    (repository / f"ci/agents/{name}.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"^ci/agents/{name}\.yaml: {said}"):
        build.run(new(api, []))
    assert not pods.pods


@pytest.mark.parametrize("command", ["tune", "deploy"])
def test_a_part_whose_pod_is_lost_begins_again_once_in_a_new_one(here, command):
    pods, api, repository = here
    tell(repository, command, "wait")

    def take() -> None:
        until(lambda: runs(repository, command))
        (repository.parent / "remote" / command).unlink()
        pods.take_away(next(iter(pods.pods)))

    thread = threading.Thread(target=take)
    thread.start()
    said: list[str] = []
    build.run(new(api, said))
    thread.join()
    again = [pod["metadata"]["name"] for pod in pods.created if pod["metadata"]["name"].endswith("-again")]
    assert len(again) == 1
    assert any("it was deleted; " in line and "begins again in a new pod" in line for line in said)
    first = next(done for pod, done in ran(repository) if pod == again[0])
    assert first in ("pipeline configure champion", "handoff restore")


def test_a_part_whose_pods_are_lost_twice_ends_the_build(here):
    pods, api, repository = here
    tell(repository, "tune", "wait")

    def take() -> None:
        for count in (2, 3):
            until(lambda count=count: len(pods.created) == count and runs(repository, "tune"))
            pods.take_away(pods.created[-1]["metadata"]["name"])

    thread = threading.Thread(target=take)
    thread.start()
    with pytest.raises(StageError, match=r"model: pod model-b1-again: it was deleted, for the second time"):
        build.run(new(api, []))
    thread.join()
    assert not pods.pods


def test_pods_that_a_killed_build_left_are_removed_by_the_next_and_those_of_jenkins_are_not(here):
    pods, api, repository = here
    theirs = {"metadata": {"name": "jenkins-1", "labels": {"app.kubernetes.io/part-of": "model-pipeline"}}}
    api.ask("POST", "/api/v1/namespaces/model-pipeline/pods", {**theirs, "spec": {"containers": []}})
    tell(repository, "tune", "wait")
    process = start(api)
    until(lambda: runs(repository, "tune"))
    process.kill()
    process.wait()
    assert "model-other" in pods.pods
    (repository.parent / "remote/tune").unlink()
    said: list[str] = []
    build.clean(api, said.append)
    build.run(new(api, said))
    assert "executor: pod model-other, which an earlier build left, is removed" in said
    assert [*pods.pods] == ["jenkins-1"]


def test_several_workers_tune_in_a_job_that_a_pod_of_its_own_makes_before_the_one_that_trains(here):
    pods, api, repository = here
    build.run(new(api, [], PIPELINE_SET="tuning.workers=2"))
    assert [pod["metadata"]["name"] for pod in pods.created] == ["plan-b1", "search-b1", "model-b1", "release-b1"]
    assert pods.created[1]["spec"]["serviceAccountName"] == "tuner"
    assert [command for pod, command in ran(repository) if pod == "search-b1"] == [
        "handoff restore",
        "tune_job --build=b1 --image=here/training:1",
    ]


@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("champion", signal.SIGINT),
        ("prepare", signal.SIGINT),
        ("tune", signal.SIGTERM),
        ("--run-cache", signal.SIGINT),
        ("train", signal.SIGINT),
        ("test", signal.SIGINT),
        ("package", signal.SIGINT),
        ("serving", signal.SIGINT),
        ("deploy", signal.SIGTERM),
        ("retrain", signal.SIGINT),
    ],
)
def test_an_interrupted_build_hears_its_step_out_and_leaves_no_pod(here, command, number):
    pods, api, repository = here
    tell(repository, command, "wait")
    process = start(api)
    until(lambda: runs(repository, command))
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "put back" in said
    assert not pods.pods


def test_a_build_that_is_interrupted_while_its_pod_waits_for_a_node_leaves_no_pod(here):
    pods, api, _ = here
    message = "0/3 nodes are available: 3 Insufficient cpu."
    scheduled = {"type": "PodScheduled", "status": "False", "message": message}
    pods.becomes = lambda _: {"phase": "Pending", "conditions": [scheduled]}
    process = start(api)
    until(lambda: pods.pods)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, pods.pods) == (130, {}), said


def start(api) -> subprocess.Popen[str]:
    """Run a build named `other` in a process of its own."""
    program = f"""
        from kubernetes import client
        from ci.command import end_in_order, run
        from ci.kube.api import ApiServer
        from ci.run.executor import build
        settings = client.Configuration()
        settings.host = {api.client.configuration.host!r}
        api = ApiServer(client=client.ApiClient(settings))
        end_in_order()
        site = build.Site("here", dict.fromkeys(("tools", "tuner", "training", "release"), "here:1"), "http://127.0.0.1:9")
        found = build.Build(api, site, "other", {{}}, lambda line: print(line, flush=True))
        raise SystemExit(run(lambda: build.run(found)))
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": "/tmp"},  # noqa: S108
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_clone_that_lacks_older_commits_is_refused_with_what_mends_it(here, tmp_path, monkeypatch):
    _, _, repository = here
    git("commit", "-q", "--allow-empty", "-m", "two")
    git("clone", "-q", "--depth", "1", f"file://{repository}", str(tmp_path / "shallow"))
    monkeypatch.chdir(tmp_path / "shallow")
    with pytest.raises(InputError, match="`git fetch --unshallow` fetches them"):
        code.pack()


def test_a_repository_of_another_user_is_refused_with_gits_way_out(here, monkeypatch):
    pods, api, _ = here
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # Git's own switch for its tests
    with pytest.raises(InputError, match=r"pods clone a commit: .*dubious ownership.*safe\.directory"):
        build.run(new(api, []))
    assert not pods.created
