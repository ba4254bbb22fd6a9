"""Write the pods of a build as the settings size them: build/agent.json, which trains, and build/tuning-job.json.

They are ci/agents/training.yaml with resources.training of build/settings.yaml, and ci/agents/tuning.yaml with
resources.tuning and tuning.workers. In a build of a pull request, where Jenkins sets CHANGE_ID, the first is
ci/agents/pull-request.yaml instead. With an inventory of the cluster (placement.inventory, or else the cluster of
serving.context) they are planned as `python -m scripts.place --group training` does, and get the node affinity of that
plan. A cluster that is full now leaves them to the scheduler. A pod that fits no node even if nothing else ran there is
told before anything starts: exit code 1, or a warning where placement.full is `default`.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ci.command import command

if TYPE_CHECKING:
    from ci.placement.inventory import Inventory
    from ci.placement.plan import Plan
    from ci.settings import Settings


def agent() -> None:
    """Write the pods."""
    from ci import configuration, workspace
    from ci.parameters import PULL_REQUEST
    from ci.pods import sizing, templates
    from ci.pods.steering import steered
    from ci.results.build import AGENT, TUNING_JOB

    settings = configuration.effective()
    file = templates.PULL_REQUEST if os.environ.get(PULL_REQUEST) else templates.TRAINING
    training, tuning, request = sizing.training(settings, file), sizing.tuning(settings), settings.resources.training
    where = "on any node (no inventory of the cluster is given)"
    if (offer := inventory(settings)) is not None:
        plan = planned(settings, offer)
        fields, sets = plan.advice.fields, plan.advice.sets
        training, tuning = (
            steered(item, fields[group]) if group in fields else item
            for item, group in ((training, "training-agent"), (tuning, "tuning"))
        )
        only = "only" if settings.placement.affinity == "required" else "preferably"
        full = f"on any node (there is no room for all pods of the build in {offer.source} now)"
        where = f"{only} on {', '.join(sorted(sets['training-agent']))}" if sets else full
    AGENT.write(training)
    TUNING_JOB.write(tuning)
    print(f"agent: {request.cpu} CPU, {request.memory}, {where} -> {workspace.AGENT}, {workspace.TUNING_JOB}")


def inventory(settings: "Settings") -> "Inventory | None":
    """Return the nodes of the cluster as a file or the API server has them; None where there is neither."""
    from ci.kube.context import chosen
    from ci.placement import cluster
    from ci.placement.inventory import load

    if settings.placement.inventory is not None:
        return load(Path(settings.placement.inventory))
    context = chosen(None, settings.serving.context)
    return None if context is None else cluster.read(context)


def planned(settings: "Settings", offer: "Inventory") -> "Plan":
    """Return the plan of a build's pods, and print what it does not model.

    Raises:
        InputError: placement.affinity cannot be honoured.
        StageError: a pod could run nowhere, or the plan breaks a constraint.
    """
    from ci.errors import StageError
    from ci.placement import explain, plan, report
    from ci.placement.planning import Demand
    from ci.placement.wanted import Build, reported

    build = Build.of(settings)
    pods, _ = reported([*build.pods(), build.tools()], offer.nodes)
    if misfits := explain.nowhere(pods, offer.nodes):
        said = f"{'; '.join(misfits)}: lower its resources in pipeline.yaml, or add such a node"
        if settings.placement.full == "fail":
            raise StageError(said)
        print(f"agent: warning: {said}")
    made = plan.make(Demand(build), settings, "training", lambda: offer)
    for each in (*made.said, *report.named(made.question), *made.question.notes):
        print(f"agent: {each}")
    return made


main = command(__doc__, agent)

if __name__ == "__main__":
    sys.exit(main())
