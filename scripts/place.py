"""Choose nodes for the pipeline's pods: as few as possible, proven, checked and explained.

Reads build/settings.yaml and an inventory of nodes and running pods; writes build/placement/: plan.json (plan,
objective, bound, gap), handover.json (what each group's pods get), explanation.txt, plan.svg, timing.json. Exit code 1
if a task fits nowhere, unless placement.full is `default`.
"""

import sys
from pathlib import Path

from ci.command import parser, run
from ci.placement.tasks import GROUPS


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "place")
    source = arguments.add_mutually_exclusive_group()
    source.add_argument("--inventory", type=Path, help="what `kubectl get nodes,pods -A -o json` printed")
    source.add_argument("--context", help="read the cluster of this kubeconfig context (`-`: the current one)")
    arguments.add_argument("--group", choices=GROUPS, help="plan only these tasks (all)")
    arguments.add_argument("--explain", action="store_true", help="print the explanation too")
    arguments.add_argument("--dry-run", action="store_true", help="print what would be planned, write nothing")
    options = arguments.parse_args(argv)
    return run(
        lambda: place(
            options.inventory, options.context, options.group, explain=options.explain, dry_run=options.dry_run
        )
    )


def place(file: Path | None, context: str | None, group: str | None, *, explain: bool, dry_run: bool) -> None:
    """Plan, check, write the results and print what was decided."""
    from ci import configuration, workspace
    from ci.errors import StageError
    from ci.placement import cluster, inventory, report, tasks
    from ci.placement.model import build
    from ci.placement.solver import solve

    settings = configuration.read(workspace.require(workspace.SETTINGS))
    if file is None and context is None and settings.placement.inventory is not None:
        file = Path(settings.placement.inventory)
    if context is not None:
        offer = cluster.read(None if context == "-" else context)
    elif file is not None:
        offer = inventory.load(file)
    else:
        print("place: no cluster and no inventory given: using the recorded one with 20 nodes")
        offer = inventory.load(inventory.RECORDED, "recorded")
    wanted, limits = tasks.planned(settings, group), tasks.spreads(settings)
    problem = build(wanted, offer.nodes, limits)
    solution = solve(problem, settings.placement.time_limit)
    folder = None if dry_run else workspace.PLACEMENT
    required = settings.placement.affinity == "required"
    lines = report.write(folder, offer, wanted, limits, problem, solution, required=required)
    if explain or dry_run or solution.unplaced:
        print("\n".join(lines))
    where = "nothing written" if dry_run else f"{folder}/explanation.txt, plan.svg"
    if solution.unplaced and settings.placement.full == "fail":
        raise StageError(f"{len(solution.unplaced)} tasks fit nowhere: {where}")
    if solution.unplaced:
        print("place: warning: the cluster is full, so all pods are left to the scheduler's default")
    print(f"place: {lines[0]} ({solution.seconds:.2f} s) -> {where}")


if __name__ == "__main__":
    sys.exit(main())
