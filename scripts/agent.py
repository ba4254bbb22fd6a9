"""Write the pod that Jenkins runs the training stages in to build/agent.json.

It is ci/agents/training.yaml with resources.training of build/settings.yaml as requests and limits. Where
placement.inventory names an inventory of the cluster, the pod also prefers the node that a plan of the training group
gives it; the plan is advice, so a pod that fits nowhere in it is left to the scheduler.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

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
    from ci.agents import pod

    settings = configuration.read(workspace.require(workspace.SETTINGS))
    request = settings.resources.training
    training = pod.sized(pod.read(pod.TRAINING), request)
    inventory = settings.placement.inventory
    if inventory is None:
        where = "on any node (no inventory of the cluster is given)"
    elif node := planned_node(settings, Path(inventory)):
        training = pod.steered(training, node)
        where = f"preferably on {node}"
    else:
        where = f"on any node (it fits on none of {inventory} as they were recorded)"
    workspace.write_json(workspace.AGENT, training)
    print(f"agent: {request.cpu} CPU, {request.memory}, {where} -> {workspace.AGENT}")


def planned_node(settings: "Settings", inventory: Path) -> str | None:
    """Return the node that a plan of the training group gives the training pod, None if it fits on none.

    Raises:
        InputError: the inventory is missing or malformed.
    """
    from ci.placement import tasks
    from ci.placement.inventory import load
    from ci.placement.model import build
    from ci.placement.solver import solve

    nodes = load(inventory).nodes
    wanted = tasks.planned(settings, "training")
    solution = solve(build(wanted, nodes), settings.placement.time_limit)
    chosen = solution.node_of[[task.name for task in wanted].index("training")]
    return nodes[chosen].name if chosen >= 0 else None


if __name__ == "__main__":
    sys.exit(main())
