"""The files that a placement leaves behind."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ci import workspace
from ci.errors import StageError
from ci.placement import check, explain, handover, picture
from ci.placement.inventory import Inventory, Pod
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
    nodes = inventory.nodes
    plan = {task.name: nodes[j].name for task, j in zip(tasks, solution.node_of, strict=True) if j >= 0}
    placed = [task for task in tasks if task.name in plan]
    if wrong := check.faults(placed, nodes, plan, spreads):
        raise StageError(f"the solver's plan does not hold in integers: {'; '.join(wrong[:3])}")
    lines = explain.sentences(tasks, nodes, problem, solution)
    advice, extra = handover.advice(tasks, nodes, plan, required=required and not solution.unplaced)
    if extra:
        lines.append(
            f"the scheduler spreads pods: its sets are wider than the plan by {extra} nodes, or some would wait"
        )
    if folder is None:
        return lines
    with workspace.replacing(folder) as out:
        workspace.write_json(out / "plan.json", document(inventory, tasks, solution, plan))
        # A full cluster is left to the scheduler's own way.
        workspace.write_json(out / "handover.json", {} if solution.unplaced else advice)
        workspace.write_text(out / "explanation.txt", "\n".join([*lines, *inventory.notes]) + "\n")
        workspace.write_text(out / "plan.svg", picture.draw(tasks, nodes, problem, solution))
        workspace.write_json(out / "timing.json", {"seconds": round(solution.seconds, 3)})
    return lines


def document(inventory: Inventory, tasks: Sequence[Pod], solution: Solution, plan: dict[str, str]) -> dict[str, Any]:
    """Return the plan as JSON values; amounts are milliCPU, bytes and counts."""
    return {
        "inventory": inventory.source,
        "nodes": len(inventory.nodes),
        "objective": solution.objective,
        "bound": solution.bound,
        "gap": round(solution.gap, 6),
        "proven": solution.proven,
        "plan": plan,
        "unplaced": [tasks[i].name for i in solution.unplaced],
        "tasks": [{"name": task.name, "group": task.group, "requests": task.requests} for task in tasks],
    }
