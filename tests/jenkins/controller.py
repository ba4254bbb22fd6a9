"""A controller for rehearsals: it runs builds of a Jenkinsfile, whose steps it does on agents.

tests/jenkins/live.groovy evaluates the file and says what is to be done, and this side does it. What a step does, and
what becomes of a build when it fails, is what Jenkins does; an agent is anything with the methods of `Agent`.
"""

import json
import os
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from tests.programs import needed

HERE = Path(__file__).parent
PATIENCE = 20
"""Seconds that a step has from SIGTERM, which the end of its build sends to it, to its end."""


class Trouble(Exception):  # noqa: N818 - what happens to a build, and no fault of this program
    """A step that failed."""

    kind = "failed"


class Lost(Trouble):
    """The agent is gone, which says nothing of the step."""

    kind = "lost"


class Aborted(Trouble):
    """Somebody stopped the build, or its time is up."""

    kind = "aborted"


class Superseded(Trouble):
    """A newer build has passed the milestone."""

    kind = "superseded"


class Restarted(Exception):  # noqa: N818 - what happens to the controller
    """The controller was restarted while an agent was waited for: it makes another, and the first is left."""


class Agent(Protocol):
    """Where steps run; each method raises `Lost` if it is gone."""

    name: str

    def run(self, script: str, container: str, env: dict[str, str], hear: Callable[[str], None]) -> int:
        """Run a script in the workspace as the step `sh` does, and return its exit code."""

    def read(self, file: str) -> bytes | None:
        """Return what is in a file of the workspace; None if it is not there."""

    def write(self, file: str, content: bytes) -> None:
        """Write a file of the workspace."""

    def find(self, folder: str) -> list[str]:
        """Return the paths of the files below a folder of the workspace; none if it is not there."""

    def checkout(self, bundle: bytes, commit: str) -> None:
        """Empty the workspace and check a commit out of a bundle."""

    def close(self) -> None:
        """End the agent."""


@dataclass
class Build:
    """One build, and everything that is known of it when it has ended."""

    number: int
    url: str
    artifacts: Path
    result: str = ""
    lines: list[str] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    """Those that were begun, in order."""
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    tests: dict[str, bool] = field(default_factory=dict)
    """By name, whether it passed."""
    troubles: list[str] = field(default_factory=list)
    """The messages of stages that failed, innermost first."""
    name: str = ""
    description: str = ""
    begun: float = field(default_factory=time.monotonic)

    @property
    def log(self) -> str:
        """Everything that was said."""
        return "\n".join(self.lines)

    def say(self, text: str) -> None:
        """Add to the log, and to the file of it beside the artifacts, which can be read while the build runs."""
        self.lines += text.splitlines()
        with self.artifacts.with_suffix(".log").open("a") as file:
            file.writelines(f"{time.monotonic() - self.begun:7.1f} {line}\n" for line in text.splitlines())


Start = Callable[[str, dict[str, Any], Build, Callable[[str], None]], Agent]
"""Starts an agent: of a pod's YAML, what the agent block says, the build it is for; says what it waits for."""


@dataclass
class Job:
    """A pipeline from a Git repository, built one after another.

    Attributes:
        remote: a bare repository.
        branch: what is built.
        folder: for artifacts and bundles.
        start: starts agents.
        watch: called with each line that an agent says and the agent; it may raise `Aborted`, or `Restarted` while an
            agent is waited for.
        restarts: tells of the script of a step whether the controller is restarted while it runs.
        approves: who approves what is asked of people; None: they deny it.
        secrets: by the name of a credential, its text.
    """

    remote: Path
    branch: str
    folder: Path
    start: Start
    name: str = "demo"
    watch: Callable[[str, Agent | None], None] = lambda *_: None
    restarts: Callable[[str], bool] = lambda _: False
    approves: str | None = None
    secrets: dict[str, str] = field(default_factory=dict)
    builds: list[Build] = field(default_factory=list)
    milestones: dict[int, int] = field(default_factory=dict)

    def build(self, *, change: str | bool = False, jenkinsfile: Path | None = None, **parameters: Any) -> Build:
        """Run a build to its end.

        Args:
            change: the branch that a pull request wants to bring into ours, or whether it is one that changes nothing.
                Its Jenkinsfile is ours, as it is for people whom Jenkins does not trust.
            jenkinsfile: in place of the branch's.
            parameters: those that were given; the others have their defaults.
        """
        number = len(self.builds) + 1
        url = f"https://jenkins.example.com/job/{self.name}/{number}/"
        build = Build(number, url, self.folder / f"build-{number}")
        self.builds.append(build)
        file = jenkinsfile or self.folder / "Jenkinsfile"
        if jenkinsfile is None:
            file.write_bytes(self.git("show", f"{self.branch}:Jenkinsfile"))
        env = {
            "JOB_NAME": self.name,
            "JOB_URL": url.removesuffix(f"{number}/"),
            "BUILD_NUMBER": str(number),
            "BUILD_URL": url,
            "BUILD_TAG": f"jenkins-{self.name}-{number}",
            "CI": "true",
        }
        if change:
            own = {"CHANGE_ID": "12", "CHANGE_TARGET": self.branch, "BRANCH_NAME": "PR-12", "JOB_BASE_NAME": "PR-12"}
            env.update(own)
        given = {"params": parameters, "env": env, "change": bool(change), "first": number == 1}
        _Running(self, build, change if isinstance(change, str) else self.branch).run(file, given)
        return build

    def git(self, *arguments: str) -> bytes:
        """Run Git on the remote and return what it prints."""
        return subprocess.run(["git", "-C", self.remote, *arguments], check=True, capture_output=True).stdout


class _Running:
    """A build that runs: each method is one thing that live.groovy asks for."""

    def __init__(self, job: Job, build: Build, branch: str):
        self.job, self.build, self.branch = job, build, branch
        self.agents: dict[str, Agent] = {}
        self.begun: dict[str, float] = {}
        self.wanted, self.restarted = 0, False

    def run(self, file: Path, given: dict[str, Any]) -> None:
        """Evaluate the file and do what it asks for.

        Of a controller that is restarted only what it has on its disk is left: what was asked for, and the answers. The
        step that runs meanwhile goes on, as its process is the agent's.
        """
        done: list[tuple[str, str]] = []
        try:
            while not self.build.result:
                self.restarted = False
                self._evaluate(file, given, done)
        finally:
            for agent in self.agents.values():
                agent.close()

    def _evaluate(self, file: Path, given: dict[str, Any], done: list[tuple[str, str]]) -> None:
        """Evaluate the file to its end, or to a restart; what was done before is not done again."""
        groovy = needed("groovy", "apt-get install groovy")
        environment = dict(os.environ)
        if "JAVA_HOME" not in environment and (java := shutil.which("java")):
            environment["JAVA_HOME"] = str(Path(java).resolve().parent.parent)
        process = subprocess.Popen(
            [groovy, HERE / "live.groovy", file, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=environment,
        )
        assert process.stdin
        assert process.stdout
        try:
            for number, line in enumerate(process.stdout):
                if number == len(done):
                    done.append((line, json.dumps(self.answer(json.loads(line))) + "\n"))
                    if self.restarted:
                        self.build.say("Resuming build after Jenkins restart")
                        return
                question, answer = done[number]
                assert _lasting(line) == _lasting(question), "a build goes on as it began"
                process.stdin.write(answer)
                process.stdin.flush()
            assert process.wait() == 0, "live.groovy failed; its message is above"
        finally:
            process.kill()
            process.wait()
        assert self.build.result

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked for, and return its value or its error."""
        what = question.pop("what")
        agent = self.agents.get(question.pop("node", "")) if what != "release" else None
        try:
            return {"value": getattr(self, what)(agent, **question) if agent else getattr(self, what)(**question)}
        except Trouble as trouble:
            return {"error": str(trouble), "kind": trouble.kind}

    def hear(self, agent: Agent | None, end: float | None) -> Callable[[str], None]:
        """Return what takes the lines of an agent down until the time is up."""

        def hear(line: str) -> None:
            for secret in self.job.secrets.values():
                line = line.replace(secret, "****")
            if line:
                self.build.say(line)
                self.job.watch(line, agent)
            if end is not None and time.monotonic() > end:
                raise Aborted("Timeout has been exceeded")

        return hear

    def stage(self, stage: str) -> None:
        self.build.say(f"[Pipeline] {{ ({stage})")
        self.build.stages.append(stage)
        self.begun[stage] = time.monotonic()

    def left(self, stage: str, text: str | None) -> None:
        self.build.seconds[stage] = time.monotonic() - self.begun[stage]
        if text:
            self.build.troubles.append(f"{stage}: {text}")

    def skipped(self, stage: str, why: str) -> None:
        self.build.say(f'Stage "{stage}" skipped due to {why}')
        self.build.skipped[stage] = why

    def ended(self, text: str) -> None:
        self.build.say(f"ERROR: {text}")

    def result(self, text: str, name: str | None, description: str | None) -> None:
        self.build.result, self.build.name, self.build.description = text, name or "", description or ""
        self.build.say(f"Finished: {text}")

    def echo(self, text: str) -> None:
        self.build.say(text)

    def properties(self, given: list[Any]) -> None:
        self.build.say(f"Setting properties {given}")

    def credentials(self, id: str) -> str:
        if id not in self.job.secrets:
            raise Trouble(f"Could not find credentials entry with ID '{id}'")
        return self.job.secrets[id]

    def input(self, message: str, **_: Any) -> str:
        self.build.say(message)
        if self.job.approves is None:
            raise Aborted("Rejected by somebody")
        return self.job.approves

    def lock(self, resource: str) -> None:
        self.build.say(f"Lock acquired on [Resource: {resource}]")

    def unlock(self, resource: str) -> None:
        self.build.say(f"Lock released on resource [Resource: {resource}]")

    def milestone(self, ordinal: int) -> None:
        if self.job.milestones.get(ordinal, 0) >= self.build.number:
            raise Superseded(f"Superseded by build #{self.job.milestones[ordinal]}")
        self.job.milestones[ordinal] = self.build.number

    def agent(self, left: int | None = None, **said: Any) -> str:
        """Start an agent; its YAML is that of the branch's tip, or the text itself."""
        text = said.get("yaml")
        if text is None:
            text, own = (
                self.job.git("show", f"{branch}:{said['yamlFile']}").decode()
                for branch in (self.job.branch, self.branch)
            )
            if text != own:
                raise Trouble(f"‘{said['yamlFile']}’ has been modified in an untrusted revision")
        if any(isinstance(each, yaml.AliasEvent) for each in yaml.parse(text)):
            raise Trouble("the pod's YAML has an alias, which the Kubernetes plugin refuses")
        self.wanted += 1
        began = time.monotonic()
        hear = self.hear(None, None if left is None else began + left / 1000)
        try:
            agent = self.job.start(text, said, self.build, hear)
        except Restarted:
            self.build.say("Resuming build after Jenkins restart")
            agent = self.job.start(text, said, self.build, hear)
        self.build.say(f"Agent {agent.name} is ready after {time.monotonic() - began:.1f} s")
        self.agents[agent.name] = agent
        self.build.agents.append(agent.name)
        return agent.name

    def release(self, node: str) -> None:
        self.agents.pop(node).close()

    def checkout(self, agent: Agent, **_: Any) -> None:
        """Check out the tip of the branch as it is now, which may be newer than what the build began with.

        A pull request's clone has the branch that it is to go into, too.
        """
        commit = self.job.git("rev-parse", self.branch).decode().strip()
        self.build.say(f"Checking out Revision {commit} ({self.branch})")
        agent.checkout(self.job.git("bundle", "create", "--quiet", "-", self.branch, self.job.branch), commit)

    def sh(
        self,
        agent: Agent,
        script: str,
        container: str,
        env: dict[str, str],
        left: int | None,
        returnStdout: bool = False,  # noqa: N803
    ) -> str | None:
        self.build.say(f"+ {script}")
        self.restarted = self.job.restarts(script)
        began = time.monotonic()
        end = None if left is None else began + left / 1000
        # What the step returns goes by a file beside the workspace, and so do Jenkins' own.
        line = f"{{ {script}\n}} > ../stdout" if returnStdout else script
        code = agent.run(line, container, env, self.hear(agent, end))
        self.build.say(f"({time.monotonic() - began:.1f} s)")
        if code:
            raise Trouble(f"script returned exit code {code}")
        return (agent.read("../stdout") or b"").decode(errors="replace") if returnStdout else None

    def readFile(self, agent: Agent, file: str, **_: Any) -> str:  # noqa: N802 - as Jenkins calls it
        content = agent.read(file)
        if content is None:
            raise Trouble(f"java.nio.file.NoSuchFileException: {file}")
        return content.decode()

    def writeFile(self, agent: Agent, file: str, text: str, **_: Any) -> None:  # noqa: N802
        agent.write(file, text.encode())

    def junit(self, agent: Agent, testResults: str, allowEmptyResults: bool = False, **_: Any) -> bool:  # noqa: N803
        """Take test results and tell whether one failed, which makes the build unstable."""
        files = matching(agent, testResults)
        if not files:
            self.build.say("No test report files were found. Configuration error?")
            if not allowEmptyResults:
                raise Trouble("No test report files were found. Configuration error?")
        failed = False
        for file in files:
            try:
                root = ElementTree.fromstring(agent.read(file) or b"")  # noqa: S314 - of our own pipeline
            except ElementTree.ParseError as error:
                raise Trouble(f"Failed to read test report file {file}: {error}") from None
            for case in root.iter("testcase"):
                passed = case.find("failure") is None and case.find("error") is None
                self.build.tests[f"{case.get('classname', '')}.{case.get('name')}"] = passed
                failed |= not passed
        return failed

    def archiveArtifacts(self, agent: Agent, artifacts: str, allowEmptyArchive: bool = False, **_: Any) -> None:  # noqa: N802, N803
        """Keep files; those of a later call take the place of earlier ones of the same path."""
        files = matching(agent, artifacts)
        if not files and not allowEmptyArchive:
            raise Trouble(f'No artifacts found that match the file pattern "{artifacts}". Configuration error?')
        for file in files:
            kept = self.build.artifacts / file
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(agent.read(file) or b"")


def _lasting(question: str) -> dict[str, Any]:
    """Return what is asked for without how much time is left."""
    return {key: value for key, value in json.loads(question).items() if key != "left"}


def matching(agent: Agent, pattern: str) -> list[str]:
    """Return the files of the workspace that an Ant pattern matches."""
    fixed = re.split(r"[*?]", pattern)[0].rpartition("/")[0]
    wanted = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return [file for file in agent.find(fixed) if re.fullmatch(wanted, file)]
