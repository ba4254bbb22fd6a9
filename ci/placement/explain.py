"""A plan in plain sentences: what goes where, what is scarce there, and why something does not fit."""

from collections.abc import Sequence

import numpy as np

from ci.placement.inventory import Node, Pod, exclusion
from ci.placement.model import Problem, Solution


def amount(resource: str, value: int) -> str:
    """Return an amount with a unit that people read, such as `1.5 CPU` or `3.2 GiB memory`; rounded for display."""
    if resource == "cpu":
        return f"{value / 1000:g} CPU"
    if resource in ("memory", "ephemeral-storage"):
        return f"{value / 2**30:.4g} GiB {resource}"
    return f"{value} {resource}"


def sentences(tasks: Sequence[Pod], nodes: Sequence[Node], problem: Problem, solution: Solution) -> list[str]:
    """Return the explanation of a solution, the decision first."""
    lines = [_verdict(problem, solution)]
    for j in sorted({node for node in solution.node_of if node >= 0}):
        here = [i for i, node in enumerate(solution.node_of) if node == j]
        left = problem.free[j] - problem.requests[here].sum(axis=0)
        share = left / np.maximum(problem.free[j], 1)
        scarce = problem.resources[int(np.argmin(share))]
        lines.append(
            f"{nodes[j].name}: {', '.join(tasks[i].name for i in here)}; scarcest is {scarce}, "
            f"{share.min():.0%} of what was free stays free"
        )
    for i in solution.unplaced:
        lines.append(_missing(tasks[i], nodes))
    return lines


def _verdict(problem: Problem, solution: Solution) -> str:
    total, placed = len(problem.tasks), len(problem.tasks) - len(solution.unplaced)
    if placed < total:
        return f"{total - placed} of {total} tasks cannot be placed; {placed} fit on {solution.objective} nodes"
    proof = (
        "no plan uses fewer" if solution.proven else f"at least {solution.bound} are needed (gap {solution.gap:.1%})"
    )
    return f"{total} tasks on {solution.objective} of {len(problem.nodes)} nodes; {proof}"


def _missing(task: Pod, nodes: Sequence[Node]) -> str:
    """Return why a task has no node: what is missing on the node that comes nearest."""
    asked = ", ".join(amount(name, value) for name, value in task.requests.items() if name != "pods")
    open_to = [node for node in nodes if exclusion(task.rules, node) is None]
    if not open_to:
        return f"{task.name} ({asked}): no node accepts it; {nodes[0].name}: {exclusion(task.rules, nodes[0])}"
    lacking = {
        node.name: {r: value - node.free.get(r, 0) for r, value in task.requests.items() if value > node.free.get(r, 0)}
        for node in open_to
    }
    worst = {
        name: max((value / task.requests[r] for r, value in lack.items()), default=0.0)
        for name, lack in lacking.items()
    }
    nearest = min(worst, key=lambda name: (worst[name], name))
    if not lacking[nearest]:
        return f"{task.name} ({asked}) fits on {nearest} alone, but not beside the other tasks"
    short = " and ".join(amount(r, value) for r, value in lacking[nearest].items())
    return f"{task.name} ({asked}) fits on no node; {nearest} comes nearest and lacks {short}"
