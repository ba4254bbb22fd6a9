"""From the pods that will be created and a cluster to a question: what is offered, what is wanted, and all limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ci.errors import StageError
from ci.placement import balance, check, explain, limits
from ci.placement.balance import Balance
from ci.placement.inventory import Inventory, Pod
from ci.placement.model import Spread
from ci.placement.packing.incumbent import Watch
from ci.placement.packing.problem import Problem
from ci.placement.packing.solution import Solution
from ci.placement.wanted import Build, Server, assumed, beginning, reported, rolled_out, spreads, staying, unmodelled
from ci.settings import Settings


@dataclass(frozen=True)
class Question:
    """Pods to place on the nodes of an inventory.

    Attributes:
        offer: nodes with what stays on them.
        pods: the pods, their rules with the nodes that running pods close.
        spreads: limits that every plan keeps.
        even: hard spreads of the pods' own.
        unmodelled: in words, what the scheduler would check and this does not.
        notes: in sentences, what was assumed of the inventory and of the pods.
    """

    offer: Inventory
    pods: tuple[Pod, ...]
    spreads: tuple[Spread, ...]
    even: tuple[Balance, ...]
    unmodelled: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls, offer: Inventory, wanted: Sequence[Pod], spreads: Sequence[Spread], beside: Sequence[str] = ()
    ) -> "Question":
        """Return the question of placing pods, with all that they and the pods that run demand of each other.

        Args:
            offer: nodes with what stays on them.
            wanted: the pods.
            spreads: limits besides.
            beside: what else is not modelled.
        """
        own = limits.closed(wanted, offer.nodes)
        shared, hard = limits.shared(own)
        even, uneven = balance.balances(own, offer.nodes)
        running = [pod for node in offer.nodes for pod in node.running]
        blind = [pod.name for pod in running if not all(term.known for term in pod.peers.apart)]
        foreign = [f"podAntiAffinity with a namespaceSelector of {name}" for name in blind[:1]]
        every = (*spreads, *shared, *(each.spread(each.fewest) for each in even))
        if any(each.by == "zone" for each in shared):  # on such nodes anti-affinity over zones keeps nothing apart
            foreign += [f"podAntiAffinity on nodes of no zone, such as {n.name}" for n in offer.nodes if not n.zone][:1]
        named, notes = (*beside, *unmodelled(own), *hard, *uneven, *foreign), (*offer.notes, *assumed(own))
        return cls(offer, own, every, even, named, notes)

    def solve(self, time_limit: float, watch: Watch | None = None) -> tuple[Problem, Solution]:
        """Return the program and the best plan found, within so many seconds; `watch` is told of progress."""
        return balance.solve_evenly(self.pods, self.offer.nodes, self.spreads, self.even, time_limit, watch)

    def faults(self, plan: Mapping[str, str], some: Sequence[Pod] | None = None) -> list[str]:
        """Return what is wrong with a plan for these pods, or for some of them, in sentences."""
        wanted = self.pods if some is None else some
        found = check.faults(wanted, self.offer.nodes, plan, self.spreads)
        named = {node.name for node in self.offer.nodes}
        there = {name: node for name, node in plan.items() if node in named}
        return [*found, *filter(None, (each.fault(there, self.offer.nodes) for each in self.even))]

    def require(self, plan: Mapping[str, str]) -> None:
        """Check a solver's plan of those pods that it places.

        Raises:
            StageError: it has faults.
        """
        if wrong := self.faults(plan, [pod for pod in self.pods if pod.name in plan]):
            raise StageError(f"the solver's plan does not hold in integers: {'; '.join(wrong[:3])}")


@dataclass(frozen=True)
class Demand:
    """The pods that will be created.

    Attributes:
        build: those of a build.
        serving: what a rollout applies; None where only the pods of a build are planned.
        unread: what of `serving` could not be read, in words.
    """

    build: Build
    serving: Server | None = None
    unread: str | None = None

    def pods(self, offer: Inventory, settings: Settings, group: str | None) -> list[Pod]:
        """Return the pods of one group (`serving`, `training`), or of both."""
        found = rolled_out(settings, self.serving, offer) if self.serving and group != "training" else []
        return found if group == "serving" else [*found, *self.build.pods()]

    def question(self, offer: Inventory, settings: Settings, group: str | None) -> tuple[Question, list[str]]:
        """Return the question of placing the pods of a group, or of both, and which requests its nodes do not report.

        The release that runs leaves where pods of a rollout are planned, which replace it; for a build alone it stays.
        """
        found, absent = reported(self.pods(offer, settings, group), offer.nodes)
        if group == "training" or not self.serving:
            return Question.of(offer, found, ()), absent
        rest, unread = staying(offer, self.serving), [self.unread] if self.unread else []
        return Question.of(rest, found, spreads(settings, found), unread), absent

    def stuck(self, offer: Inventory, question: Question, time_limit: float) -> list[str]:
        """Return in sentences why the first pods of a rollout find no room while the release that runs is still whole.

        Args:
            offer: the cluster with that release.
            question: of placing the pods of the rollout.
            time_limit: wall-clock limit; seconds.
        """
        if not self.serving or not (new := beginning(question.pods, self.serving)):
            return []
        first = Question.of(offer, new, ())
        problem, solution = first.solve(time_limit)
        found = explain.explain(first.pods, offer.nodes, first.spreads, problem, solution)
        return [str(each) for each in found["unplaced"]]
