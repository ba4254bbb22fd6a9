"""The Jenkinsfile's own builds without a cluster: each agent is a folder that starts empty.

So what a stage needs must reach it by the hand-over or the DVC remote. A model is served for as long as the agent lives
that deployed it; what outlives agents needs a cluster, and is in tests/cluster/test_rehearsal.py.
"""

import json
import re
import shutil
import socket
import sys
from pathlib import Path

import pytest

from tests.jenkins import folders, fork
from tests.jenkins.controller import Agent, Build, Job

pytestmark = pytest.mark.e2e

LITTLE = {key: value for key, value in fork.BUDGET.items() if key.partition(".")[0] in ("data", "tuning", "training")}

SECRETS, SECRET = ("AWS_SECRET_ACCESS_KEY", "NOTIFY_TOKEN", "JENKINS_TOKEN", "GIT_TOKEN"), "hunter2-of-nobody"
"""What Jenkins may bind to variables."""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job whose agents share a DVC remote and the state of searches, as pods do by their volume."""
    folder = tmp_path_factory.mktemp("jenkins")
    own = {"tuning.max_trials": "2", "gates.resamples": "200", "history.folder": str(folder / "history")}
    with socket.create_server(("127.0.0.1", 0)) as free, pytest.MonkeyPatch.context() as patch:
        patch.setattr(fork, "BUDGET", {**LITTLE, **own, "serving.port": str(free.getsockname()[1])})
        fork.repository(folder, {})
    return Job(folder / "demo.git", "main", folder, folders.start(folder / "agents"))


@pytest.fixture(autouse=True)
def _pod(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pod files in ci/agents say of the volume."""
    config = job.folder / "dvc/config"
    config.parent.mkdir(exist_ok=True)
    config.write_text(f"[core]\n    remote = shared\n['remote \"shared\"']\n    url = {job.folder / 'remote'}\n")
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(config.parent))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(job.folder / "site"))
    monkeypatch.setenv("TUNING_STATE", str(job.folder / "tuning"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    for name in SECRETS:
        monkeypatch.setenv(name, SECRET)


def ran(build: Build) -> list[str]:
    return re.findall(r"^Running stage '(\w+)'", build.log, re.MULTILINE)


def test_an_agent_that_is_lost_while_it_tunes_is_replaced_and_no_trial_runs_twice(job):
    lost: list[str] = []

    def watch(line: str, agent: Agent | None) -> None:
        if "trial 0000 reached" in line and isinstance(agent, folders.Folder):
            lost.append(agent.name)
            shutil.rmtree(agent.workspace)

    job.watch = watch
    build = job.build(DEPLOY="no")
    assert build.result == "SUCCESS", build.log[-4000:]
    assert len(lost) == 1
    assert len(build.agents) == 3
    assert re.findall(r"trial (\d+) reached", build.log) == ["0000", "0001"]
    assert ran(build) == ["prepare", "tune", "tune", "train", "test", "package"]
    assert build.stages[-1] == "Package"
    assert re.fullmatch(r"#1 \d{13} AUC 0\.\d{4} (promote|keep)", build.name), build.name
    assert build.description.startswith(("promote: ", "keep: "))
    assert (build.artifacts / "build/report/index.html").exists()


def test_another_readme_and_rollout_setting_run_nothing_and_what_was_made_elsewhere_is_released_and_recorded(job):
    (job.folder / "fork/README.md").write_text("# Another\n")
    fork.commit(job.folder / "fork", "README")
    begun: list[str] = []

    def once_a_stage(_: str) -> bool:
        begun.append(job.builds[-1].stages[-1])
        return begun.count(begun[-1]) == 1

    job.restarts = once_a_stage
    build = job.build(SETTINGS="rollout.drain_timeout=20")
    job.restarts = lambda _: False
    assert build.result == "SUCCESS", build.log[-4000:]
    assert build.log.count("Resuming build after Jenkins restart") == len({*begun}) == 12
    assert ran(build) == []
    assert build.stages[-4:] == ["Release", "Place", "Deploy", "Monitor"]
    assert re.search(r"^deploy: version \d+ serves on port \d+ as release 1", build.log, re.MULTILINE)
    assert re.search(r"^retrain: ", build.log, re.MULTILINE)
    assert build.tests
    assert all(build.tests.values())
    [recorded] = (job.folder / "history/builds.jsonl").read_text().splitlines()
    assert json.loads(recorded)["release"] == 1


def test_a_blocked_model_ends_the_build_red_with_its_report(job):
    build = job.build(SETTINGS="gates.limits={auc: {min: 0.99}}")
    assert build.result == "FAILURE"
    assert build.stages[-1] == "Test"
    assert build.name.endswith(" block")
    assert "the model is blocked: " in build.log
    assert (build.artifacts / "build/report/index.html").exists()


def test_no_log_report_result_or_hand_over_holds_a_secret(job):
    """Of all the builds above: what they said, and whatever they have written where it stays."""
    written = [
        path for path in job.folder.rglob("*") if path.is_file() and not path.is_relative_to(job.folder / "fork")
    ]
    assert len(written) > 100
    assert SECRET not in "".join(build.log for build in job.builds)
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
