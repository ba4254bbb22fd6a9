"""A build: Plan, Model and Release, each in a pod of its own, with what Jenkins would carry from one to the next."""

import json
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ci import reading_yaml, workspace
from ci.command import PREFIXES, patient
from ci.errors import InputError, StageError
from ci.kube.api import ApiServer, Missing
from ci.pods import templates
from ci.pods.templates import NAMESPACE
from ci.results.build import Handoff
from ci.results.file import first
from ci.run.executor import agents, code, results
from ci.run.executor.clients import clients
from ci.run.executor.pod import Agent, Lost
from ci.run.sequence import Part, parts, tuning

Json = dict[str, Any]
_TRIES = 2
"""How often a part may begin, if its pod is lost; so it is in the `Jenkinsfile`."""
_HANDOFF = str(workspace.HANDOFF)


@dataclass(frozen=True)
class Site:
    """Where a build runs.

    Attributes:
        context: of the kubeconfig.
        images: by the kind of pod (see `ci.run.sequence.Part`), the image of its container.
        url: where clients on this machine reach the model.
    """

    context: str
    images: Mapping[str, str]
    url: str


@dataclass
class Build:
    """What is known while a build runs.

    Attributes:
        api: the cluster's API server.
        site: where it runs.
        name: of this build, part of its pods' names.
        variables: for the commands of Plan.
        say: called with each line for people.
        seconds: by step, how long it took.
        handoff: the hand-over so far.
        traffic: requests that clients may send, as a Parquet file; empty if there are none yet.
    """

    api: ApiServer
    site: Site
    name: str
    variables: Mapping[str, str]
    say: Callable[[str], object] = print
    seconds: dict[str, float] = field(default_factory=dict)
    handoff: bytes = b""
    traffic: bytes = b""


def run(build: Build) -> None:
    """Run a build to its end.

    Raises:
        InputError: a command was given bad input, or the code cannot be packed.
        StageError: a command failed, the model is blocked, or a pod could not be had.
        KeyboardInterrupt: we were interrupted; no pod of this build is left.
    """
    packed = code.pack()
    build.say(f"executor: commit {packed.commit[:12]}{f' ({packed.note})' if packed.note else ''}")
    with patient("the step that runs now is allowed to end, then its pod is removed") as interrupted:

        def tick() -> None:
            if interrupted():
                raise KeyboardInterrupt

        plan, model, release = parts()
        _part(build, plan, packed, tick)
        settings = _settings(build)
        if settings["tuning"]["workers"] > 1:
            given = (f"--build={build.name}", f"--image={build.site.images['training']}")
            _part(build, tuning(*given), packed, tick)
        _part(build, model, packed, tick)
        with clients(build.api, f"{build.site.url}/v1/models/{settings['model']['name']}", build.traffic):
            _part(build, release, packed, tick)


def _settings(build: Build) -> Json:
    """Return the effective settings of the build, which Plan wrote."""
    return dict(reading_yaml.parse(_handed_over(build, workspace.SETTINGS), workspace.SETTINGS))


def _handed_over(build: Build, path: Path) -> str:
    """Return the text of a file in the hand-over that the last pod packed.

    Raises:
        StageError: the hand-over is not as `scripts.handoff` packs it, or lacks the file.
    """
    try:
        return Handoff.model_validate_json(build.handoff).files[str(path)]
    except ValidationError as error:
        raise StageError(f"{_HANDOFF} of the last pod: {first(error)}") from None
    except KeyError:
        raise StageError(f"{_HANDOFF} of the last pod: files.{path} is missing") from None


def clean(api: ApiServer, say: Callable[[str], object]) -> None:
    """Remove the pods that builds left which ended without being asked; this machine's only user of the cluster does.

    Raises:
        StageError: the API server refuses, or does not answer.
    """
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    selector = ",".join(f"{key}={value}" for key, value in agents.MANAGED_BY.items())
    for pod in api.get(path, labelSelector=selector).get("items", []):
        name = pod["metadata"]["name"]
        with suppress(Missing):
            api.ask("DELETE", f"{path}/{name}", {"gracePeriodSeconds": 1})
            say(f"executor: pod {name}, which an earlier build left, is removed")


def _part(build: Build, part: Part, packed: code.Code, tick: Callable[[], object]) -> None:
    """Run one part of a build, once more if its pod is lost."""
    for attempt in range(1, _TRIES + 1):
        try:
            _attempt(build, part, packed, tick, attempt)
            return
        except Lost as lost:
            if attempt == _TRIES:
                raise StageError(f"{part.name}: {lost}, for the second time") from None
            build.say(f"executor: {lost}; {part.name} begins again in a new pod, finished stages are restored")


def _attempt(build: Build, part: Part, packed: code.Code, tick: Callable[[], object], attempt: int) -> None:
    pod = agents.manifest(
        _template(build, part),
        f"{part.name}-{build.name}{'-again' * (attempt - 1)}",
        build.name,
        part.container,
        image=build.site.images[part.pod],
    )
    began = time.monotonic()
    with Agent(build.api, pod, part.container, lambda line: build.say(f"executor: {line}"), tick) as agent:
        clone = ("git", "clone", "--quiet", "--branch", code.BRANCH, "code.bundle", "workspace")
        agent.send(packed.bundle, "code.bundle", clone)
        if build.handoff:
            agent.send(build.handoff, f"workspace/{_HANDOFF}")
        _add(build, f"{part.name} pod", began)
        try:
            for name, commands in part.groups.items():
                began = time.monotonic()
                for command in commands:
                    _command(build, agent, command, name)
                _add(build, name, began)
        except (InputError, StageError) as error:
            if not isinstance(error, Lost):
                _end(build, part, agent, failed=True)
            raise
        _end(build, part, agent, failed=False)


def _template(build: Build, part: Part) -> Mapping[str, Any]:
    """Return the pod of a part: a file of `ci/agents`, or what Plan made of it for the training stages.

    Raises:
        InputError: the file has not the container that commands run in.
    """
    if part.pod != "training":
        return templates.read(part.template)
    return dict(json.loads(_handed_over(build, workspace.AGENT)))


def _command(build: Build, agent: Agent, command: str, stage: str) -> None:
    """Run one command of a part.

    Raises:
        InputError: it was given bad input.
        StageError: it failed.
    """
    message: list[str] = []

    def hear(line: str) -> None:
        if message or line.startswith(PREFIXES):
            message.append(line)
        else:
            build.say(line)

    variables = build.variables if stage == "Plan" else {}
    exit_code = agent.step(shlex.split(command), hear, variables)
    if exit_code:
        kind = InputError if message and message[0].startswith(PREFIXES[0]) else StageError
        text = "\n".join(message).partition(": ")[2] or f"`{command}` ended with exit code {exit_code}"
        raise kind(text)
    for line in message:  # it began like a message, and was none
        build.say(line)


def _end(build: Build, part: Part, agent: Agent, *, failed: bool) -> None:
    """Run what always runs at the end of a part, and fetch what the next one and people need.

    A part that failed already fails with its own error, whatever happens here.
    """
    began = time.monotonic()
    try:
        for command in part.always:
            _command(build, agent, command, part.name)
        if not failed:
            build.handoff = agent.read(_HANDOFF)
        if part.always:
            results.unpack(agent.fetch(results.WANTED), build.site.context)
        if part.name == "model" and not failed:
            build.traffic = agent.read(str(workspace.DATA / "traffic.parquet"))
    except (InputError, StageError) as error:
        if not failed:
            raise
        build.say(f"executor: the end of {part.name}: {error}")
    _add(build, f"{part.name} end", began)


def _add(build: Build, name: str, began: float) -> None:
    build.seconds[name] = build.seconds.get(name, 0.0) + time.monotonic() - began
