"""A pull request that means harm: it changes the Jenkinsfile, the pods, the commands and the stages, and gets nothing.

Its agents are folders, so what a pod cannot do is read off the pod; tests/cluster/test_rehearsal.py tries it in one.
"""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci.pods import templates
from tests.jenkins import folders, fork
from tests.jenkins.controller import Build, Job
from tests.pods import violations

EVIL = 'print("EVIL", __name__, flush=True)\nraise SystemExit(1)\n'
HARM = {
    "Jenkinsfile": "pipeline {\n  agent none\n  stages {\n    error 'EVIL'\n  }\n}\n",
    "ci/agents/training.yaml": "spec: {serviceAccountName: deployer, containers: [{name: tensorflow}]}\n",
    "ci/agents/pull-request.yaml": "spec: {serviceAccountName: deployer, containers: [{name: tensorflow}]}\n",
    "ci/agents/release.yaml": "spec: {}\n",
    "scripts/agent.py": EVIL,
    "scripts/request.py": EVIL,
    "scripts/sweep.py": EVIL,
    "scripts/champion.py": EVIL,
    "scripts/handoff.py": EVIL,
    "sitecustomize.py": EVIL.splitlines()[0],
    ".gitattributes": "* filter=evil\n",
    "build/does.txt": "train release promote rollback\n",
    "build/agent.json": '{"EVIL": true}\n',
}
"""What is changed, by file. Its configure works, so that it comes as far as the stages of `dvc.yaml`."""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(fork, "BUDGET", {})
    checkout = fork.repository(tmp_path, {})
    git = ("git", "-C", checkout)
    fork.run(*git, "checkout", "-q", "-b", "evil")
    for name, text in HARM.items():
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text(text)
    file = checkout / "dvc.yaml"
    stages = yaml.safe_load(file.read_text())
    stages["stages"]["prepare"]["cmd"] = "echo EVIL stage; exit 1"
    file.write_text(yaml.safe_dump(stages))
    fork.run(*git, "add", "-A", "-f", "build")
    fork.commit(checkout, "Only a typo")
    fork.run(*git, "checkout", "-q", "-b", "evil-tools")
    (checkout / "ci/agents/tools.yaml").write_text("spec: {serviceAccountName: deployer}\n")
    fork.commit(checkout, "Another")
    config = tmp_path / "dvc/config"
    config.parent.mkdir()
    config.write_text(f"[core]\n    remote = shared\n['remote \"shared\"']\n    url = {tmp_path / 'remote'}\n")
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(config.parent))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    return Job(tmp_path / "demo.git", "main", tmp_path, folders.start(tmp_path / "agents"))


@pytest.mark.slow
def test_its_code_runs_in_the_pod_for_it_only_and_that_pod_can_do_nothing(job):
    made: list[tuple[dict[str, Any], str]] = []
    start = job.start

    def note(text: str, said: dict[str, Any], build: Build, hear: Any) -> Any:
        made.append((yaml.safe_load(text), said.get("namespace", "")))
        return start(text, said, build, hear)

    job.start = note
    job.watch = lambda line, agent: seen.append((line, agent.name if agent else ""))
    seen: list[tuple[str, str]] = []
    build = job.build(change="evil")
    assert build.stages == ["Plan", "Checkout", "Target branch", "Request", "Pods", "Pull request"], build.log[-3000:]
    assert build.result == "FAILURE"
    assert {agent for line, agent in seen if "EVIL" in line} == {build.agents[1]}, "Plan ran code of the pull request"
    assert "EVIL stage" in build.log
    assert not (job.folder / "remote").exists()
    (plan, there), (pod, where) = made
    assert (plan["spec"]["serviceAccountName"], there) == ("pipeline", "")
    assert (pod["metadata"]["namespace"], where) == (templates.UNTRUSTED, templates.UNTRUSTED)
    spec = pod["spec"]
    assert not violations(spec)
    assert "serviceAccountName" not in spec
    assert spec["automountServiceAccountToken"] is False
    [volume] = [each for each in spec["volumes"] if "persistentVolumeClaim" in each]
    assert volume["persistentVolumeClaim"]["readOnly"]
    assert not [each for each in spec["volumes"] if "secret" in each or "projected" in each]


def test_one_that_changes_plans_own_pod_is_not_built(job):
    build = job.build(change="evil-tools")
    assert (build.result, build.agents) == ("FAILURE", [])
    assert "‘ci/agents/tools.yaml’ has been modified in an untrusted revision" in build.log


LINKS = """
import os
import pathlib

folder = pathlib.Path("build/report")
folder.mkdir(parents=True, exist_ok=True)
for name in ("name.txt", "headline.txt", "summary.md"):
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text("harmless")
(folder / "NAME").unlink()
(folder / "NAME").symlink_to("TARGET")
"""
SECRET = "the secret of Jenkins' own container"  # noqa: S105 - of nobody


@pytest.mark.slow
@pytest.mark.parametrize("name", ["summary.md", "name.txt"])
def test_one_that_leaves_a_link_in_place_of_what_is_told_of_it_is_told_of_by_nothing(job, name):
    """Jenkins' agent has a token, and code of the pull request may write where that agent reads."""
    checkout, token = job.folder / "fork", job.folder / "token"
    token.write_text(SECRET)
    fork.run("git", "-C", checkout, "checkout", "-q", "-b", "links", "main")
    evil = LINKS.replace("NAME", name).replace("TARGET", str(token))
    (checkout / "scripts/pipeline.py").write_text(evil)
    fork.commit(checkout, "Only a typo")
    build = job.build(change="links")
    assert build.stages[-1] == "Pull request", build.log[-3000:]
    assert build.result == "FAILURE"
    assert f"'build/report/{name}': Too many levels of symbolic links" in build.log
    said = "".join((build.log, build.name, build.description, *(str(each) for each in build.artifacts.rglob("*"))))
    assert SECRET not in said
    assert not [file for file in build.artifacts.rglob("*") if file.is_file() and SECRET in file.read_text()]
