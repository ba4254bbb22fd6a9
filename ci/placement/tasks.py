"""The pods that the pipeline wants to place, as tasks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ci.placement.inventory import Pod, amounts

if TYPE_CHECKING:
    from ci.placement.model import Spread
    from ci.settings import Request, Settings

GROUPS = ("serving", "training")


def planned(settings: Settings, group: str | None = None) -> tuple[Pod, ...]:
    """Return the pods of one group, or of both.

    `serving` is what a rollout needs at its peak: all replicas and the canary beside them. `training` is the agent
    that trains, and the tuning chief with its workers.
    """
    resources, replicas, workers = settings.resources, settings.serving.replicas, settings.placement.tuning_workers
    serving = [_task(f"serving-{index}", "serving", resources.serving, resources.gateway) for index in range(replicas)]
    serving += [_task("canary", "canary", resources.serving, resources.gateway)]
    training = [_task("tuning-chief", "tuning-chief", resources.chief)]
    training += [_task(f"tuning-{index}", "tuning", resources.tuning) for index in range(workers)]
    training += [_task("training", "training", resources.training)]
    return tuple(serving * (group != "training") + training * (group != "serving"))


def spreads(settings: Settings) -> tuple[Spread, ...]:
    """Return the hard limits per node: by default the replicas survive the loss of any one node."""
    from ci.placement.model import Spread

    limit = settings.placement.replicas_per_node or max(1, settings.serving.replicas - 1)
    return (Spread("serving", limit),)


def _task(name: str, group: str, *containers: Request) -> Pod:
    asked = sum((amounts(request.model_dump(), f"resources of {name}") for request in containers), Counter())
    return Pod(name, group, {**asked, "pods": 1})
