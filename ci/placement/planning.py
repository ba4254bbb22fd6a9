"""A question to the solver: what is offered, what is wanted, and all limits between the two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ci.errors import StageError
from ci.placement import balance, check, limits
from ci.placement.balance import Balance
from ci.placement.inventory import Inventory, Pod
from ci.placement.model import Problem, Solution, Spread
from ci.placement.tasks import unmodelled


@dataclass(frozen=True)
class Question:
    """Tasks to place on the nodes of an inventory.

    Attributes:
        offer: nodes with what stays on them.
        tasks: the pods, their rules with the nodes that running pods close.
        spreads: limits that every plan keeps.
        even: hard spreads of the pods' own.
        unmodelled: in words, what the scheduler would check and this does not.
    """

    offer: Inventory
    tasks: tuple[Pod, ...]
    spreads: tuple[Spread, ...]
    even: tuple[Balance, ...]
    unmodelled: tuple[str, ...]

    @classmethod
    def of(
        cls, offer: Inventory, tasks: Sequence[Pod], spreads: Sequence[Spread], beside: Sequence[str] = ()
    ) -> "Question":
        """Return the question of placing tasks, with all that they and the pods that run demand of each other.

        Args:
            offer: nodes with what stays on them.
            tasks: the pods.
            spreads: limits besides.
            beside: what else is not modelled.
        """
        own = limits.closed(tasks, offer.nodes)
        shared, hard = limits.shared(own)
        even, uneven = balance.balances(own, offer.nodes)
        running = [pod for node in offer.nodes for pod in node.running]
        blind = [pod.name for pod in running if not all(term.known for term in pod.peers.apart)]
        foreign = [f"podAntiAffinity with a namespaceSelector of {name}" for name in blind[:1]]
        every = (*spreads, *shared, *(each.spread(each.fewest) for each in even))
        return cls(offer, own, every, even, (*beside, *unmodelled(own), *hard, *uneven, *foreign))

    def solve(self, time_limit: float) -> tuple[Problem, Solution]:
        """Return the program and the best plan found, within so many seconds."""
        return balance.solve_evenly(self.tasks, self.offer.nodes, self.spreads, self.even, time_limit)

    def faults(self, plan: Mapping[str, str], tasks: Sequence[Pod] | None = None) -> list[str]:
        """Return what is wrong with a plan for these tasks, or for some of them, in sentences."""
        wanted = self.tasks if tasks is None else tasks
        found = check.faults(wanted, self.offer.nodes, plan, self.spreads)
        named = {node.name for node in self.offer.nodes}
        there = {name: node for name, node in plan.items() if node in named}
        return [*found, *filter(None, (each.fault(there, self.offer.nodes) for each in self.even))]

    def require(self, plan: Mapping[str, str]) -> None:
        """Check a solver's plan of those tasks that it places.

        Raises:
            StageError: it has faults.
        """
        if wrong := self.faults(plan, [task for task in self.tasks if task.name in plan]):
            raise StageError(f"the solver's plan does not hold in integers: {'; '.join(wrong[:3])}")
