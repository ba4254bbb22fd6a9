"""Where a build runs: in pods of a cluster of Kind on this machine, which is made ready for it, or as processes."""

import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from ci import configuration, parameters
from ci.errors import InputError, StageError
from ci.kube.api import ApiServer
from ci.kube.context import Context
from ci.placement import cluster as inventory
from ci.placement import explain
from ci.placement.inventory import Node
from ci.placement.wanted import Build as Wanted
from ci.placement.wanted import reported
from ci.run import checks, images, kind
from ci.run.executor import asking, build
from ci.settings import Settings

HISTORY = "history.folder=/var/lib/dvc-remote/history"
"""Where builds in pods keep their history: on the volume of the DVC remote, which every agent mounts."""
_FILE = Path("pipeline.yaml")
_IMAGES = {"tools": "tools", "tuner": "tools", "training": "pipeline", "release": "pipeline"}
"""By kind of pod, its image: what rolls out also asks the SavedModel, so it needs TensorFlow."""


def possible(executor: Literal["auto", "kind"]) -> bool:
    """Tell whether stages can run on Kind; for `auto` a line says why not.

    Raises:
        InputError: Kind was asked for, and something that it needs is missing.
    """
    findings = checks.for_kind()
    if executor == "kind":
        checks.require(findings)
    if wrong := [each for each in findings if each.wrong]:
        why = ", ".join(f"{each.name} {each.found}" for each in wrong)
        print(f"executor: stages run as processes on this machine, not in pods: {why}")
    return not wrong


def run(cluster: str, overrides: Sequence[str], seconds: dict[str, float]) -> None:
    """Run a whole build in pods of a cluster of Kind.

    Args:
        cluster: its name; it is made if there is none.
        overrides: settings of this build, as KEY=VALUE.
        seconds: gets how long each step took.

    Raises:
        InputError: a setting or a command's input is wrong, or the cluster is not ours.
        StageError: Docker, Kind, the cluster or a stage failed, or the model is blocked.
    """
    given = overrides_here(os.environ.get(parameters.VARIABLE, ""), overrides)
    settings = configuration.read(_FILE, given)
    with kind.locked(cluster):
        with _timed(seconds, "cluster"):
            found = kind.ready(cluster, settings.serving.port, print)
        with _timed(seconds, "images"):
            references = images.ready(images.wanted(settings.serving.server), print)
        api = ApiServer(Context(found.context))
        build.clean(api, print)
        lines = overrides_there(settings, references, given)
        require_room(configuration.read(_FILE, lines), inventory.read(Context(found.context)).nodes)
        named = {pod: by_digest(references[image]) for pod, image in _IMAGES.items()}
        site = build.Site(found.context, named, found.url)
        build.run(build.Build(api, site, secrets.token_hex(3), {parameters.VARIABLE: "\n".join(lines)}, print, seconds))
        print(f"executor: {asking.working(api, found.url, settings.rollout.golden_tolerance)}")


def overrides_here(text: str, overrides: Sequence[str]) -> list[str]:
    """Return the overrides of whoever starts a build, as lines of the variable.

    Args:
        text: of the variable.
        overrides: of the command line. One without a value sets null, which a line of the variable has to say.

    Raises:
        InputError: one is no KEY=VALUE, or would be two lines.
    """
    for override in overrides:
        if "\n" in override:
            raise InputError(f"--set {override.splitlines()[0][:80]}: a value that travels to pods has one line")
    lines = [f"{each}null" if each.partition("=")[1:] == ("=", "") else each for each in map(str.strip, overrides)]
    return [*parameters.from_lines(text, parameters.VARIABLE), *lines]


def overrides_there(settings: Settings, references: Mapping[str, str], given: Sequence[str]) -> list[str]:
    """Return the overrides of a build on Kind.

    Args:
        settings: those of the build without them.
        references: by image of `ci/images`, what pods name it by.
        given: the overrides of whoever starts the build, which come last.
    """
    # All of `resources` first: where pipeline.yaml has none of it, a part of one pod's alone would not be enough.
    sizes = f"resources={settings.resources.model_dump_json()}"
    one_place = ["environments={}"] if settings.environments else []  # there is one cluster, with one port for clients
    return [sizes, *kind.overrides(settings.serving.server, references), HISTORY, *one_place, *given]


def by_digest(reference: str) -> str:
    """Return a reference without its tag: only so the scheduler knows which nodes have the image, and prefers them."""
    named, _, digest = reference.partition("@")
    return f"{named.rpartition(':')[0]}@{digest}"


def require_room(settings: Settings, nodes: Sequence[Node]) -> None:
    """Make sure that each pod of a build could run on a node of the cluster, if nothing else ran there.

    Raises:
        StageError: one could not; the message says what it lacks.
    """
    wanted = Wanted.of(settings)
    job = wanted.workers > 1  # one worker tunes in the pod that trains, the last of these
    pods, _ = reported([*wanted.pods()[0 if job else -1 :], wanted.tools()], nodes)
    if misfits := explain.nowhere(pods, nodes):
        raise StageError(f"{'; '.join(misfits)}: lower its resources in pipeline.yaml; nothing was started")


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        seconds[name] = time.monotonic() - began
