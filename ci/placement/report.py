"""The files that a placement leaves behind."""

from pathlib import Path
from typing import Any

from ci import workspace
from ci.errors import StageError
from ci.placement import explain, handover, picture
from ci.placement.amounts import counted
from ci.placement.packing import certificate
from ci.placement.plan import Plan
from ci.placement.planning import Question
from ci.results.placement import HANDOVER, PLAN, TIMING


def write(folder: Path | None, plan: Plan, *, required: bool, environment: str | None = None) -> list[str]:
    """Write a plan, its explanation, its picture and its wall time, and return the explanation's sentences.

    `plan.json` has the certificate of its bound; it is checked as it will be read. `handover.json` has for each group
    the fields that its pods get. All files but `timing.json` are the same bytes for the same plan; without a folder
    nothing is written.

    Raises:
        StageError: the certificate does not hold, so nothing is written.
    """
    question, problem, solution, advice = plan.question, plan.problem, plan.solution, plan.advice
    pods, spreads, inventory = question.pods, question.spreads, question.offer
    nodes, hosts = inventory.nodes, solution.plan(pods, inventory.nodes)
    explanation = explain.explain(pods, nodes, spreads, problem, solution, question.unmodelled)
    extra = len(frozenset().union(*advice.sets.values()) - set(hosts.values()))
    lines = [*explain.sentences(explanation), *_wider(advice, extra), *question.notes]
    if advice.sets and any(spread.by == "zone" for spread in spreads):
        lines.append("the scheduler was tried on the plan's nodes without limits per zone")
    document: dict[str, Any] = {
        "inventory": inventory.source,
        "nodes": len(nodes),
        "objective": solution.objective,
        "bound": solution.bound,
        "gap": round(solution.gap, 6),
        "proven": solution.proven and not question.unmodelled,
        "not_modelled": [*question.unmodelled],
        "least_unplaced": solution.least_unplaced,
        "plan": hosts,
        "sets": {group: sorted(names) for group, names in advice.sets.items()},
        "required": required,
        "unplaced": [pods[i].name for i in solution.unplaced],
        "pods": [{"name": pod.name, "group": pod.group, "requests": pod.requests} for pod in pods],
    }
    if environment:
        document["environment"] = environment
    if solution.proof:
        document["certificate"] = certificate.record(problem, solution.proof, unplaced=bool(solution.unplaced))
        if wrong := certificate.recheck(document):
            raise StageError(f"the plan's record does not hold: {'; '.join(wrong)}")
    if folder is None:
        return lines
    notes = {"notes": [*question.notes], "wider": extra, "waiting": advice.waiting, "orders_tried": advice.tried}
    with workspace.replacing(folder) as out:
        PLAN.write(document, out)
        HANDOVER.write(advice.fields, out)
        workspace.write_json(out / "explanation.json", explanation | notes)
        workspace.write_text(out / "explanation.txt", "\n".join(lines) + "\n")
        workspace.write_text(out / "plan.svg", picture.draw(pods, nodes, problem, solution))
        TIMING.write({"seconds": round(solution.seconds, 3)}, out)
    return lines


def _wider(advice: handover.Advice, extra: int) -> list[str]:
    """Return a sentence for each thing that the hand-over costs beyond the plan."""
    tried = f"{counted(advice.tried, 'order')} of arrival tried"
    if advice.waiting:
        still = f"{counted(len(advice.waiting), 'pod')} would wait all the same in some order of arrival, such as"
        return [f"the scheduler spreads pods: on the nodes of the sets {still} {advice.waiting[0]}"]
    if advice.sets and not advice.tried:
        return ["time ran out before the scheduler was tried on the plan's nodes: raise placement.time_limit"]
    cost = f"its sets have {counted(extra, 'node')} more than the plan, or some would wait"
    return [f"the scheduler spreads pods: {cost} ({tried})"] * bool(extra)


def named(question: Question) -> list[str]:
    """Return in sentences what the scheduler checks and no plan of a question does."""
    return [f"not modelled: {each}" for each in question.unmodelled]
