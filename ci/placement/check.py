"""A second check of a plan, in plain integers; it shares with the solvers only how node rules are read: `exclusion`."""

from collections import Counter
from collections.abc import Mapping, Sequence

from ci.errors import StageError
from ci.placement.inventory import Node, Pod, exclusion
from ci.placement.model import Spread


def faults(
    pods: Sequence[Pod], nodes: Sequence[Node], plan: Mapping[str, str], spreads: Sequence[Spread] = ()
) -> list[str]:
    """Return what is wrong with a plan, in sentences; an empty list if nothing is.

    Args:
        pods: the pods to place.
        nodes: the nodes as they are now.
        plan: node name by pod name; a pod that is missing in it is a fault.
        spreads: how many pods of a group may share a node or a zone.
    """
    by_name = {node.name: node for node in nodes}
    wanted: dict[str, list[Pod]] = {}
    found = []
    for pod in pods:
        host = plan.get(pod.name)
        if host is None:
            found.append(f"{pod.name} has no node")
        elif host not in by_name:
            found.append(f"{pod.name} is on {host}, which is not there")
        elif reason := exclusion(pod.rules, by_name[host]):
            found.append(f"{pod.name} may not run on {host}: {reason}")
        else:
            wanted.setdefault(host, []).append(pod)
    found += [f"{name} is not a pod" for name in sorted(plan.keys() - {pod.name for pod in pods})]
    for host, here in sorted(wanted.items()):
        asked = sum((Counter(pod.requests) for pod in here), Counter[str]())
        free = by_name[host].free
        short = [resource for resource in sorted(asked) if asked[resource] > free.get(resource, 0)]
        found += [f"{host}: {resource} {asked[resource]} asked, {free.get(resource, 0)} free" for resource in short]
    for spread in spreads:
        together = Counter[str]()
        for host, here in wanted.items():
            place = host if spread.by == "node" else by_name[host].zone
            together[place] += sum(spread.counts(pod) for pod in here)
        found += [
            f"{spread.by} {place}: {count} pods of {spread.group}, {spread.limit} allowed"
            for place, count in sorted(together.items())
            if count > spread.limit
        ]
    return found


def require(
    pods: Sequence[Pod], nodes: Sequence[Node], plan: Mapping[str, str], spreads: Sequence[Spread] = ()
) -> None:
    """Check a solver's plan.

    Raises:
        StageError: it has faults.
    """
    if wrong := faults(pods, nodes, plan, spreads):
        raise StageError(f"the solver's plan does not hold in integers: {'; '.join(wrong[:3])}")
