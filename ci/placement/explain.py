"""A plan explained: what goes where, what is scarce there, and why something does not fit."""

from collections import Counter
from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from ci.placement.inventory import Amounts, Node, Pod, counted, exclusion
from ci.placement.model import Ints, Problem, Solution, Spread


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
    used, left = [], _left(problem, solution)
    for j in sorted(set(solution.node_of) - {-1}):
        here = [i for i, node in enumerate(solution.node_of) if node == j]
        share = left[j] / problem.free[j].clip(1)
        binding = int(np.argmin(share))
        scarce = {"scarcest": _named(problem, spreads, binding), "stays_free": round(float(share[binding]), 4)}
        used.append({"node": nodes[j].name, "tasks": [tasks[i].name for i in here], **scarce})
    missing = [tasks[i] for i in solution.unplaced]
    return {
        "verdict": _verdict(problem, solution),
        "used": used,
        "unplaced": [_missing(i, tasks, nodes, problem, spreads, left) for i in solution.unplaced]
        + [_enough(missing, spreads)] * bool(missing),
        "unused": _unused(tasks, nodes, problem, solution),
        "one_less": None if missing else _one_less(problem, solution, spreads),
    }


def _left(problem: Problem, solution: Solution) -> Ints:
    """Return what the plan leaves of each node; of what a zone shares, what it leaves of the zone."""
    taken, node_of = np.zeros_like(problem.free), np.array(solution.node_of)
    np.add.at(taken, node_of[node_of >= 0], problem.requests[node_of >= 0])
    inside = (problem.zone[:, None] == problem.zone).astype(np.int64)
    taken[:, list(problem.zoned)] = inside @ taken[:, list(problem.zoned)]
    return problem.free - taken


def _named(problem: Problem, spreads: Sequence[Spread], resource: int) -> str:
    """Return what people call a resource of the program, of which spreads are the last."""
    if (index := resource - len(problem.resources) + len(spreads)) < 0:
        return problem.resources[resource]
    spread = spreads[index]
    return f"the number of {spread.group} tasks (at most {spread.limit} per {spread.by})"


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
    total, missing, used = len(solution.node_of), len(solution.unplaced), solution.objective
    if missing:
        fewest = "no plan places more" if solution.proven else f"every plan leaves at least {solution.least_unplaced}"
        return (
            f"{missing} of {total} tasks cannot be placed, {fewest}; {total - missing} fit on {counted(used, 'node')}"
        )
    least = f"at least {solution.bound} are needed (gap {solution.gap:.1%})"
    proof = "no plan uses fewer" if solution.proven else least
    return f"{counted(total, 'task')} on {used} of {counted(len(problem.free), 'node')}; {proof}"


def _missing(
    i: int, tasks: Sequence[Pod], nodes: Sequence[Node], problem: Problem, spreads: Sequence[Spread], left: Ints
) -> str:
    """Return why a task has no node: what is missing on the node that comes nearest."""
    task, asked = tasks[i], problem.requests[i]
    what = f"{task.name} ({amounts({name: value for name, value in task.requests.items() if name != 'pods'})})"
    open_to = np.flatnonzero(problem.allowed[problem.rule[i]])
    if not open_to.size:
        return f"{what}: no node accepts it; {nodes[0].name}: {exclusion(task.rules, nodes[0])}"
    lack = (asked - problem.free[open_to]).clip(0)
    nearest = int(np.argmin((lack / asked.clip(1)).max(axis=1)))
    name = nodes[open_to[nearest]].name
    if not lack[nearest].any():
        short = asked > left[open_to]
        # Room in all that nodes really have: then it is a spread that is short.
        roomy = np.flatnonzero(~short[:, : len(asked) - len(spreads)].any(axis=1) & short.any(axis=1))
        if roomy.size:
            reached = _named(problem, spreads, int(np.argmax(short[roomy[0]])))
            return f"{what} has room on {nodes[open_to[roomy[0]]].name}, but {reached} is reached there"
        return f"{what} fits on {name} alone, but not beside the other tasks"
    return f"{what} fits on no node; {name} comes nearest and lacks {_told(problem, lack[nearest])}"


def _enough(missing: Sequence[Pod], spreads: Sequence[Spread]) -> str:
    """Return what capacity would make room for the tasks left over."""
    count = max([1, *(ceil(sum(s.counts(task) for task in missing) / s.limit) for s in spreads)])
    total = sum((Counter(task.requests) for task in missing), Counter[str]())
    which = "one more node that accepts them" if count == 1 else f"{count} more nodes that accept them, each"
    return f"{which} with {amounts(dict(sorted(total.items())))} free would be enough"


def _unused(tasks: Sequence[Pod], nodes: Sequence[Node], problem: Problem, solution: Solution) -> dict[str, list[str]]:
    """Return why nodes are not used: their names by the reason."""
    because: dict[str, list[str]] = {}
    rules = sorted({task.rules for task in tasks}) or ["{}"]
    fits = np.atleast_1d(np.any([problem.may(i) for i in range(len(tasks))], axis=0))
    for j in sorted(set(range(len(nodes))) - set(solution.node_of)):
        closed = [exclusion(rule, nodes[j]) for rule in rules]
        short = np.flatnonzero((problem.requests > problem.free[j]).all(axis=0))
        lacking = [f", {problem.resources[r]} is short" for r in short[:1]]
        reason = "not needed" if fits[j] else "".join(["no task fits", *lacking])
        because.setdefault(str(closed[0]) if all(closed) else reason, []).append(nodes[j].name)
    return dict(sorted(because.items()))


def _one_less(problem: Problem, solution: Solution, spreads: Sequence[Spread]) -> str | None:
    """Return what a plan with one node less would lack, if amounts alone say it: the largest nodes cannot hold it."""
    fewer = solution.objective - 1
    if fewer < 1:
        return None
    open_to = problem.free * problem.allowed.any(axis=0).reshape(-1, 1)
    lack = problem.requests.sum(axis=0) - np.sort(open_to, axis=0)[::-1][:fewer].sum(axis=0)
    lack[list(problem.zoned)] = 0
    if (lack > 0).any():
        largest = "the node" if fewer == 1 else f"the {fewer} nodes"
        for limited in np.flatnonzero(lack[len(lack) - len(spreads) :] > 0)[:1]:
            spread = spreads[limited]
            return f"{largest} could not hold all tasks of {spread.group} with at most {spread.limit} per {spread.by}"
        return f"even {largest} with most free would lack {_told(problem, lack)}"
    enough = "the amounts would be enough in sum, but the tasks cannot be divided that way"
    return enough if solution.proven else None


def _told(problem: Problem, values: Ints) -> str:
    return amounts({name: value for name, value in zip(problem.resources, values.tolist(), strict=True) if value > 0})
