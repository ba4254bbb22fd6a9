"""Choose nodes for the pipeline's pods: as few as possible, proven, checked and explained.

Reads build/settings.yaml and an inventory of nodes and running pods; writes build/placement/: plan.json (plan,
objective, bound, gap), explanation.txt, plan.svg, timing.json. Exit code 1 if a task fits nowhere.
"""

import sys
from pathlib import Path

from ci.command import parser, run
from ci.placement.tasks import GROUPS


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "place")
    arguments.add_argument("--inventory", type=Path, help="what `kubectl get nodes,pods -A -o json` printed")
    arguments.add_argument("--group", choices=GROUPS, help="plan only these tasks (all)")
    arguments.add_argument("--explain", action="store_true", help="print the explanation too")
    options = arguments.parse_args(argv)
    return run(lambda: place(options.inventory, options.group, explain=options.explain))


def place(file: Path | None, group: str | None, *, explain: bool) -> None:
    """Plan, check, write the results and print what was decided."""
    from ci import configuration, workspace
    from ci.errors import StageError
    from ci.placement import inventory, report, tasks
    from ci.placement.model import build
    from ci.placement.solver import solve

    settings = configuration.read(workspace.require(workspace.SETTINGS))
    if file is None and settings.placement.inventory is not None:
        file = Path(settings.placement.inventory)
    if file is None:
        print("place: no cluster and no inventory given: using the recorded one with 20 nodes")
    offer = inventory.load(file) if file else inventory.load(inventory.RECORDED, "recorded")
    wanted = tasks.planned(settings, group)
    limits = tasks.spreads(settings)
    problem = build(wanted, offer.nodes, limits)
    solution = solve(problem, settings.placement.time_limit)
    lines = report.write(workspace.PLACEMENT, offer, wanted, limits, problem, solution)
    if explain or solution.unplaced:
        print("\n".join(lines))
    if solution.unplaced:
        raise StageError(f"{len(solution.unplaced)} tasks fit nowhere: see {workspace.PLACEMENT}/explanation.txt")
    print(f"place: {lines[0]} ({solution.seconds:.2f} s) -> {workspace.PLACEMENT}/explanation.txt, plan.svg")


if __name__ == "__main__":
    sys.exit(main())
