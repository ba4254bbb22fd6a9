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
    lines += [_missing(tasks[i], nodes) for i in solution.unplaced]
    return lines + _unused(tasks, nodes, problem, solution) + _one_less(problem, solution)


def _unused(tasks: Sequence[Pod], nodes: Sequence[Node], problem: Problem, solution: Solution) -> list[str]:
    """Return why nodes are not used, those with one reason in one sentence."""
    because: dict[str, list[str]] = {}
    rules = sorted({task.rules for task in tasks})
    for j in sorted(set(range(len(nodes))) - set(solution.node_of)):
        closed = [exclusion(rule, nodes[j]) for rule in rules]
        if all(closed):
            reason = closed[0] or ""
        elif not any(problem.may(int(i))[j] for i in np.unique(problem.requests, axis=0, return_index=True)[1]):
            short = [
                r for r, name in enumerate(problem.resources) if np.all(problem.requests[:, r] > problem.free[j, r])
            ]
            reason = f"no task fits, {problem.resources[short[0]]} is short" if short else "no task fits"
        else:
            reason = "not needed"
        because.setdefault(reason, []).append(nodes[j].name)
    return [f"not used, {reason}: {', '.join(names)}" for reason, names in sorted(because.items())]


def _one_less(problem: Problem, solution: Solution) -> list[str]:
    """Return what a plan with one node less would lack, if amounts alone say it: the largest nodes cannot hold it."""
    used = sorted({node for node in solution.node_of if node >= 0})
    if solution.unplaced or len(used) < 2:
        return []
    asked = problem.requests.sum(axis=0)
    own = [r for r in range(len(problem.resources)) if r not in problem.zoned]
    open_to = problem.free * problem.allowed.any(axis=0).reshape(-1, 1)
    most = np.sort(open_to, axis=0)[::-1][: len(used) - 1].sum(axis=0)
    short = [amount(problem.resources[r], int(asked[r] - most[r])) for r in own if asked[r] > most[r]]
    if short:
        return [f"one node less: even the {len(used) - 1} nodes with most free are short of {' and '.join(short)}"]
    return [
        "one node less: the amounts would be enough in sum, but the tasks cannot be divided that way"
    ] * solution.proven


def _verdict(problem: Problem, solution: Solution) -> str:
    total, placed = len(problem.requests), len(problem.tasks) - len(solution.unplaced)
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
