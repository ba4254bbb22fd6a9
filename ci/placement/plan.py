"""A plan and its advice to the scheduler: how the commands that need one make it."""

from collections.abc import Callable
from dataclasses import dataclass

from ci.placement import handover
from ci.placement.handover import Advice
from ci.placement.inventory import Inventory
from ci.placement.packing.incumbent import Watch
from ci.placement.packing.problem import Problem
from ci.placement.packing.solution import Solution
from ci.placement.planning import Demand, Question
from ci.settings import Settings

SOLVING = 0.7
"""Share of the time limit that the solver gets at most; the rest is for trying the hand-over."""
LEAST = 1.0
"""Seconds that a further question to the solver gets, even if the time limit is reached."""


@dataclass(frozen=True)
class Plan:
    """A question with its answer.

    Attributes:
        offer: the cluster as it was read last, with the release that runs.
        question: what was asked of it.
        problem: the same as an integer program.
        solution: the best plan found.
        advice: what the scheduler is told; nothing where pods stay without a node.
        said: in sentences, what was left out and why the plan was made again.
    """

    offer: Inventory
    question: Question
    problem: Problem
    solution: Solution
    advice: Advice
    said: tuple[str, ...]


def make(
    demand: Demand,
    settings: Settings,
    group: str | None,
    read: Callable[[], Inventory],
    *,
    again: bool = False,
    watch: Watch | None = None,
) -> Plan:
    """Plan the pods of a group, or of both, check the plan, and try it as the scheduler's advice.

    Args:
        demand: the pods.
        settings: limits, and how pods are led to nodes.
        group: `serving`, `training`, or None for both.
        read: reads the nodes.
        again: read them once more when the plan is ready, and plan again, once, if it no longer fits.
        watch: is told of the solver's progress.

    Raises:
        InputError: `placement.affinity: required` cannot be honoured.
        StageError: the solver's plan breaks a constraint.
    """
    limit, offer = settings.placement.time_limit, read()
    question, absent = demand.question(offer, settings, group)
    said = [f"no node of {offer.source} reports {' or '.join(absent)}, so that is left out"] if absent else []
    problem, solution = question.solve(SOLVING * limit, watch)
    left = limit - solution.seconds
    if again:
        hosts, offer = solution.plan(question.pods, offer.nodes), read()
        now, _ = demand.question(offer, settings, group)
        if wrong := now.faults(hosts, [pod for pod in now.pods if pod.name in hosts]):
            said.append(f"planned again: {wrong[0]}")
            question = now
            problem, solution = question.solve(max(LEAST, SOLVING * left), watch)
            left -= solution.seconds
    if solution.stopped:
        said.append("interrupted: this is the best plan so far")
    nodes = question.offer.nodes
    chosen = solution.plan(question.pods, nodes)
    question.require(chosen)
    # Where pods stay without a node, all of them are left to the scheduler's own way.
    advised = () if solution.unplaced else question.pods
    required = settings.placement.affinity == "required"
    advice = handover.advice(advised, nodes, chosen, question.spreads, required=required, time_limit=left)
    return Plan(offer, question, problem, solution, advice, tuple(said))
