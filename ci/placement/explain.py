"""A plan explained: what goes where, what is scarce there, and why something does not fit."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from ci.placement.inventory import Amounts, Node, Pod, counted, exclusion
from ci.placement.model import Problem, Solution, Spread


def amounts(values: Amounts) -> str:
    """Return amounts with units that people read, such as `1.5 CPU, 3.2 GiB memory`; rounded for display."""

    def one(resource: str, value: int) -> str:
        if resource == "cpu":
            return f"{value / 1000:g} CPU"
        if resource in ("memory", "ephemeral-storage"):
            return f"{value / 2**30:.4g} GiB {resource}"
        return f"{value} {resource}"

    return ", ".join(one(resource, value) for resource, value in values.items())


def explain(
    tasks: Sequence[Pod], nodes: Sequence[Node], spreads: Sequence[Spread], problem: Problem, solution: Solution
) -> dict[str, Any]:
    """Return the explanation of a solution as JSON values: sentences, and for each used node what is scarce there."""
    used = []
    for j in sorted(set(solution.node_of) - {-1}):
        here = [i for i, node in enumerate(solution.node_of) if node == j]
        share = (problem.free[j] - problem.requests[here].sum(axis=0)) / problem.free[j].clip(1)
        binding = int(np.argmin(share))
        names = [tasks[i].name for i in here]
        left = round(float(share[binding]), 4)
        used.append({"node": nodes[j].name, "tasks": names, "scarcest": problem.resources[binding], "stays_free": left})
    missing = [tasks[i] for i in solution.unplaced]
    return {
        "verdict": _verdict(problem, solution),
        "used": used,
        "unplaced": [_missing(task, nodes) for task in missing] + [_enough(missing, spreads)] * bool(missing),
        "unused": _unused(tasks, nodes, problem, solution),
        "one_less": None if missing else _one_less(problem, solution),
    }


def sentences(explanation: dict[str, Any]) -> list[str]:
    """Return an explanation in sentences, the decision first."""
    used = [
        f"{each['node']}: {', '.join(each['tasks'])}; scarcest is {each['scarcest']}, "
        f"{each['stays_free']:.0%} of what was free stays free"
        for each in explanation["used"]
    ]
    unused = [f"not used, {reason}: {', '.join(names)}" for reason, names in explanation["unused"].items()]
    less = [f"one node less: {explanation['one_less']}"] if explanation["one_less"] else []
    return [explanation["verdict"], *used, *explanation["unplaced"], *unused, *less]


def _verdict(problem: Problem, solution: Solution) -> str:
    total, missing = len(solution.node_of), len(solution.unplaced)
    if missing:
        fewest = "no plan places more" if solution.proven else f"every plan leaves at least {solution.least_unplaced}"
        fit = f"{total - missing} fit on {counted(solution.objective, 'node')}"
        return f"{missing} of {total} tasks cannot be placed, {fewest}; {fit}"
    proof = "no plan uses fewer"
    if not solution.proven:
        proof = f"at least {solution.bound} are needed (gap {solution.gap:.1%})"
    return f"{counted(total, 'task')} on {solution.objective} of {counted(len(problem.free), 'node')}; {proof}"


def _missing(task: Pod, nodes: Sequence[Node]) -> str:
    """Return why a task has no node: what is missing on the node that comes nearest."""
    asked = amounts({name: value for name, value in task.requests.items() if name != "pods"})
    open_to = [node for node in nodes if exclusion(task.rules, node) is None]
    if not open_to:
        return f"{task.name} ({asked}): no node accepts it; {nodes[0].name}: {exclusion(task.rules, nodes[0])}"

    def lack(node: Node) -> dict[str, int]:
        return {r: value - node.free.get(r, 0) for r, value in task.requests.items() if value > node.free.get(r, 0)}

    worst = {n.name: max((v / task.requests[r] for r, v in lack(n).items()), default=0.0) for n in open_to}
    nearest = min(open_to, key=lambda node: (worst[node.name], node.name))
    if not lack(nearest):
        return f"{task.name} ({asked}) fits on {nearest.name} alone, but not beside the other tasks"
    return f"{task.name} ({asked}) fits on no node; {nearest.name} comes nearest and lacks {amounts(lack(nearest))}"


def _enough(missing: Sequence[Pod], spreads: Sequence[Spread]) -> str:
    """Return what capacity would make room for the tasks left over."""
    members = {spread: sum(task.group == spread.group for task in missing) for spread in spreads}
    count = max([1, *(ceil(number / spread.limit) for spread, number in members.items())])
    total = {
        r: sum(task.requests.get(r, 0) for task in missing) for r in sorted({r for t in missing for r in t.requests})
    }
    which = "one more node that accepts them" if count == 1 else f"{count} more nodes that accept them, each"
    return f"{which} with {amounts(total)} free would be enough"


def _unused(tasks: Sequence[Pod], nodes: Sequence[Node], problem: Problem, solution: Solution) -> dict[str, list[str]]:
    """Return why nodes are not used: their names by the reason."""
    because: dict[str, list[str]] = {}
    rules = sorted({task.rules for task in tasks})
    shapes = np.unique(np.column_stack([problem.rule, problem.requests]), axis=0, return_index=True)[1]
    fits = np.array([problem.may(int(i)) for i in shapes]).reshape(len(shapes), -1)
    for j in sorted(set(range(len(nodes))) - set(solution.node_of)):
        closed = [exclusion(rule, nodes[j]) for rule in rules]
        short = [problem.resources[r] for r in np.flatnonzero((problem.requests > problem.free[j]).all(axis=0))]
        if all(closed):
            reason = closed[0] if closed else None
        elif not fits[:, j].any():
            reason = f"no task fits, {short[0]} is short" if short else "no task fits"
        else:
            reason = "not needed"
        because.setdefault(reason or "there is no task", []).append(nodes[j].name)
    return dict(sorted(because.items()))


def _one_less(problem: Problem, solution: Solution) -> str | None:
    """Return what a plan with one node less would lack, if amounts alone say it: the largest nodes cannot hold it."""
    fewer = solution.objective - 1
    if fewer < 1:
        return None
    open_to = problem.free * problem.allowed.any(axis=0).reshape(-1, 1)
    lack = problem.requests.sum(axis=0) - np.sort(open_to, axis=0)[::-1][:fewer].sum(axis=0)
    own = [r for r in range(len(problem.resources)) if r not in problem.zoned and lack[r] > 0]
    if own:
        short = amounts({problem.resources[r]: int(lack[r]) for r in own})
        largest = "the node" if fewer == 1 else f"the {fewer} nodes"
        return f"even {largest} with most free would lack {short}"
    enough = "the amounts would be enough in sum, but the tasks cannot be divided that way"
    return enough if solution.proven else None
