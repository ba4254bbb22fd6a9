"""A build in pods: what runs where, what is carried from one to the next, and what becomes of it when pods are lost."""

import json
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ci.errors import InputError, StageError
from ci.run.executor import build, code
from ci.run.sequence import parts
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


def test_every_command_of_the_sequence_runs_in_its_pod_and_nothing_else_does(cluster, repository, new):
    pods, _ = cluster
    said: list[str] = []
    started = new(said, PIPELINE_SET="seed=7\nas_of=2013-04-01")
    build.run(started)
    expected = [
        (f"{part.name}-b1", command.removeprefix("python -m scripts."))
        for part in parts()
        for command in (*part.commands, *part.always)
    ]
    assert ran(repository) == expected
    assert (repository.parent / "remote/settings").read_text() == "seed=7\nas_of=2013-04-01"
    assert not pods.pods
    assert json.loads(started.handoff)["files"]["by"] == "model-b1"
    assert Path("build/report/index.html").read_text() == "by release-b1"
    assert not Path("build/model").exists()
    assert started.traffic == b"rows"
    stages = {"Plan", "Prepare", "Tune", "Train", "Test", "Package", "Place", "Deploy", "Monitor"}
    assert stages < set(started.seconds)


def test_pods_are_those_of_jenkins_without_its_own_container_and_can_be_told_from_them(cluster, repository, new):
    pods, _ = cluster
    build.run(new([]))
    plan, model, release = pods.created
    for pod in pods.created:
        [container] = pod["spec"]["containers"]
        assert container["image"].startswith("here/")
        assert {"name": "workspace-volume", "mountPath": "/home/jenkins/agent"} in container["volumeMounts"]
        labels = pod["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "model-pipeline"
        assert labels["app.kubernetes.io/managed-by"] == "model-pipeline-executor"
        assert labels["model-pipeline/build"] == "b1"
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert plan["spec"]["serviceAccountName"] == "pipeline"
    assert release["spec"]["serviceAccountName"] == "deployer"
    assert not model["spec"]["automountServiceAccountToken"]


def test_each_pod_starts_empty_but_for_the_commit_with_changes_that_are_not_committed(cluster, repository, new):
    (repository / "scripts/some.py").write_text("changed")
    (repository / "scripts/more.py").write_text("new")
    git("add", "scripts/more.py")
    (repository / "unknown.txt").write_text("x")
    said: list[str] = []
    build.run(new(said))
    assert "changes that are not committed are part of this build" in said[0]
    assert "files that Git does not know are not (unknown.txt)" in said[0]
    for part in parts():
        first = next(line for line in said if line.startswith(f"{part.name}-b1 runs "))
        built = ["build"] * (part.name != "plan")  # the hand-over
        assert first.endswith(f"here are {['.git', '.gitignore', *built, 'ci', 'scripts']}")
    assert git("for-each-ref").count("\n") == 1
    assert git("stash", "list") == ""
    commit = said[0].split()[2]
    assert git("show", "--format=", "--name-only", "-m", "--first-parent", commit).split() == [
        "scripts/more.py",
        "scripts/some.py",
    ]


@pytest.mark.parametrize(
    ("text", "kind"), [("failed: the model is blocked", StageError), ("bad input: no", InputError)]
)
def test_a_command_that_fails_ends_the_build_with_its_own_words_after_the_report(cluster, repository, new, text, kind):
    pods, _ = cluster
    tell(repository, "test", text)
    said: list[str] = []
    with pytest.raises(kind, match=text.partition(": ")[2]):
        build.run(new(said))
    assert [command for _, command in ran(repository)][-2:] == ["pipeline test", "pipeline report"]
    assert Path("build/report/index.html").read_text() == "by model-b1"
    assert text not in said
    assert not pods.pods


@pytest.mark.parametrize("command", ["champion", "tune", "deploy"])
def test_a_part_whose_pod_is_lost_begins_again_once_in_a_new_one(cluster, repository, new, command):
    pods, _ = cluster
    tell(repository, command, "wait")

    def take() -> None:
        until(lambda: runs(repository, command))
        (repository.parent / "remote" / command).unlink()
        pods.take_away(next(iter(pods.pods)))

    thread = threading.Thread(target=take)
    thread.start()
    said: list[str] = []
    build.run(new(said))
    thread.join()
    again = [pod["metadata"]["name"] for pod in pods.created if pod["metadata"]["name"].endswith("-again")]
    assert len(again) == 1
    assert any("it was deleted; " in line and "begins again in a new pod" in line for line in said)
    first = next(done for pod, done in ran(repository) if pod == again[0])
    assert first in ("pipeline configure champion", "handoff restore")


def test_a_part_whose_pods_are_lost_twice_ends_the_build(cluster, repository, new, monkeypatch):
    pods, _ = cluster
    tell(repository, "tune", "wait")

    def take() -> None:
        for count in (2, 3):
            until(lambda count=count: len(pods.created) == count and runs(repository, "tune"))
            pods.take_away(pods.created[-1]["metadata"]["name"])

    thread = threading.Thread(target=take)
    thread.start()
    with pytest.raises(StageError, match=r"model: pod model-b1-again: it was deleted, for the second time"):
        build.run(new([]))
    thread.join()
    assert not pods.pods


def test_pods_that_a_killed_build_left_are_removed_by_the_next_and_those_of_jenkins_are_not(cluster, repository, new):
    pods, api = cluster
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
    build.run(new(said))
    assert "executor: pod model-other, which an earlier build left, is removed" in said
    assert [*pods.pods] == ["jenkins-1"]


@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("champion", signal.SIGINT),
        ("pull", signal.SIGTERM),
        ("tune", signal.SIGINT),
        ("--run-cache", signal.SIGINT),
        ("deploy", signal.SIGTERM),
        ("retrain", signal.SIGINT),
    ],
)
def test_an_interrupted_build_hears_its_step_out_and_leaves_no_pod(cluster, repository, new, command, number):
    pods, api = cluster
    tell(repository, command, "wait")
    process = start(api)
    until(lambda: runs(repository, command))
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "put back" in said
    assert not pods.pods


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
        site = build.Site(dict.fromkeys(("tools", "training", "release"), "here:1"), "http://127.0.0.1:9")
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


def test_a_clone_that_lacks_older_commits_is_refused_with_what_mends_it(repository, tmp_path, monkeypatch):
    git("commit", "-q", "--allow-empty", "-m", "two")
    git("clone", "-q", "--depth", "1", f"file://{repository}", str(tmp_path / "shallow"))
    monkeypatch.chdir(tmp_path / "shallow")
    with pytest.raises(InputError, match="`git fetch --unshallow` fetches them"):
        code.pack()
