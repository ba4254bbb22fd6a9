"""The pods that the pipeline wants to place, as tasks."""

from __future__ import annotations

import functools
import json
import math
import operator
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ci.errors import InputError
from ci.placement.amounts import amounts, an_object
from ci.placement.inventory import COMPONENT, Inventory, Node, Pod, pod
from ci.placement.peers import HOST, REVISION
from ci.placement.selectors import Selector, matches, selector, texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ci.placement.model import Spread
    from ci.settings import Request, Settings

GROUPS = ("serving", "training")
PLANNING = 0.7
"""Share of the time limit that the solver gets at most; the rest is for trying the hand-over."""
PLATFORM = ["linux", "amd64"]
"""What the images are for; nodes of another platform cannot run them, whatever room they have."""
PIPELINE = {"app.kubernetes.io/part-of": "model-pipeline"}
"""Label of the pods that builds run in."""
NAMESPACE = "model-pipeline"
"""Where builds run."""
_REPORTED = ("pods", "ephemeral-storage")
_MOST = 1000
"""Pods of one kind at most."""
_SURGE = "25%"
"""What Kubernetes takes for `maxSurge` where a Deployment does not say."""


@dataclass(frozen=True)
class Template:
    """A pod that will be created: where it is written, its namespace (empty if unknown), labels and specification."""

    where: str
    namespace: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]

    def task(self, name: str, revision: str) -> Pod:
        """Return it as a task; pods of one revision share their pod template's hash."""
        labels = {**self.labels, REVISION: revision}
        found = pod(name, self.labels[COMPONENT], self.spec, self.where, namespace=self.namespace, labels=labels)
        return replace(found, rules=_ruled(json.loads(found.rules), [each.key for each in found.peers.even], self.spec))


@dataclass(frozen=True)
class Server:
    """What a rollout applies: pods of stable and canary, the pods that they replace, and how stable rolls.

    Attributes:
        stable: its pod.
        canary: its pod.
        canaries: how many canaries there are.
        selects: which pods belong to the Deployments of stable and canary.
        surge: pods that stable may have beyond its replicas while it rolls; a number or a percentage.
    """

    stable: Template
    canary: Template
    canaries: int
    selects: tuple[Selector, Selector]
    surge: int | str

    def owns(self, found: Pod) -> bool:
        """Return whether a pod that runs belongs to a release, and leaves when it is replaced."""
        mine = any(wanted and matches(wanted, found.labels) for wanted in self.selects)
        return mine and found.namespace == self.stable.namespace

    def rolling(self, offer: Inventory) -> list[Pod]:
        """Return the pods of stable that run: those that one after another give way to new ones."""
        every = [pod for node in offer.nodes for pod in node.running if self.owns(pod)]
        return [pod for pod in every if matches(self.selects[0], pod.labels)]

    def replicas(self, least: int, offer: Inventory) -> int:
        """Return how many pods stable has: those that run, to which its autoscaler may have added, or `least`."""
        return max(least, sum(not pod.ending for pod in self.rolling(offer)))


def template(item: object, where: str, namespace: str = "") -> Template:
    """Return the pod of an object: a Pod, or what has a pod's template such as a Deployment.

    Raises:
        InputError: it is neither, or its pods have no group.
    """
    whole = an_object(item, where)
    spec = an_object(whole.get("spec"), f"{where}: spec")
    metadata = an_object(whole.get("metadata"), f"{where}: metadata")
    if "template" in spec:
        inner = an_object(spec["template"], f"{where}: spec.template")
        labels = an_object(inner.get("metadata"), f"{where}: spec.template.metadata").get("labels")
        where, spec = f"{where}: spec.template.spec", an_object(inner.get("spec"), f"{where}: spec.template.spec")
    else:
        labels, where = metadata.get("labels"), f"{where}: spec"
    found = texts(labels, f"{where}: labels")
    if not spec.get("containers") or COMPONENT not in found:
        raise InputError(f"{where}: expected a pod with containers, and with the label {COMPONENT}")
    return Template(where, str(metadata.get("namespace") or namespace), found, spec)


def server(stable: Mapping[str, Any], canary: Mapping[str, Any], where: str) -> Server:
    """Return what a rollout applies, from its Deployments.

    Raises:
        InputError: one of them is no Deployment.
    """
    spec = an_object(stable.get("spec"), where)
    strategy = an_object(spec.get("strategy"), f"{where}: strategy")
    rolling = an_object(strategy.get("rollingUpdate"), f"{where}: strategy.rollingUpdate")
    canaries = an_object(canary.get("spec"), where).get("replicas", 1)
    if type(canaries) is not int or not 0 <= canaries <= _MOST:
        raise InputError(f"{where}: canary: replicas: expected a number up to {_MOST}, found {canaries!r}")
    surge = 0 if strategy.get("type") == "Recreate" else rolling.get("maxSurge", _SURGE)
    selects = [selector(an_object(each.get("spec"), where).get("selector"), f"{where}: selector") or ()
               for each in (stable, canary)]  # fmt: skip
    return Server(
        template(stable, f"{where}: stable"),
        template(canary, f"{where}: canary"),
        canaries,
        (selects[0], selects[1]),
        surge,
    )


def planned(settings: Settings, group: str | None, serving: Server, agent: Template, offer: Inventory) -> list[Pod]:
    """Return the pods of one group, or of both.

    `serving` is what a rollout has at its peak. The first one has all replicas beside the canary. A later one has the
    canary, and beside it stable rolls: all replicas, and for each pod of the surge one of the old ones that is still
    there, as large as it is. `training` is the agent that trains, and the tuning chief with its workers.

    Args:
        settings: sizes and numbers.
        group: `serving`, `training`, or None for both.
        serving: what a rollout applies.
        agent: the pod that trains.
        offer: the cluster as it is, with the release that runs.

    Raises:
        InputError: a pod is none that Kubernetes would accept.
    """
    found: list[Pod] = []
    if group != "training":
        replicas = serving.replicas(settings.serving.replicas, offer)
        old = [each.requests for each in serving.rolling(offer)]
        most = dict(functools.reduce(operator.or_, map(Counter, old), Counter[str]()))
        found += _copies(serving.stable, "new", [f"serving-{index}" for index in range(replicas)])
        found += _copies(serving.canary, "canary", _numbered("canary", serving.canaries))
        surge = _copies(serving.stable, "old", _numbered("surge", _surge(serving, replicas) if old else 0))
        found += [replace(task, requests=most) for task in surge]
    return found if group == "serving" else [*found, *training(settings, agent)]


def training(settings: Settings, agent: Template) -> list[Pod]:
    """Return the pods of a build: the tuning chief with its workers, and last the agent that trains."""
    resources, workers = settings.resources, range(settings.placement.tuning_workers)
    return [
        _task("tuning-chief", "tuning-chief", resources.chief),
        *[_task(f"tuning-{index}", "tuning", resources.tuning) for index in workers],
        agent.task("training", "agent"),
    ]


def beginning(tasks: Sequence[Pod], serving: Server) -> list[Pod]:
    """Return those of the tasks that must find room while the whole old release still runs: the first new pods."""
    surge = [task.name for task in tasks if task.labels.get(REVISION) == "old"]
    canaries = [task for task in tasks if task.labels.get(REVISION) == "canary"]
    return [*canaries, *_copies(serving.stable, "new", surge)] if surge else []


def staying(offer: Inventory, serving: Server) -> Inventory:
    """Return the cluster without the pods of the release that runs: a rollout replaces them."""
    nodes = [node.without(serving.owns) if any(map(serving.owns, node.running)) else node for node in offer.nodes]
    return replace(offer, nodes=tuple(nodes))


def reported(tasks: Sequence[Pod], nodes: Sequence[Node]) -> tuple[tuple[Pod, ...], list[str]]:
    """Return the tasks without requests for what every kubelet reports and no node here has, and what that is.

    An inventory that was written by hand often leaves it out, and says nothing about it by that.
    """
    absent = [name for name in _REPORTED if nodes and not any(name in node.allocatable for node in nodes)]
    kept = [{name: amount for name, amount in task.requests.items() if name not in absent} for task in tasks]
    return tuple(replace(task, requests=requests) for task, requests in zip(tasks, kept, strict=True)), absent


def spreads(settings: Settings, tasks: Sequence[Pod]) -> tuple[Spread, ...]:
    """Return the hard limits per node: by default the replicas survive the loss of any one node.

    Pods of another revision than the new one do not count: the canary, and old ones that are still there.
    """
    from ci.placement.model import Spread

    new = [task for task in tasks if task.labels.get(REVISION) == "new"]
    besides = frozenset(task.name for task in tasks if task.labels.get(REVISION) in ("canary", "old"))
    limit = settings.placement.replicas_per_node or max(1, len(new) - 1)
    return tuple(Spread(group, limit, besides=besides) for group in dict.fromkeys(task.group for task in new))


def unmodelled(tasks: Sequence[Pod]) -> tuple[str, ...]:
    """Return what the scheduler would check of the tasks' pods and no plan does, each with whom it is about."""
    found = Counter((what, task.group) for task in tasks for what in task.peers.unmodelled)
    return tuple(f"{what} of {group}" for what, group in found)


def assumed(tasks: Sequence[Pod]) -> tuple[str, ...]:
    """Return in sentences what is taken for granted of the tasks' pods, because an inventory does not tell it."""
    volumes = dict.fromkeys((name, task.group) for task in tasks for name in task.peers.volumes)
    return tuple(f"assumed: the volume {name} of {group} can be mounted on every node" for name, group in volumes)


def _copies(of: Template, revision: str, names: Sequence[str]) -> Iterator[Pod]:
    first = of.task(names[0], revision) if names else None
    return (replace(first, name=name) for name in names if first)


def _numbered(name: str, count: int) -> list[str]:
    return [name, *(f"{name}-{index}" for index in range(1, count))][:count]


def _surge(serving: Server, replicas: int) -> int:
    """Return how many pods more than its replicas stable may have: a percentage is rounded up."""
    if isinstance(surge := serving.surge, str) and re.fullmatch(r"\d{1,4}%", surge, re.ASCII):
        surge = math.ceil(replicas * min(int(surge[:-1]), 100) / 100)
    if type(surge) is not int or not 0 <= surge <= _MOST:
        what = f"expected a number of pods up to {_MOST}, or a percentage"
        raise InputError(f"{serving.stable.where}: strategy.rollingUpdate.maxSurge: {what}, found {surge!r}")
    return surge


def _task(name: str, group: str, request: Request) -> Pod:
    asked = {**amounts(request.model_dump(), f"resources of {name}"), "pods": 1}
    return Pod(name, group, asked, _ruled({}, [], {}), labels={**PIPELINE, COMPONENT: group})


def _ruled(rules: dict[str, Any], keys: Sequence[str], spec: Mapping[str, Any]) -> str:
    """Return a pod's rules with what its image and its spread over nodes need; where it names a node, only that."""
    rules |= {"platform": PLATFORM, "labels": sorted({HOST, *keys})}
    if name := spec.get("nodeName"):
        only = {"key": "metadata.name", "operator": "In", "values": [str(name)]}
        terms = rules.get("terms") or [{}]
        rules["terms"] = [{**term, "matchFields": [*(term.get("matchFields") or ()), only]} for term in terms]
    return json.dumps(rules, sort_keys=True)
