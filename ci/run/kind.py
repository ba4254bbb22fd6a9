"""A cluster of Kind for `make ci`: made once, reused afterwards, deleted by `make cluster-delete`.

How the parts are called, in this order:

    with kind.locked(name):                                    # one user of a cluster at a time
        cluster = kind.ready(name, settings.serving.port, print)             # made, mended or reused
        found = images.ready(images.wanted(server), print)                   # what pods name: `pipeline`, `tools`, …
        overrides = kind.overrides(server, found)                            # settings of a build on Kind
    kind.delete(name, print)

A cluster is ours if its control plane has the label of ci/kind/cluster.yaml. Any other of that name is refused. What an
operator applies once is applied here: ci/kind, which is ci/jenkins with Kind's volume, and k8s/overlays/kind.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci import reading_yaml
from ci.errors import InputError, StageError
from ci.run import checks, clusters, local_registry, state
from ci.run.programs import attempt, last_words, output

NAME = "model-pipeline"
"""The cluster's name where none is given."""
CONFIG = Path("ci/kind/cluster.yaml")
APPLIED = (Path("ci/kind"), Path("k8s/overlays/kind"))
"""What an operator applies, in this order."""
LABELS = {
    "training": "model-pipeline/training",
    "tuning": "model-pipeline/training",
    "serving": "model-pipeline/serving",
}
"""By kind of pod, the label of ci/kind/cluster.yaml that its nodes have."""
_CREATING, _READY = 900.0, 180.0
"""Longest waits for `kind create`, and for nodes; seconds."""
_PREFIX = "kind-"
"""What Kind puts before a cluster's name in the kubeconfig."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Cluster:
    """A cluster that is ready."""

    name: str
    port: int
    """On this machine, leads to the Service `model`."""

    @property
    def context(self) -> str:
        """Its context in the kubeconfig."""
        return f"{_PREFIX}{self.name}"

    @property
    def url(self) -> str:
        """Where clients on this machine reach the model."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Keep every other user of a cluster out while the block runs (see `state.locked`).

    Raises:
        InputError: the name is none.
        StageError: somebody else has it.
    """
    clusters.require_name(name)
    with state.locked(name):
        yield


def ready(name: str, port: int, say: Say, *, again: bool = False) -> Cluster:
    """Return the cluster once it is ready, with the registry: made, finished, or as it was.

    Args:
        name: the cluster's.
        port: on this machine, to lead to the model, if the cluster is made now.
        say: takes a line for people.
        again: apply what operators apply even if nothing of it has changed.

    Raises:
        InputError: the name is none, or belongs to a cluster that is not ours, or what that records is damaged, or the
            port is taken.
        StageError: Docker, Kind or the cluster fails; the message has its words.
    """
    clusters.require_name(name)
    documents = [output("kubectl", "kustomize", str(path)) for path in APPLIED]
    digest = hashlib.sha256("\0".join([*documents, local_registry.HOSTS]).encode()).hexdigest()
    config = _config(port)
    seen = clusters.look(name)
    step = clusters.decide(seen, len(config["nodes"]), digest)
    _require_ours(name, step)
    clusters.require_sound(name, seen)
    if step == "remake":
        say(f"cluster: {name} was half made, and is made again")
        _delete(name)
    if step in ("create", "remake"):
        checks.require([checks.port(port)])
        local_registry.start(say)
        _create(name, config, say)
        seen = clusters.look(name)
    else:
        local_registry.start(say)
    _wait(name, seen)
    if step != "nothing" or again:
        _equip(name, documents, {"port": str(seen.port or port), "applied": digest})
        say(f"cluster: {name} is ready: {len(seen.nodes)} nodes, context kind-{name}")
    else:
        local_registry.join()
    clusters.note(name).write("made")
    return Cluster(name, seen.port or port)


def overrides(server: str, references: Mapping[str, str]) -> list[str]:
    """Return the settings, `KEY=VALUE` each, of a build whose stages run in pods of a cluster of Kind.

    Args:
        server: `serving.server` of the settings.
        references: what `ci.run.images.ready` returned.
    """
    inside = {name: said.replace(local_registry.HOST, local_registry.INSIDE, 1) for name, said in references.items()}
    return [
        *(f'resources.{pod}.node_labels={{{label}: "true"}}' for pod, label in LABELS.items()),
        "resources.serving.cpu=500m",  # so that all replicas, a canary and one more fit on two nodes of 2 CPU
        'serving.context="-"',
        "serving.overlay=kind",
        f"packaging.repository={local_registry.INSIDE}/models",
        f"packaging.plain_http=[{local_registry.INSIDE}]",
        f"packaging.base={inside['stand-in'] if server == 'stand-in' else 'serving'}",
    ]


def address(context: str) -> str | None:
    """Return where clients on this machine reach the model of a cluster of ours; None if it is another's.

    Args:
        context: its name in the kubeconfig.

    Raises:
        InputError: what the cluster records is damaged.
        StageError: Kind has no such cluster any more.
    """
    name = context.removeprefix(_PREFIX)
    if name == context or checks.kind().wrong:
        return None
    seen = clusters.look(name, patience=0)
    if not seen.listed:
        raise StageError(f"there is no cluster {name} any more: `make ci` makes it, and serves from it again")
    if not seen.marked:
        return None
    clusters.require_sound(name, seen)
    return Cluster(name, seen.port).url if seen.port else None


def delete(name: str, say: Say) -> None:
    """Delete the cluster if it is ours, and the registry, so that nothing of ours runs.

    Raises:
        InputError: the cluster is not ours.
        StageError: whose it is cannot be seen, or Docker or Kind fails.
    """
    clusters.require_name(name)
    seen = clusters.look(name, patience=0)
    if seen.listed:
        ours = seen.marked if seen.answers else bool(seen.noted)
        _require_ours(name, "nothing" if ours else "refuse" if seen.answers else "silent")
        _delete(name)
        say(f"cluster: {name} deleted; {state.folder() / 'volume'} keeps what its DVC remote held")
    else:
        say(f"cluster: there is no cluster {name}")
    clusters.note(name).remove()
    if others := [other for other in clusters.listed() if clusters.note(other).text()]:
        say(f"cluster: the registry stays for {', '.join(others)}")
    else:
        local_registry.remove(say)


def status(name: str) -> list[str]:
    """Return in lines what there is."""
    clusters.require_name(name)
    seen = clusters.look(name, patience=0)
    if not seen.listed:
        lines = [f"there is no cluster {name}"]
    elif not seen.answers:
        lines = [f"{name}: its API server does not answer"]
    elif not seen.marked:
        lines = [f"{name} was not made by this pipeline, and is not touched"]
    else:
        clusters.require_sound(name, seen)
        bad = [f"{node} is not ready: {why}" for node, why in seen.nodes.items() if why]
        missing = "what operators apply is missing: make cluster"
        leads = f"http://127.0.0.1:{seen.port} leads to the model" if seen.port else missing
        lines = [f"{name}: {len(seen.nodes)} nodes, context kind-{name}, {leads}", *bad]
    how = f"runs on {local_registry.HOST}" if local_registry.running() else "does not run"
    return [*lines, f"registry {local_registry.NAME} {how}"]


def _require_ours(name: str, step: clusters.Step) -> None:
    if step == "refuse":
        raise InputError(
            f"the cluster {name} was not made by this pipeline (no node has the label {clusters.MARK}), so it is not "
            f"touched: use another, as in `make ci CLUSTER={NAME}-2`, or delete it: `kind delete cluster --name {name}`"
        )
    if step == "silent":
        raise StageError(
            f"the API server of cluster {name} does not answer: start its nodes, by `docker start $(kind get nodes "
            f"--name {name})`, or delete it by `kind delete cluster --name {name}`; then run this again"
        )


def _config(port: int) -> dict[str, Any]:
    """Return the configuration for Kind: that of the repository, with this machine's port and folder."""
    config = reading_yaml.read(CONFIG)
    for node in config["nodes"]:
        for mapping in node.get("extraPortMappings", ()):
            mapping["hostPort"] = port
        for mount in node.get("extraMounts", ()):
            mount["hostPath"] = str(state.volume())
    return dict(config)


def _create(name: str, config: Mapping[str, Any], say: Say) -> None:
    say(f"cluster: making {name} of {len(config['nodes'])} nodes")
    clusters.note(name).write("begun")
    command = ("kind", "create", "cluster", "--name", name, "--config", "-", "--wait", "120s")
    done = clusters.keep_context(lambda: attempt(*command, given=json.dumps(config), timeout=_CREATING))
    if done.returncode:
        if name not in clusters.listed():
            clusters.note(name).remove()
        raise StageError(f"kind could not make the cluster {name}: {last_words(done)}; `make doctor` looks for causes")


def _delete(name: str) -> None:
    output("kind", "delete", "cluster", "--name", name, timeout=300)


def _wait(name: str, seen: clusters.Seen) -> None:
    """Wait until every node is ready.

    Raises:
        StageError: some never are; the message says why.
    """
    end = time.monotonic() + _READY
    while waiting := {node: why for node, why in seen.nodes.items() if why}:
        if time.monotonic() >= end:
            why = "; ".join(f"{node}: {said}" for node, said in waiting.items())
            raise StageError(f"nodes of cluster {name} are not ready after {_READY:g} s: {why}")
        time.sleep(1)
        seen = clusters.look(name)


def _equip(name: str, documents: Sequence[str], record: Mapping[str, str]) -> None:
    """Connect the registry, apply what operators apply, and record that."""
    local_registry.connect(output("kind", "get", "nodes", "--name", name).split(), f"kind-{name}")
    written = {"apiVersion": "v1", "kind": "ConfigMap", "data": dict(record)}
    written["metadata"] = {"name": clusters.RECORD, "namespace": "kube-system"}
    apply = ("kubectl", "--context", f"kind-{name}", "apply", "--server-side", "--force-conflicts", "-f", "-")
    for document in (*documents, json.dumps(written)):
        output(*apply, given=document, timeout=120)
