"""The explanation of a plan: what goes where, what is scarce there, and why something does not fit."""

from collections import Counter
from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from ci.placement.amounts import Amounts, counted
from ci.placement.inventory import Node, Pod, exclusion
from ci.placement.model import Spread, build
from ci.placement.packing.problem import Ints, Problem
from ci.placement.packing.solution import Solution


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
    pods: Sequence[Pod],
    nodes: Sequence[Node],
    spreads: Sequence[Spread],
    problem: Problem,
    solution: Solution,
    unmodelled: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the explanation of a solution as JSON values: sentences, and for each used node what is scarce there.

    What the scheduler checks and the plan does not is named; then nothing is claimed about other plans.
    """
    used, left = [], problem.left(np.array(solution.node_of))
    on: dict[int, list[int]] = {}
    for i, j in enumerate(solution.node_of):
        on.setdefault(j, []).append(i)
    for j in sorted(on.keys() - {-1}):
        here = on[j]
        share = left[j] / problem.free[j].clip(1)
        binding = int(np.argmin(share))
        scarce = {"scarcest": _named(problem, spreads, binding), "stays_free": round(float(share[binding]), 4)}
        used.append({"node": nodes[j].name, "pods": [pods[i].name for i in here], **scarce})
    missing = [pods[i] for i in solution.unplaced]
    enough = [_enough(missing, spreads)] if missing else []
    return {
        "verdict": _verdict(problem, solution, unmodelled),
        "not_modelled": [*unmodelled],
        "used": used,
        "unplaced": [*_missing(pods, nodes, problem, spreads, solution, left), *enough],
        "unused": _unused(pods, nodes, problem, solution),
        "one_less": None if missing else _one_less(problem, solution, spreads),
        "bound": None if missing or unmodelled else _bound(solution),
    }


def _named(problem: Problem, spreads: Sequence[Spread], resource: int) -> str:
    """Return the name for people of one of the program's resources; spreads come last."""
    if (index := resource - len(problem.resources) + len(spreads)) < 0:
        return problem.resources[resource]
    return spreads[index].told()


def sentences(explanation: dict[str, Any]) -> list[str]:
    """Return an explanation in sentences, the decision first."""
    used = [
        f"{each['node']}: {', '.join(each['pods'])}; scarcest is {each['scarcest']}, "
        f"{each['stays_free']:.0%} of what was free stays free"
        for each in explanation["used"]
    ]
    unused = [f"not used, {reason}: {', '.join(names)}" for reason, names in explanation["unused"].items()]
    less = [f"one node less: {explanation['one_less']}"] if explanation["one_less"] else []
    named = [f"not modelled: {each}" for each in explanation["not_modelled"]]
    shown = [explanation["bound"]] if explanation["bound"] else []
    return [explanation["verdict"], *named, *used, *explanation["unplaced"], *unused, *less, *shown]


def _verdict(problem: Problem, solution: Solution, unmodelled: Sequence[str]) -> str:
    total, missing, used = len(solution.node_of), len(solution.unplaced), solution.objective
    if missing:
        fewest = f"every plan leaves at least {solution.least_unplaced}"
        if solution.proven and not unmodelled:
            fewest = "no plan places more"
        elif not solution.least_unplaced:
            fewest = "though there may be a plan for all"
        return f"{missing} of {total} pods cannot be placed, {fewest}; {total - missing} fit on {counted(used, 'node')}"
    proof = f"at least {solution.bound} are needed (gap {solution.gap:.1%})"
    if unmodelled:
        proof = "the scheduler may need others, because not all that it checks is modelled"
    elif solution.proven:
        proof = "no plan uses fewer"
    return f"{counted(total, 'pod')} on {used} of {counted(len(problem.free), 'node')}; {proof}"


def _missing(
    pods: Sequence[Pod],
    nodes: Sequence[Node],
    problem: Problem,
    spreads: Sequence[Spread],
    solution: Solution,
    left: Ints,
) -> list[str]:
    """Return why each pod without a node has none; pods that are alike are looked at once."""
    reasons: dict[tuple[int, bytes], str] = {}
    found = []
    for i in solution.unplaced:
        if (kind := (int(problem.rule[i]), problem.requests[i].tobytes())) not in reasons:
            reasons[kind] = _short(i, pods, nodes, problem, spreads, left)
        found.append(f"{pods[i].name} ({_asked(pods[i])}){reasons[kind]}")
    return found


def nowhere(pods: Sequence[Pod], nodes: Sequence[Node]) -> list[str]:
    """Return in sentences which pods no node could take even if nothing else ran on it; of a group one is enough."""
    empty = [node.beside(()) for node in nodes]
    first = list({pod.group: pod for pod in reversed(pods)}.values())[::-1]
    problem = build(first, empty)
    return [
        f"{pod.name} ({_asked(pod)}){_short(i, first, empty, problem, (), problem.free)}"
        for i, pod in enumerate(first)
        if not problem.may(i).any()
    ]


def _asked(pod: Pod) -> str:
    return amounts({name: value for name, value in pod.requests.items() if name != "pods"})


def _short(
    i: int, pods: Sequence[Pod], nodes: Sequence[Node], problem: Problem, spreads: Sequence[Spread], left: Ints
) -> str:
    """Return what is missing for a pod on the node that comes nearest, as the end of a sentence."""
    asked = problem.requests[i]
    open_to = np.flatnonzero(problem.allowed[problem.rule[i]])
    if not open_to.size:
        return f": no node accepts it; {nodes[0].name}: {exclusion(pods[i].rules, nodes[0])}"
    lack = (asked - problem.free[open_to]).clip(0)
    nearest = int(np.argmin((lack / asked.clip(1)).max(axis=1)))
    name = nodes[open_to[nearest]].name
    if not lack[nearest].any():
        short = asked > left[open_to]
        # Room in all that nodes really have: then it is a spread that is short.
        roomy = np.flatnonzero(~short[:, : len(asked) - len(spreads)].any(axis=1) & short.any(axis=1))
        if roomy.size:
            reached = _named(problem, spreads, int(np.argmax(short[roomy[0]])))
            return f" has room on {nodes[open_to[roomy[0]]].name}, but {reached} is reached there"
        return f" fits on {name} alone, but not beside the other pods"
    return f" fits on no node; {name} comes nearest and lacks {_told(problem, lack[nearest])}"


def _enough(missing: Sequence[Pod], spreads: Sequence[Spread]) -> str:
    """Return what capacity would make room for the pods left over."""
    count = max([1, *(ceil(sum(s.counts(pod) for pod in missing) / s.limit) for s in spreads)])
    total = sum((Counter(pod.requests) for pod in missing), Counter[str]())
    which = "one more node that accepts them" if count == 1 else f"{count} more nodes that accept them, each"
    return f"{which} with {amounts(dict(sorted(total.items())))} free would be enough"


def _unused(pods: Sequence[Pod], nodes: Sequence[Node], problem: Problem, solution: Solution) -> dict[str, list[str]]:
    """Return why nodes are not used: their names by the reason."""
    because: dict[str, list[str]] = {}
    rules = sorted({pod.rules for pod in pods}) or ["{}"]
    _, kinds = np.unique(np.column_stack([problem.rule, problem.requests]), axis=0, return_index=True)
    fits = np.any([problem.may(i) for i in kinds.tolist()], axis=0)
    for j in sorted(set(range(len(nodes))) - set(solution.node_of)):
        reason = "not needed"
        if not problem.allowed[:, j].any():
            reason = str(exclusion(rules[0], nodes[j]))
        elif not fits[j]:
            short = np.flatnonzero((problem.requests > problem.free[j]).all(axis=0))
            reason = "".join(["no pod fits", *[f", {problem.resources[r]} is short" for r in short[:1]]])
        because.setdefault(reason, []).append(nodes[j].name)
    return dict(sorted(because.items()))


def _one_less(problem: Problem, solution: Solution, spreads: Sequence[Spread]) -> str | None:
    """Return what a plan with one node less would lack, if amounts alone say it: the largest nodes cannot hold it."""
    fewer = solution.objective - 1
    if fewer < 1:
        return None
    open_to = problem.free * problem.allowed.any(axis=0).reshape(-1, 1)
    lack = problem.requests.sum(axis=0) - np.sort(open_to, axis=0)[::-1][:fewer].sum(axis=0, dtype=object)
    lack[list(problem.zoned)] = 0
    if (lack > 0).any():
        largest = "the node" if fewer == 1 else f"the {fewer} nodes"
        for limited in np.flatnonzero(lack[len(lack) - len(spreads) :] > 0)[:1]:
            spread = spreads[limited]
            most = spread.what or f"of {spread.group} with at most {spread.limit} per {spread.by}"
            return f"{largest} could not hold all pods {'with ' * bool(spread.what)}{most}"
        return f"even {largest} with most free would lack {_told(problem, lack)}"
    enough = "the amounts would be enough in sum, but the pods cannot be divided that way"
    return enough if solution.proven else None


def _bound(solution: Solution) -> str:
    """Return what shows that fewer nodes than the bound are not enough."""
    return f"that at least {counted(solution.bound, 'node')} must be used is shown by {solution.by.value}"


def _told(problem: Problem, values: Ints) -> str:
    return amounts({name: value for name, value in zip(problem.resources, values.tolist(), strict=True) if value > 0})
