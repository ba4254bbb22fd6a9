"""Builds of the Jenkinsfile without agents: what its stages would do is noted, and goes as a row of a table says.

What `python -m scripts.request` decides is decided by its own code; all else that a row does not name succeeds.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from ci import parameters
from ci.errors import InputError
from tests.jenkins.controller import Aborted, Lost, Trouble
from tests.pods import REPOSITORY
from tests.programs import needed


@dataclass(frozen=True)
class Row:
    """A build, and what the world does.

    Attributes:
        branch: what is built; None in a job of one branch. `PR-…` is a pull request, to `target`.
        params: those that were given.
        settings: keys of pipeline.yaml that differ from the shipped ones.
        changed: files that differ from the target branch.
        verdict: of the tests, on the model.
        fails: the command that fails.
        stops: the command at which somebody stops the build, or a timeout does.
        loses: the command at which its pod is lost, the first time that it runs.
        says: what Plan says that the build does, in place of what it would say; as if its code were not to be trusted.
        approves: who approves; None: somebody denies it.
        variables: of the environment, in place of Jenkins'.
    """

    branch: str | None = "main"
    params: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
    verdict: str = "promote"
    fails: str = ""
    stops: str = ""
    loses: str = ""
    says: str = ""
    approves: str | None = "ann"
    target: str = "main"
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def change(self) -> bool:
        """Whether it is a pull request."""
        return (self.branch or "").startswith("PR-")

    def environment(self) -> dict[str, str]:
        """Return what Jenkins says of the build."""
        base = quote(self.branch, safe="") if self.branch else "demo"
        job = f"team/demo/{base}" if self.branch else "demo"
        env = {"JOB_NAME": job, "JOB_BASE_NAME": base, "BUILD_NUMBER": "7", "BUILD_URL": f"https://x/job/{job}/7/"}
        if self.branch:
            env["BRANCH_NAME"] = self.branch
        if self.change:
            env |= {"CHANGE_ID": "12", "CHANGE_TARGET": self.target, "CHANGE_BRANCH": "fix"}
        return env | self.variables


@dataclass
class Ran:
    """What a build did.

    Attributes:
        stages: those that ran, in order.
        pods: where each was made of, and its namespace.
        commands: each with the pod that it ran in, and whose code was checked out there.
        locks: names of what was locked.
        held: locks and pods that are held now.
        asked: questions to people.
        said: the messages of what failed.
        properties: of the job.
        texts: by file, what was written into a pod.
        result: of the build.
    """

    stages: list[str] = field(default_factory=list)
    pods: list[tuple[str, str]] = field(default_factory=list)
    commands: list[tuple[str, str, str]] = field(default_factory=list)
    locks: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    properties: list[Any] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)
    """The commands that had the token of Notify, with whose code they ran."""
    result: str = ""
    name: str = ""

    @property
    def changes_what_serves(self) -> bool:
        """Whether a command ran that may change what serves."""
        words = ("scripts.pipeline deploy", "--approved-by", "scripts.rollback")
        return any(word in command for _, _, command in self.commands for word in words)

    @property
    def log(self) -> str:
        """What was said."""
        return "\n".join(self.said)


class Pretended:
    """The controller's other end for one build: each method is one thing that live.groovy asks for."""

    def __init__(self, row: Row, file: Path):
        self.row, self.file, self.ran = row, file, Ran()
        self.node: dict[str, str] = {}
        self.code: dict[str, str] = {}
        self.words = ""

    def stage(self, stage: str) -> None:
        self.ran.stages.append(stage)

    def agent(self, yamlFile: str = "", yaml: str = "", namespace: str = "", **_: Any) -> str:  # noqa: N803
        if yamlFile in self.row.changed and self.row.change:
            raise Trouble(f"‘{yamlFile}’ has been modified in an untrusted revision")
        name = f"agent-{len(self.ran.pods)}"
        self.ran.pods.append((yamlFile or yaml, namespace))
        self.node[name], self.code[name] = yamlFile or yaml, "nothing"
        self.ran.held.append(name)
        return name

    def release(self, node: str) -> None:
        self.ran.held.remove(node)

    def checkout(self, node: str, **_: Any) -> None:
        self.code[node] = "the pull request" if self.row.change else "the branch"

    def sh(self, node: str, script: str, env: dict[str, str], returnStdout: bool = False, **_: Any) -> str | None:  # noqa: N803
        self.ran.commands.append((self.node[node], self.code[node], script))
        if "NOTIFY_TOKEN" in env:
            self.ran.told.append((self.code[node], script))
        if script.startswith("git checkout") and '"refs/remotes/origin/$CHANGE_TARGET"' in script:
            self.code[node] = "the target branch"
        before = [each for _, _, each in self.ran.commands[:-1]]
        if script == self.row.stops:
            raise Aborted("Aborted by somebody")
        if script == self.row.loses and script not in before:
            raise Lost("Agent was removed")
        if self.row.fails and self.row.fails in script:
            raise Trouble(f"{script}: script returned exit code 1")
        if script == "python -m scripts.request":
            self.words = self.row.says or decided(json.dumps(env), self.file)
        if script.split()[-1] in ("test", "package") and "scripts.pipeline" in script and self.row.verdict == "block":
            raise Trouble("failed: test: the model is blocked")
        [read] = re.findall(r"if=(\S+)", script) if returnStdout else [""]
        return self.readFile(node, read) if returnStdout else None

    def readFile(self, node: str, file: str, **_: Any) -> str:  # noqa: N802 - as Jenkins calls it
        workers = self.row.params.get("WORKERS") or "1"
        known = {"build/does.txt": self.words, "build/tuning-job.json": f'{{"completions": {workers},'}
        return known.get(file, f"{Path(file).name} of {self.code[node]}")

    def writeFile(self, file: str, text: str, **_: Any) -> None:  # noqa: N802
        self.ran.texts[file] = text

    def lock(self, resource: str) -> None:
        self.ran.locks.append(resource)
        self.ran.held.append(resource)

    def unlock(self, resource: str) -> None:
        self.ran.held.remove(resource)

    def credentials(self, id: str) -> str:
        return f"the secret {id}"

    def input(self, message: str, **_: Any) -> str:
        self.ran.asked.append(message)
        if self.row.approves is None:
            raise Aborted("Rejected by somebody")
        return self.row.approves

    def properties(self, given: Any) -> None:
        self.ran.properties.append(given)

    def echo(self, text: str) -> None:
        if text.startswith("ERROR: "):
            self.ran.said.append(text)

    def left(self, text: str | None, **_: Any) -> None:
        if text:
            self.ran.said.append(text)

    def ended(self, text: str) -> None:
        self.ran.said.append(text)

    def result(self, text: str, name: str | None = None, **_: Any) -> None:
        self.ran.result, self.ran.name = text, name or ""

    def other(self, **_: Any) -> None:
        """Do what needs nothing done."""


@cache
def _decided(env: str, file: Path, settings: str) -> str | InputError:
    try:
        return " ".join(parameters.decide(json.loads(env), file))
    except InputError as error:
        return error


def decided(env: str, file: Path) -> str:
    """Return what `python -m scripts.request` writes, or fail as it does."""
    found = _decided(env, file, file.read_text(encoding="utf-8"))
    if isinstance(found, InputError):
        raise Trouble(str(found))
    return found


def run(builds: Iterable[tuple[Path, Row]], folder: Path) -> Iterator[Ran]:
    """Run builds one after another in one process, each with its Jenkinsfile; `folder` is for their settings."""
    builds = list(builds)
    given = [
        {"file": str(file), "params": row.params, "env": row.environment(), "change": row.change, "first": False}
        for file, row in builds
    ]
    groovy, environment = needed("groovy", "apt-get install groovy"), dict(os.environ)
    if "JAVA_HOME" not in environment and (java := shutil.which("java")):
        environment["JAVA_HOME"] = str(Path(java).resolve().parent.parent)
    (folder / "builds.json").write_text(json.dumps(given))
    command = [groovy, REPOSITORY / "tests/jenkins/live.groovy", "-", f"@{folder / 'builds.json'}"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=environment
    )
    assert process.stdin
    assert process.stdout
    with process:
        for _, row in builds:
            pretended = Pretended(row, _settings(row, folder))
            while not pretended.ran.result:
                question = json.loads(process.stdout.readline())
                do = getattr(pretended, question.pop("what"), pretended.other)
                try:
                    answer = {"value": do(**question)}
                except Trouble as trouble:
                    answer = {"error": str(trouble), "kind": trouble.kind}
                process.stdin.write(json.dumps(answer) + "\n")
                process.stdin.flush()
            yield pretended.ran
        process.stdin.close()
    assert process.returncode == 0


def _settings(row: Row, folder: Path) -> Path:
    file = REPOSITORY / "tests/pipeline.yaml"
    if not row.settings:
        return file
    content = yaml.safe_load(file.read_text(encoding="utf-8")) | row.settings
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file
