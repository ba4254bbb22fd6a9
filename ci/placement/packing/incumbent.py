"""The best plan and the best bounds of every moment of a search."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ci.placement.packing.certificate import Certificate
from ci.placement.packing.clock import Until
from ci.placement.packing.problem import Ints, Problem
from ci.placement.packing.solution import Bound, Solution


@dataclass(frozen=True)
class Progress:
    """How far a search is: nodes of the best plan, the bound on them, tasks without a node, and seconds so far."""

    nodes: int
    bound: int
    unplaced: int
    seconds: float

    @property
    def gap(self) -> float:
        """How far the plan can be from the optimum at most, as a share of its nodes."""
        return (self.nodes - self.bound) / self.nodes if self.nodes else 0.0


Watch = Callable[[Progress], None]
"""Is told of progress: of every better plan or bound, and now and then."""


class Incumbent:
    """The best plan so far, and the best bounds with what shows them.

    Args:
        problem: the program's data.
        proof: of a first bound on nodes; it proves nothing of tasks left over.
        bound: that bound.
        until: when the search has to stop.
        limit: how long it may take; seconds.
        watch: is told of progress.
    """

    def __init__(
        self, problem: Problem, proof: Certificate, bound: int, until: Until, limit: float, watch: Watch | None
    ):
        self.problem, self.until, self.watch = problem, until, watch
        self.started = until.at - limit
        self.plan = np.full(len(problem.requests), -1)
        self.bound, self.proof, self.by = bound, proof, Bound.COVERING
        self.least, self.lack = 0, proof

    @property
    def score(self) -> tuple[int, int, int]:
        """What the plan costs: tasks left over, nodes, nodes that were not in use."""
        return score(self.problem, self.plan)

    @property
    def missing(self) -> int:
        """How many tasks have no node."""
        return int((self.plan < 0).sum())

    @property
    def open(self) -> bool:
        """Whether a plan with fewer nodes is not ruled out yet; all tasks have one."""
        return self.score[1] > self.bound

    def offer(self, plan: Ints) -> bool:
        """Keep a plan if it is better; return whether it is."""
        if better := score(self.problem, plan) < self.score:
            self.plan = plan
            self.tell()
        return better

    def prove(self, bound: int, by: Bound, proof: Certificate | None = None) -> None:
        """Keep a bound on nodes if it is better; without a proof it is branch and bound's."""
        if bound > self.bound:
            self.bound, self.by, self.proof = bound, by, proof or self.proof
            self.tell()

    def tell(self) -> None:
        """Tell whoever watches how far it is."""
        if self.watch:
            missing, nodes, _ = self.score
            self.watch(Progress(nodes, 0 if missing else self.bound, missing, self.until.clock() - self.started))

    def solution(self, *, stopped: bool = False) -> Solution:
        """Return what was found."""
        missing, seconds = bool(self.missing), self.until.clock() - self.started
        bound, proof = (0, self.lack) if missing else (self.bound, self.proof)
        return Solution(tuple(self.plan.tolist()), bound, self.least, seconds, proof, self.by, stopped)


def score(problem: Problem, plan: Ints) -> tuple[int, int, int]:
    """Return what a plan costs, the most important first: tasks left over, nodes, nodes that were not in use."""
    used = np.unique(plan[plan >= 0])
    return int((plan < 0).sum()), len(used), int((~problem.preferred[used]).sum())
