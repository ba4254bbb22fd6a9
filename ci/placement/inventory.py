"""What the cluster offers and what a task asks of it, in exact integers.

CPU counts in milliCPU and every other resource in its own unit (bytes, pods, devices). Free is what a node's
kubelet lets pods have (allocatable) less the effective requests of every pod that is bound to it and not finished,
as the scheduler counts them. Reading the API server is in `ci.placement.cluster`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from ci.errors import InputError

Amounts = dict[str, int]

RECORDED = Path(__file__).with_name("recorded.json")
"""A small cluster for machines that have none."""

_QUANTITY = re.compile(r"\+?(\d+\.?\d*|\.\d+)(?:([eE])([+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i)?)", re.ASCII)
_SUFFIX: dict[str | None, Fraction] = {None: Fraction(1)}
_SUFFIX |= {letter: Fraction(1000) ** power for power, letter in zip(range(-3, 0), "num", strict=True)}
_SUFFIX |= {letter: Fraction(1000**power) for power, letter in enumerate("kMGTPE", 1)}
_SUFFIX |= {f"{letter}i": Fraction(1024**power) for power, letter in enumerate("KMGTPE", 1)}
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


@dataclass(frozen=True)
class Pod:
    """A pod as the scheduler sees it: running on a node, or a task that waits for one.

    `name` is unique; pods of one `group` (a Deployment, a Job) are interchangeable; `rules` are the parts of the pod's
    specification that decide on which nodes it may run, as canonical JSON.
    """

    name: str
    group: str
    requests: Amounts
    rules: str = "{}"


@dataclass(frozen=True)
class Node:
    """A node: what pods may have of it, what is still free (never below zero), and what runs on it."""

    name: str
    allocatable: Amounts
    free: Amounts
    running: tuple[Pod, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[dict[str, str], ...] = ()
    unschedulable: bool = False
    ready: bool = True

    @property
    def zone(self) -> str:
        """The failure zone, or an empty string."""
        return self.labels.get("topology.kubernetes.io/zone", "")


@dataclass(frozen=True)
class Inventory:
    """Nodes in order of their names, where they were read, and what was assumed while reading."""

    source: str
    nodes: tuple[Node, ...]
    notes: tuple[str, ...] = ()


def quantity(value: object, where: str, *, unit: Fraction = Fraction(1)) -> int:
    """Return a Kubernetes quantity in units of `unit`, rounded up as Kubernetes does.

    Args:
        value: such as `100m`, `1.5`, `1e3`, `128Mi`, `1G`; numbers as JSON has them are accepted.
        where: names the value in errors.
        unit: size of the result's unit; 1/1000 gives milli-units.

    Raises:
        InputError: it is malformed, negative or beyond 64 bits.
    """
    match = _QUANTITY.fullmatch(str(value)) if isinstance(value, str | int | float) else None
    if match is None or isinstance(value, bool):
        negative = str(value).startswith("-")
        raise InputError(
            f"{where}: {value!r} is {'negative' if negative else 'not a quantity'}: write such as 500m, 2 or 128Mi"
        )
    number, exponent, power, suffix = match.groups()
    scale = Fraction(10) ** int(power) if exponent else _SUFFIX[suffix]
    amount = -(-Fraction(number) * scale // unit)
    if amount >= 2**62:
        raise InputError(f"{where}: {value!r} is more than any machine has")
    return int(amount)


def amounts(values: object, where: str) -> Amounts:
    """Return a Kubernetes resource list as integers: CPU in milliCPU, the rest in its own unit."""
    milli = {"cpu": Fraction(1, 1000)}
    return {
        name: quantity(value, f"{where}.{name}", unit=milli.get(name, Fraction(1)))
        for name, value in _mapping(values, where).items()
    }


def effective_requests(spec: Mapping[str, Any], where: str) -> Amounts:
    """Return what the scheduler counts for a pod: its own slot in `pods` and the most that runs at one time.

    Init containers run one after another, beside the sidecars (init containers that restart always) started before
    them; then the containers run beside all sidecars. Requests given for the pod as a whole take the place of the
    containers'. The runtime's overhead comes on top. A missing request is the limit, and without a limit zero.
    """
    sidecars: Amounts = {}
    peak: Amounts = {}
    for index, container in enumerate(_list(spec.get("initContainers"), f"{where}.initContainers")):
        asked = _container(container, f"{where}.initContainers[{index}]")
        if container.get("restartPolicy") == "Always":
            sidecars = _add(sidecars, asked)
            asked = {}
        peak = _most(peak, _add(sidecars, asked))
    together = sidecars
    for index, container in enumerate(_list(spec.get("containers"), f"{where}.containers")):
        together = _add(together, _container(container, f"{where}.containers[{index}]"))
    whole = _container(spec, where) if spec.get("resources") else {}
    overhead = amounts(spec.get("overhead"), f"{where}.overhead")
    return _add(_add(_most(peak, together) | whole, overhead), {"pods": 1})


def pod(name: str, group: str, spec: object, where: str) -> Pod:
    """Return the pod of a specification (`spec` of a Pod, `spec.template.spec` of a Deployment or Job)."""
    spec = _mapping(spec, where)
    affinity = _mapping(_mapping(spec.get("affinity"), f"{where}.affinity").get("nodeAffinity"), f"{where}.affinity")
    required = _mapping(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"), f"{where}.affinity")
    rules = {
        "nodeSelector": _mapping(spec.get("nodeSelector"), f"{where}.nodeSelector"),
        "tolerations": _list(spec.get("tolerations"), f"{where}.tolerations"),
        # A requirement without terms matches no node; one empty term says the same.
        "terms": _list(required.get("nodeSelectorTerms"), f"{where}.affinity") or [{}] if required else None,
    }
    text = json.dumps({key: value for key, value in rules.items() if value}, sort_keys=True)
    return Pod(name, group, effective_requests(spec, where), text)


def parse(document: object, source: str) -> Inventory:
    """Return the inventory of a list of nodes and pods, as `kubectl get nodes,pods -A -o json` prints it.

    Raises:
        InputError: it is no such list, has no node, a name twice, or a value Kubernetes would not accept.
    """
    items = document.get("items") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise InputError(f"{source}: not a Kubernetes list: give what `kubectl get nodes,pods -A -o json` prints")
    nodes: dict[str, tuple[dict[str, Any], str]] = {}
    bound: dict[str, list[Pod]] = {}
    seen: set[str] = set()
    without = 0
    for index, item in enumerate(items):
        where = f"{source}: items[{index}]"
        item = _mapping(item, where)
        metadata = _mapping(item.get("metadata"), f"{where}.metadata")
        kind, name = item.get("kind"), metadata.get("name")
        if kind not in ("Node", "Pod"):
            continue
        if not isinstance(name, str) or not name:
            raise InputError(f"{where}.metadata.name: the {kind} has no name")
        full = f"{metadata.get('namespace', 'default')}/{name}" if kind == "Pod" else name
        if (key := f"{kind} {full}") in seen:
            raise InputError(f"{where}: {key} appears twice: record the inventory again")
        seen.add(key)
        where = f"{where} ({key})"
        if kind == "Node":
            nodes[name] = (item, where)
        elif (host := _mapping(item.get("spec"), where).get("nodeName")) and not _finished(item):
            running = pod(full, full, item.get("spec"), f"{where}.spec")
            without += not (running.requests.get("cpu") and running.requests.get("memory"))
            bound.setdefault(host, []).append(running)
    if not nodes:
        raise InputError(f"{source}: there is no node in it: record it with `kubectl get nodes,pods -A -o json`")
    notes = [f"{without} running pods request no CPU or no memory and count as zero there"] if without else []
    gone = sum(len(pods) for host, pods in bound.items() if host not in nodes)
    notes += [f"{gone} pods are bound to nodes that are not in the list"] if gone else []
    return Inventory(source, tuple(_node(*nodes[name], bound.get(name, [])) for name in sorted(nodes)), tuple(notes))


def load(path: Path, source: str | None = None) -> Inventory:
    """Read a recorded inventory; `source` names it in errors and results instead of its path.

    Raises:
        InputError: the file is missing, no JSON, or not what `parse` takes.
    """
    try:
        return parse(json.loads(path.read_bytes()), source or str(path))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: record one with `kubectl get nodes,pods -A -o json`") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file: {error}") from None


def exclusion(rules: str, node: Node) -> str | None:
    """Return why a pod with these rules may not run on a node whatever is free there, or None."""
    if not node.ready:
        return "the node is not ready"
    given = json.loads(rules)
    tolerations = given.get("tolerations", [])
    taints = [*node.taints]
    if node.unschedulable:
        taints.append({"key": "node.kubernetes.io/unschedulable", "value": "", "effect": "NoSchedule"})
    for taint in taints:
        if taint["effect"] != "PreferNoSchedule" and not any(_tolerates(each, taint) for each in tolerations):
            if taint["key"] == "node.kubernetes.io/unschedulable":
                return "the node is cordoned (unschedulable)"
            value = f"={taint['value']}" if taint.get("value") else ""
            return f"the taint {taint['key']}{value}:{taint['effect']} is not tolerated"
    for key, value in given.get("nodeSelector", {}).items():
        if node.labels.get(key) != value:
            return f"the node selector wants {key}={value}, the node has {node.labels.get(key, 'no such label')}"
    terms = given.get("terms")
    if terms is not None and not any(_term(term, node) for term in terms):
        return "the required node affinity does not match"
    return None


def _node(item: Mapping[str, Any], where: str, running: list[Pod]) -> Node:
    spec = _mapping(item.get("spec"), f"{where}.spec")
    status = _mapping(item.get("status"), f"{where}.status")
    allocatable = amounts(status.get("allocatable"), f"{where}.status.allocatable")
    taken: Amounts = {}
    for each in running:
        taken = _add(taken, each.requests)
    taints = tuple(
        {"key": str(taint.get("key")), "value": taint.get("value") or "", "effect": str(taint.get("effect"))}
        for taint in _list(spec.get("taints"), f"{where}.spec.taints")
    )
    for index, taint in enumerate(taints):
        if taint["effect"] not in _EFFECTS:
            raise InputError(
                f"{where}.spec.taints[{index}].effect: {taint['effect']!r} is none of {', '.join(_EFFECTS)}"
            )
    conditions = _list(status.get("conditions"), f"{where}.status.conditions")
    return Node(
        name=item["metadata"]["name"],
        allocatable=allocatable,
        free={name: max(0, amount - taken.get(name, 0)) for name, amount in allocatable.items()},
        running=tuple(sorted(running, key=lambda each: each.name)),
        labels=_mapping(item["metadata"].get("labels"), f"{where}.metadata.labels"),
        taints=taints,
        unschedulable=spec.get("unschedulable") is True,
        ready=any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions),
    )


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("key") not in (None, "", taint["key"]):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == taint["value"]


def _term(term: Mapping[str, Any], node: Node) -> bool:
    """Whether all expressions of a node selector term match; a term without any matches nothing."""
    by_label = [(node.labels, each) for each in term.get("matchExpressions") or ()]
    by_field = [({"metadata.name": node.name}, each) for each in term.get("matchFields") or ()]
    return bool(by_label or by_field) and all(_expression(values, each) for values, each in by_label + by_field)


def _expression(labels: Mapping[str, str], expression: Mapping[str, Any]) -> bool:
    found, values = labels.get(str(expression.get("key"))), expression.get("values") or []
    match expression.get("operator"):
        case "In":
            return found in values
        case "NotIn":
            return found not in values
        case "Exists":
            return found is not None
        case "DoesNotExist":
            return found is None
        case "Gt" | "Lt" as operator:
            try:
                difference = int(found or "") - int(values[0])
            except (ValueError, IndexError):
                return False
            return difference > 0 if operator == "Gt" else difference < 0
        case unknown:
            raise InputError(f"node affinity: {unknown!r} is none of In, NotIn, Exists, DoesNotExist, Gt, Lt")


def _finished(item: Mapping[str, Any]) -> bool:
    return _mapping(item.get("status"), "status").get("phase") in ("Succeeded", "Failed")


def _container(container: Mapping[str, Any], where: str) -> Amounts:
    resources = _mapping(container.get("resources"), f"{where}.resources")
    limits = amounts(resources.get("limits"), f"{where}.resources.limits")
    return limits | amounts(resources.get("requests"), f"{where}.resources.requests")


def _add(one: Amounts, other: Amounts) -> Amounts:
    return {name: one.get(name, 0) + other.get(name, 0) for name in one | other}


def _most(one: Amounts, other: Amounts) -> Amounts:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in one | other}


def _mapping(value: object, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, found {type(value).__name__}")
    return value


def _list(value: object, where: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise InputError(f"{where}: expected a list of objects")
    return value
