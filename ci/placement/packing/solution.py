"""What a solver found: a plan, the bound that it is measured by, and what shows the bound."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ci.placement.packing.certificate import Certificate


class Named(Protocol):
    """Whatever has a name: a task, or a node."""

    @property
    def name(self) -> str:
        """It."""


class Bound(Enum):
    """What has shown a bound on nodes."""

    COVERING = "amounts in sum"
    PATTERNS = "prices, and a table of what fits on a node"
    LISTED = "prices, and a list of what fits on a node"
    EVEN = "hard spreads"
    BRANCHING = "branch and bound"


@dataclass(frozen=True)
class Solution:
    """What a solver found: `node_of[i]` is the node of task i, or -1 where it has none.

    No plan with all tasks uses fewer than `bound` nodes, and every plan leaves at least `least_unplaced` tasks without
    a node. `seconds` is the time from the problem to this solution. `proof` shows the bound that counts: on tasks
    without a node if there are any, else on nodes. Where branch and bound has found a better one, it shows less. `by`
    is what has found the bound on nodes, and `stopped` says that somebody has interrupted the search.
    """

    node_of: tuple[int, ...]
    bound: int
    least_unplaced: int
    seconds: float
    proof: Certificate | None = None
    by: Bound = Bound.BRANCHING
    stopped: bool = False

    @property
    def objective(self) -> int:
        """The number of nodes that the plan uses."""
        return len(set(self.node_of) - {-1})

    @property
    def gap(self) -> float:
        """How far the objective can be from the optimum at most, as a share of the objective."""
        return (self.objective - self.bound) / self.objective if self.objective else 0.0

    @property
    def proven(self) -> bool:
        """Whether no plan places more tasks or, if all are placed, uses fewer nodes.

        It says nothing of which nodes: that no plan with as many has more nodes in use is proven for small problems
        only (see `ci.placement.packing.solver`).
        """
        return len(self.unplaced) == self.least_unplaced if self.unplaced else self.bound == self.objective

    def plan(self, tasks: Sequence[Named], nodes: Sequence[Named]) -> dict[str, str]:
        """Return the name of its node for each task that has one, by the task's name."""
        return {task.name: nodes[j].name for task, j in zip(tasks, self.node_of, strict=True) if j >= 0}

    @property
    def unplaced(self) -> tuple[int, ...]:
        """Tasks without a node; empty if the plan is complete."""
        return tuple(task for task, node in enumerate(self.node_of) if node < 0)
