"""Choose nodes for the pipeline's pods: as few as possible, proven, checked and explained.

Reads build/settings.yaml and an inventory of nodes and running pods; writes build/placement/: plan.json (plan,
objective, bound, gap), handover.json (what each group's pods get), explanation.json and .txt, plan.svg, timing.json.
The pods are those that a rollout applies (k8s/overlays/OVERLAY/server as kubectl renders it) and a build's; the release
that runs leaves. What the scheduler checks and the plan does not is named, and then no other plan is spoken of.
A cluster is read again when the plan is ready, and planned again if it no longer fits. With --compare nothing is
planned: it says which pods are not on the nodes that plan.json has for their group, and writes actual.json. With
--verify the bound is proven again from the certificate in plan.json and, with an inventory or a context, the plan
checked against the nodes as they are there before it is applied. Exit code 1 if a pod fits nowhere, unless
placement.full is `default`, and if what is verified does not hold.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ci.command import environment, parser, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from ci.placement.inventory import Inventory
    from ci.placement.packing.incumbent import Watch
    from ci.placement.plan import Plan
    from ci.placement.planning import Demand
    from ci.settings import Settings

ENDING = 30.0
"""Longest wait for pods that are being deleted to give their room back; seconds."""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "place")
    source = arguments.add_mutually_exclusive_group()
    source.add_argument("--inventory", type=Path, help="what `kubectl get nodes,pods -A -o json` printed")
    source.add_argument("--context", help="read the cluster of this kubeconfig context (`-`: the current one)")
    arguments.add_argument("--group", choices=["serving", "training"], help="plan only these pods (all)")
    arguments.add_argument("--explain", action="store_true", help="print the explanation too")
    arguments.add_argument("--verify", action="store_true", help="check the certificate of the last plan again")
    arguments.add_argument("--compare", action="store_true", help="compare the last plan with where pods are now")
    arguments.add_argument("--dry-run", action="store_true", help="print what would be planned, write nothing")
    environment(arguments)
    options = arguments.parse_args(argv)
    where = (options.inventory, options.context, options.environment)
    if options.verify:
        return run(lambda: verify(*where))
    if options.compare:
        return run(lambda: compare(*where, dry_run=options.dry_run))
    return run(lambda: place(*where, options.group, explain=options.explain, dry_run=options.dry_run))


def read(file: Path | None, context: str | None, settings: "Settings") -> "Inventory":
    """Return the inventory of a cluster, of a file, of the settings' file, or else the example."""
    from ci.kube.context import chosen
    from ci.placement import cluster, inventory

    if found := chosen(context, None):
        return cluster.read(found)
    if file is None and settings.placement.inventory is None:
        return inventory.load(inventory.EXAMPLE, "example")
    return inventory.load(file or Path(str(settings.placement.inventory)))


def demand(settings: "Settings") -> "Demand":
    """Return the pods that a rollout applies, and those of a build."""
    from ci.placement import wanted
    from ci.placement.planning import Demand
    from ci.rollout.cluster import manifests

    (stable, canary), unread = manifests.applied(settings)
    serving = wanted.server(stable, canary, f"k8s/overlays/{settings.serving.overlay}/server")
    return Demand(wanted.Build.of(settings), serving, unread)


def place(
    file: Path | None, context: str | None, named: str | None, group: str | None, *, explain: bool, dry_run: bool
) -> None:
    """Plan, check, write the results and print what was decided."""
    from ci import configuration, workspace
    from ci.errors import StageError
    from ci.placement import report
    from ci.placement.amounts import counted

    settings = configuration.effective(named)
    if file is None and settings.placement.inventory is None:
        context = context or settings.serving.context
    made, stuck = planned(settings, group, lambda: read(file, context, settings), live=context is not None)
    if made.offer.source == "example":
        print("place: no cluster and no inventory given: using the example of 20 nodes")
    for each in made.said:
        print(f"place: {each}")
    folder, solution = None if dry_run else workspace.PLACEMENT, made.solution
    lines = report.write(
        folder, made, required=settings.placement.affinity == "required", environment=settings.environment
    )
    if explain or dry_run or solution.unplaced:
        print("\n".join(lines))
    else:
        for each in (*report.named(made.question), *made.question.notes):
            print(f"place: {each}")
    where = "nothing written" if dry_run else f"{folder}/explanation.txt, plan.svg"
    if solution.unplaced and settings.placement.full == "fail":
        raise StageError(f"no room for {counted(len(solution.unplaced), 'pod')}: {where}")
    if solution.unplaced:
        print("place: warning: the cluster is full, so all pods are left to the scheduler's default")
    elif stuck:
        print("\n".join(stuck))
        if settings.placement.full == "fail":
            raise StageError(f"no room for a rollout to begin beside the release that runs: {where}")
        print("place: warning: a rollout has no room to begin beside the release that runs")
    print(f"place: {lines[0]} ({solution.seconds:.2f} s) -> {where}")


def planned(
    settings: "Settings", group: str | None, reading: "Callable[[], Inventory]", *, live: bool
) -> tuple["Plan", list[str]]:
    """Return a plan, and in sentences why the rollout has no room to begin; nothing if it has.

    Where there is no room because pods that are being deleted still take it, such as the agent of the stage before, the
    nodes of a `live` cluster are read again until those pods are gone, or half a minute is over.
    """
    import time

    from ci.placement import plan

    wanted, end, told = demand(settings), time.monotonic() + ENDING, False
    solving = max(plan.LEAST, (1 - plan.SOLVING) * settings.placement.time_limit)
    while True:
        # The cluster goes on while this is solving: a plan that no longer holds is made anew, once.
        made = plan.make(wanted, settings, group, reading, again=live, watch=progress())
        stuck = [] if made.solution.unplaced else wanted.stuck(made.offer, made.question, solving)
        room = not (made.solution.unplaced or stuck)
        if room or not live or not made.offer.ending or time.monotonic() >= end:
            return made, stuck
        if not told:
            print(f"place: no room yet: waiting for {made.offer.ending[0].name}, which is being deleted")
        told = True
        time.sleep(1)


def progress() -> "Watch":
    """Return what prints how far a search is: from its second second on, at most once a second."""
    from ci.placement.packing.incumbent import Progress

    told = 0.0

    def tell(each: Progress) -> None:
        nonlocal told
        if each.seconds >= told + 1:
            told = each.seconds
            without = f", {each.unplaced} pods without a node" * bool(each.unplaced)
            bound = f"at least {each.bound} are needed (gap {each.gap:.1%})"
            print(f"place: {each.seconds:.0f} s: {each.nodes} nodes{without}; {bound}", flush=True)

    return tell


def compare(file: Path | None, context: str | None, named: str | None, *, dry_run: bool) -> None:
    """Say which pods are not where the last plan has their group."""
    from ci import configuration
    from ci.placement.handover import strays
    from ci.results.placement import ACTUAL, PLAN

    settings = configuration.effective(named)
    if file is None and settings.placement.inventory is None:
        context = context or settings.serving.context
    planned = PLAN.read()
    actual, wanted = read(file, context, settings), demand(settings)
    found = wanted.pods(actual, settings, None)
    lines = strays({group: frozenset(names) for group, names in planned.sets.items()}, actual, found)
    if not dry_run:
        ACTUAL.write({"inventory": actual.source, "found": lines})
    print("\n".join(f"place: {line}" for line in lines))


def verify(source: Path | None, context: str | None, named: str | None) -> None:
    """Check the last plan's bound once more, from what plan.json holds, and perhaps that it fits a cluster."""
    from ci import stages
    from ci.errors import StageError
    from ci.placement.packing import certificate
    from ci.results.placement import PLAN

    plan, file = PLAN.plain(), PLAN.path
    try:
        wrong = certificate.recheck(plan)
    except (LookupError, ValueError, TypeError, ArithmeticError) as error:
        raise stages.damaged(file, f"its certificate is not whole ({error})") from None
    fits = source is not None or context is not None
    if fits:
        wrong = [*wrong, *misfits(source, context, named)]
    if wrong:
        raise StageError(f"{file}: {'; '.join(wrong)}")
    shown, lacking = plan["certificate"]["proves"], plan["certificate"]["unplaced"]
    what = "pods stay without a node" if lacking else f"nodes are needed, and {plan['objective']} are used"
    more = (plan["least_unplaced"] if lacking else plan["bound"]) - shown
    rest = f"; {more} more by hard spreads or branch and bound, which leave no certificate" * (more > 0)
    rest += "; it fits the nodes as they are" * fits
    rest += "".join(f"; not modelled: {each}" for each in plan.get("not_modelled", ()))
    print(f"place: {file} holds: at least {shown} {what}{rest}")


def misfits(source: Path | None, context: str | None, named: str | None) -> list[str]:
    """Return in sentences why the last plan does not fit the nodes of a cluster or a file; nothing if it does."""
    from ci import configuration
    from ci.results.placement import PLAN

    settings = configuration.effective(named)
    last = PLAN.read()
    names = {pod.name for pod in last.pods}
    group = None if {"canary", "training"} <= names else "serving" if "canary" in names else "training"
    offer = read(source, context, settings)
    question, _ = demand(settings).question(offer, settings, group)
    return question.faults(last.plan, [pod for pod in question.pods if pod.name not in last.unplaced])


if __name__ == "__main__":
    sys.exit(main())
