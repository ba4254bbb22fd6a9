"""Write the pod that Jenkins runs the training stages in to build/agent.json.

It is ci/agents/training.yaml with resources.training of build/settings.yaml as requests and limits. Where
placement.inventory names an inventory of the cluster, the pod also gets the node affinity that a plan of the training
group gives it, preferred or required as placement.affinity says; a pod that fits nowhere is left to the scheduler.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci.command import parser, run

if TYPE_CHECKING:
    from ci.settings import Settings


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser(__doc__, "agent").parse_args(argv)
    return run(agent)


def agent() -> None:
    """Write the pod."""
    from ci import configuration, workspace
    from ci.pods import agent as pod
    from ci.results.build import AGENT

    settings = configuration.read(workspace.require(workspace.SETTINGS))
    request = settings.resources.training
    training = pod.sized(pod.read(pod.TRAINING), request)
    inventory = settings.placement.inventory
    if inventory is None:
        where = "on any node (no inventory of the cluster is given)"
    else:
        fields, names = advised(settings, training, Path(inventory))
        training = pod.steered(training, fields) if fields else training
        only = "only" if settings.placement.affinity == "required" else "preferably"
        where = (
            f"{only} on {', '.join(names)}" if names else f"on any node (it fits on none of {inventory} as recorded)"
        )
    AGENT.write(training)
    print(f"agent: {request.cpu} CPU, {request.memory}, {where} -> {workspace.AGENT}")


def advised(settings: "Settings", training: Mapping[str, Any], inventory: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the pod fields that a plan of the training group gives the training pod and the nodes they lead to.

    Both are empty if it fits on no node. What the scheduler would check and the plan does not is printed.

    Raises:
        InputError: the inventory is missing or malformed, or placement.affinity cannot be honoured.
        StageError: the plan breaks a constraint.
    """
    from ci.placement import handover, report
    from ci.placement import wanted as tasks
    from ci.placement.inventory import load
    from ci.placement.planning import Question
    from ci.pods import agent as pod

    offer, limit = load(inventory), settings.placement.time_limit
    agent = tasks.template(training, str(pod.TRAINING), tasks.NAMESPACE)
    wanted, _ = tasks.reported(tasks.training(settings, agent), offer.nodes)
    question = Question.of(offer, wanted, ())
    _, solution = question.solve(tasks.PLANNING * limit)
    plan = solution.plan(question.tasks, offer.nodes)
    question.require(plan)
    for each in (*report.named(question), *question.notes):
        print(f"agent: {each}")
    required, left = settings.placement.affinity == "required", limit - solution.seconds
    placed = [task for task in question.tasks if task.name in plan]
    advice = handover.advice(placed, offer.nodes, plan, question.spreads, required=required, time_limit=left)
    group = wanted[-1].group
    return advice.fields.get(group, {}), sorted(advice.sets.get(group, ()))


if __name__ == "__main__":
    sys.exit(main())
