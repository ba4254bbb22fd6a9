"""The files that a placement leaves behind."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ci import workspace
from ci.errors import StageError
from ci.placement import check, explain, picture
from ci.placement.inventory import Inventory, Pod
from ci.placement.model import Problem, Solution, Spread


def write(
    folder: Path,
    inventory: Inventory,
    tasks: Sequence[Pod],
    spreads: Sequence[Spread],
    problem: Problem,
    solution: Solution,
) -> list[str]:
    """Check a solution, write plan, explanation, picture and wall time, and return the explanation's sentences.

    All files but `timing.json` are the same bytes for the same solution.

    Raises:
        StageError: the plan breaks a constraint, so nothing is written.
    """
    nodes = inventory.nodes
    plan = {task.name: nodes[j].name for task, j in zip(tasks, solution.node_of, strict=True) if j >= 0}
    placed = [task for task in tasks if task.name in plan]
    if wrong := check.faults(placed, nodes, plan, spreads):
        raise StageError(f"the solver's plan does not hold in integers: {'; '.join(wrong[:3])}")
    lines = explain.sentences(tasks, nodes, problem, solution)
    with workspace.replacing(folder) as out:
        workspace.write_json(out / "plan.json", document(inventory, tasks, solution, plan))
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
