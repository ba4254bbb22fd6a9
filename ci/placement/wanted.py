"""The pods that the pipeline will create, and so wants to place: those of a rollout and those of a build."""

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
from ci.placement.inventory import Inventory, Node, Pod, pod
from ci.placement.peers import HOST, REVISION
from ci.placement.selectors import Selector, matches, selector
from ci.pods import sizing, templates
from ci.pods.objects import an_object
from ci.pods.templates import Template, template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ci.placement.model import Spread
    from ci.settings import Settings

PLATFORM = ["linux", "amd64"]
"""What the images are for; nodes of another platform cannot run them, whatever room they have."""
_REPORTED = ("pods", "ephemeral-storage")
_MOST = 1000
"""Pods of one kind at most."""
_SURGE = "25%"
"""What Kubernetes takes for `maxSurge` where a Deployment does not say."""


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


@dataclass(frozen=True)
class Build:
    """The pods of a build.

    Attributes:
        training: the agent that trains.
        tuning: one pod of the tuning Job.
        workers: how many of those there are.
        light: the agent of all other stages, which is not planned: it fits beside what is.
    """

    training: Template
    tuning: Template
    workers: int
    light: Template

    @classmethod
    def of(cls, settings: Settings) -> Build:
        """Return the pods of a build with these settings, from their templates."""
        trains, tunes = sizing.training(settings), sizing.tuning(settings)
        return cls(
            template(trains, str(templates.TRAINING), templates.NAMESPACE),
            template(tunes, str(templates.TUNING), templates.NAMESPACE),
            settings.tuning.workers,
            template(templates.read(templates.TOOLS), str(templates.TOOLS), templates.NAMESPACE),
        )

    def pods(self) -> list[Pod]:
        """Return the pods of the tuning Job, and last the agent that trains."""
        names = [f"tuning-{index}" for index in range(self.workers)]
        return [*_copies(self.tuning, "job", names), _pod(self.training, "training", "agent")]

    def tools(self) -> Pod:
        """Return the agent of all other stages."""
        return _pod(self.light, "tools", "agent")


def rolled_out(settings: Settings, serving: Server, offer: Inventory) -> list[Pod]:
    """Return what a rollout has at its peak.

    The first one has all replicas beside the canary. A later one has the canary, and beside it stable rolls: all
    replicas, and for each pod of the surge one of the old ones that is still there, as large as it is.

    Args:
        settings: the number of replicas.
        serving: what a rollout applies.
        offer: the cluster as it is, with the release that runs.

    Raises:
        InputError: Kubernetes would refuse a pod.
    """
    replicas = serving.replicas(settings.serving.replicas, offer)
    old = [each.requests for each in serving.rolling(offer)]
    most = dict(functools.reduce(operator.or_, map(Counter, old), Counter[str]()))
    surge = _copies(serving.stable, "old", _numbered("surge", _surge(serving, replicas) if old else 0))
    return [
        *_copies(serving.stable, "new", [f"serving-{index}" for index in range(replicas)]),
        *_copies(serving.canary, "canary", _numbered("canary", serving.canaries)),
        *(replace(each, requests=most) for each in surge),
    ]


def beginning(pods: Sequence[Pod], serving: Server) -> list[Pod]:
    """Return those of the pods that must find room while the whole old release still runs: the first new pods."""
    surge = [pod.name for pod in pods if pod.labels.get(REVISION) == "old"]
    canaries = [pod for pod in pods if pod.labels.get(REVISION) == "canary"]
    return [*canaries, *_copies(serving.stable, "new", surge)] if surge else []


def staying(offer: Inventory, serving: Server) -> Inventory:
    """Return the cluster without the pods of the release that runs: a rollout replaces them."""
    nodes = [node.without(serving.owns) if any(map(serving.owns, node.running)) else node for node in offer.nodes]
    return replace(offer, nodes=tuple(nodes))


def reported(pods: Sequence[Pod], nodes: Sequence[Node]) -> tuple[tuple[Pod, ...], list[str]]:
    """Return the pods without requests for what every kubelet reports and no node here has, and what that is.

    An inventory that was written by hand often leaves it out, and says nothing about it by that.
    """
    absent = [name for name in _REPORTED if nodes and not any(name in node.allocatable for node in nodes)]
    kept = [{name: amount for name, amount in pod.requests.items() if name not in absent} for pod in pods]
    return tuple(replace(pod, requests=requests) for pod, requests in zip(pods, kept, strict=True)), absent


def spreads(settings: Settings, pods: Sequence[Pod]) -> tuple[Spread, ...]:
    """Return the hard limits per node: by default the replicas survive the loss of any one node.

    Pods of another revision than the new one do not count: the canary, and old ones that are still there.
    """
    from ci.placement.model import Spread

    new = [pod for pod in pods if pod.labels.get(REVISION) == "new"]
    besides = frozenset(pod.name for pod in pods if pod.labels.get(REVISION) in ("canary", "old"))
    limit = settings.placement.replicas_per_node or max(1, len(new) - 1)
    return tuple(Spread(group, limit, besides=besides) for group in dict.fromkeys(pod.group for pod in new))


def unmodelled(pods: Sequence[Pod]) -> tuple[str, ...]:
    """Return what the scheduler would check of the pods and no plan does, each with whom it is about."""
    found = Counter((what, pod.group) for pod in pods for what in pod.peers.unmodelled)
    return tuple(f"{what} of {group}" for what, group in found)


def assumed(pods: Sequence[Pod]) -> tuple[str, ...]:
    """Return in sentences what is taken for granted of the pods, because an inventory does not tell it."""
    volumes = dict.fromkeys((name, pod.group) for pod in pods for name in pod.peers.volumes)
    return tuple(f"assumed: the volume {name} of {group} can be mounted on every node" for name, group in volumes)


def _copies(of: Template, revision: str, names: Sequence[str]) -> Iterator[Pod]:
    first = _pod(of, names[0], revision) if names else None
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


def _pod(of: Template, name: str, revision: str) -> Pod:
    """Return a pod of a template; pods of one revision share their pod template's hash."""
    labels = {**of.labels, REVISION: revision}
    found = pod(name, of.group, of.spec, of.where, namespace=of.namespace, labels=labels)
    return replace(found, rules=_ruled(json.loads(found.rules), [each.key for each in found.peers.even], of.spec))


def _ruled(rules: dict[str, Any], keys: Sequence[str], spec: Mapping[str, Any]) -> str:
    """Return a pod's rules with what its image and its spread over nodes need; where it names a node, only that."""
    rules |= {"platform": PLATFORM, "labels": sorted({HOST, *keys})}
    if name := spec.get("nodeName"):
        only = {"key": "metadata.name", "operator": "In", "values": [str(name)]}
        terms = rules.get("terms") or [{}]
        rules["terms"] = [{**term, "matchFields": [*(term.get("matchFields") or ()), only]} for term in terms]
    return json.dumps(rules, sort_keys=True)
