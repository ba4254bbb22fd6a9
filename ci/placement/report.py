"""The files that a placement leaves behind."""

from collections.abc import Sequence
from pathlib import Path

from ci import workspace
from ci.errors import StageError
from ci.placement import check, explain, handover, picture
from ci.placement.inventory import Inventory, Pod, counted
from ci.placement.model import Problem, Solution, Spread


def write(
    folder: Path | None,
    inventory: Inventory,
    tasks: Sequence[Pod],
    spreads: Sequence[Spread],
    problem: Problem,
    solution: Solution,
    *,
    required: bool,
) -> list[str]:
    """Check a solution, write plan, explanation, picture and wall time, and return the explanation's sentences.

    `handover.json` has for each group the fields that its pods get. All files but `timing.json` are the same bytes for
    the same solution; without a folder nothing is written.

    Raises:
        StageError: the plan breaks a constraint, so nothing is written.
    """
    nodes, plan = inventory.nodes, solution.plan(tasks, inventory.nodes)
    if wrong := check.faults([task for task in tasks if task.name in plan], nodes, plan, spreads):
        raise StageError(f"the solver's plan does not hold in integers: {'; '.join(wrong[:3])}")
    explanation = explain.explain(tasks, nodes, spreads, problem, solution)
    # A full cluster is left to the scheduler's own way.
    advised = () if solution.unplaced else tasks
    fields, within, waiting = handover.advice(advised, nodes, plan, spreads, required=required)
    extra = len(frozenset().union(*within.values()) - set(plan.values()))
    wider = [
        f"the scheduler spreads pods: its sets have {counted(extra, 'node')} more than the plan, or some would wait"
    ]
    if waiting:
        still = (
            f"{counted(len(waiting), 'task')} would wait all the same in some order of arrival, such as {waiting[0]}"
        )
        wider = [f"the scheduler spreads pods: on all nodes that may take them {still}"]
    lines = [*explain.sentences(explanation), *wider * bool(extra or waiting), *inventory.notes]
    if folder is None:
        return lines
    document = {
        "inventory": inventory.source,
        "nodes": len(nodes),
        "objective": solution.objective,
        "bound": solution.bound,
        "gap": round(solution.gap, 6),
        "proven": solution.proven,
        "plan": plan,
        "sets": {group: sorted(names) for group, names in within.items()},
        "unplaced": [tasks[i].name for i in solution.unplaced],
        "tasks": [{"name": task.name, "group": task.group, "requests": task.requests} for task in tasks],
    }
    with workspace.replacing(folder) as out:
        workspace.write_json(out / "plan.json", document)
        workspace.write_json(out / "handover.json", fields)
        workspace.write_json(
            out / "explanation.json", explanation | {"notes": [*inventory.notes], "wider": extra, "waiting": waiting}
        )
        workspace.write_text(out / "explanation.txt", "\n".join(lines) + "\n")
        workspace.write_text(out / "plan.svg", picture.draw(tasks, nodes, problem, solution))
        workspace.write_json(out / "timing.json", {"seconds": round(solution.seconds, 3)})
    return lines
