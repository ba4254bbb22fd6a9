"""What the cluster offers and what a task asks of it, in exact integers.

CPU counts in milliCPU and every other resource in its own unit (bytes, pods, devices). Free is what a node's
kubelet lets pods have (allocatable) less the effective requests of every pod that is bound to it and not finished,
as the scheduler counts them. Reading the API server is in `ci.placement.cluster`.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any

from ci.errors import InputError

Amounts = Mapping[str, int]


def counted(number: int, noun: str) -> str:
    """Return `1 node`, `2 nodes`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


EXAMPLE = Path(__file__).with_name("example.json")
"""A small cluster for machines that have none."""

COMPONENT = "app.kubernetes.io/component"
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?", re.ASCII)
_RECORD = "`kubectl get nodes,pods -A -o json`"
_QUANTITY = re.compile(r"\+?(\d+\.?\d*|\.\d+)(?:([eE])([+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i)?)", re.ASCII)
_SUFFIX: dict[str | None, Fraction] = {
    None: Fraction(1),
    **{letter: Fraction(1000) ** power for power, letter in enumerate("num kMGTPE", -3)},
    **{f"{letter}i": Fraction(1024**power) for power, letter in enumerate("KMGTPE", 1)},
}


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
    """Nodes in order of their names, where they were read, what was assumed while reading, and pods without a node."""

    source: str
    nodes: tuple[Node, ...]
    notes: tuple[str, ...] = ()
    pending: tuple[Pod, ...] = ()


def quantity(value: object, where: str, unit: Fraction = Fraction(1)) -> int:
    """Return a quantity as Kubernetes writes it (`100m`, `1.5`, `1e3`, `128Mi`, `1G`) in units of `unit`, rounded up.

    Raises:
        InputError: it is malformed, negative or beyond 62 bits; `where` names it.
    """
    match = _QUANTITY.fullmatch(str(value)) if type(value) in (str, int, float) else None
    if match is None:
        what = "negative" if str(value).startswith("-") else "not a quantity"
        raise InputError(f"{where}: {value!r} is {what}: write such as 500m, 2 or 128Mi")
    number, exponent, power, suffix = match.groups()
    amount = -(-Fraction(number) * (Fraction(10) ** int(power) if exponent else _SUFFIX[suffix]) // unit)
    if amount >= 2**62:
        raise InputError(f"{where}: {value!r} is more than any machine has")
    return int(amount)


def amounts(values: object, where: str) -> Counter[str]:
    """Return a Kubernetes resource list as integers: CPU in milliCPU, the rest in its own unit."""
    given = _object(values, where)
    return Counter({r: quantity(v, f"{where}.{r}", Fraction(1, 1000 if r == "cpu" else 1)) for r, v in given.items()})


def effective_requests(spec: Mapping[str, Any], where: str) -> Counter[str]:
    """Return what the scheduler counts for a pod: its own slot in `pods` and the most that runs at one time.

    Init containers run one after another, beside the sidecars (init containers that restart always) started before
    them; then the containers run beside all sidecars. Requests given for the pod as a whole take the place of the
    containers'. The runtime's overhead comes on top. A missing request is the limit, and without a limit zero.
    """

    def asked(container: Mapping[str, Any], where: str) -> Counter[str]:
        resources = _object(container.get("resources"), f"{where}.resources")
        limits = amounts(resources.get("limits"), f"{where}.resources.limits")
        return Counter({**limits, **amounts(resources.get("requests"), f"{where}.resources.requests")})

    sidecars, peak, together = Counter[str](), Counter[str](), Counter[str]()
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(_list(spec.get(kind), f"{where}.{kind}")):
            needs = asked(container, f"{where}.{kind}[{index}]")
            if kind == "containers":
                together += needs
            elif container.get("restartPolicy") == "Always":
                sidecars += needs
            else:
                peak |= sidecars + needs
    peak |= sidecars + together
    peak.update({r: amount - peak[r] for r, amount in asked(spec, where).items()})
    return peak + amounts(spec.get("overhead"), f"{where}.overhead") + Counter(pods=1)


def pod(name: str, group: str, spec: object, where: str) -> Pod:
    """Return the pod of a specification (`spec` of a Pod, `spec.template.spec` of a Deployment or Job)."""
    spec = affinity = _object(spec, where)
    for key in ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"):
        affinity = _object(affinity.get(key), f"{where}.affinity")
    # A requirement without terms matches no node; one empty term says the same.
    terms = _list(affinity.get("nodeSelectorTerms"), f"{where}.affinity") or [{}]
    _check_terms(terms, f"{where}.affinity.nodeAffinity")
    rules = {
        "nodeSelector": _object(spec.get("nodeSelector"), f"{where}.nodeSelector"),
        "tolerations": _list(spec.get("tolerations"), f"{where}.tolerations"),
        "terms": terms if affinity else None,
    }
    text = json.dumps({key: value for key, value in rules.items() if value}, sort_keys=True)
    return Pod(name, group, effective_requests(spec, where), text)


def _check_terms(terms: list[Any], where: str) -> None:
    """Raise InputError where a term of a node affinity is none that Kubernetes would accept."""
    for term in terms:
        for key in ("matchExpressions", "matchFields"):
            for each in _list(term.get(key), f"{where}.{key}"):
                if (operator := each.get("operator")) not in _OPERATORS:
                    raise InputError(f"{where}.{key}.operator: {operator!r} is none of {', '.join(_OPERATORS)}")
                if not isinstance(each.get("values"), list | NoneType):
                    raise InputError(f"{where}.{key}.values: expected a list")


def parse(document: object, source: str) -> Inventory:
    """Return the inventory of a list of nodes and pods, as `kubectl get nodes,pods -A -o json` prints it.

    A pod's group is its label `app.kubernetes.io/component`, or its own name.

    Raises:
        InputError: it is no such list, has no node, a name twice, or a value Kubernetes would not accept.
    """
    items = document.get("items") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise InputError(f"{source}: not a Kubernetes list: give what {_RECORD} prints")
    nodes: dict[str, tuple[dict[str, Any], str]] = {}
    pods: dict[str, list[Pod]] = {}
    seen: set[str] = set()
    for index, item in enumerate(items):
        where = f"{source}: items[{index}]"
        if not isinstance(item, dict):
            raise InputError(f"{where}: expected an object, found {type(item).__name__}")
        metadata = _object(item.get("metadata"), f"{where}.metadata")
        kind, name = item.get("kind"), metadata.get("name")
        if kind not in ("Node", "Pod"):
            continue
        if not isinstance(name, str) or not name:
            raise InputError(f"{where}.metadata.name: the {kind} has no name")
        if not _NAME.fullmatch(name):
            raise InputError(f"{where}.metadata.name: {ascii(name)[:80]} is no name that Kubernetes accepts")
        full = f"{metadata.get('namespace', 'default')}/{name}" if kind == "Pod" else name
        if (key := f"{kind} {full}") in seen:
            raise InputError(f"{where}: {key} appears twice: record the inventory again")
        seen.add(key)
        spec = _object(item.get("spec"), where := f"{where} ({key})")
        if kind == "Node":
            nodes[name] = (item, where)
        elif _object(item.get("status"), f"{where}.status").get("phase") not in ("Succeeded", "Failed"):
            labels = _labels(metadata, where)
            if not isinstance(spec.get("nodeName") or "", str):
                raise InputError(f"{where}.spec.nodeName: expected a name, found {type(spec['nodeName']).__name__}")
            found = pod(full, str(labels.get(COMPONENT, full)), spec, f"{where}.spec")
            pods.setdefault(spec.get("nodeName") or "", []).append(found)
    if not nodes:
        raise InputError(f"{source}: there is no node in it: record it with {_RECORD}")
    pending = tuple(pods.pop("", ()))
    without = sum(not (p.requests["cpu"] and p.requests["memory"]) for each in pods.values() for p in each)
    gone = sum(len(each) for host, each in pods.items() if host not in nodes)
    notes = (
        *[f"{counted(without, 'running pod')} asking for no CPU or no memory, which counts as zero"] * bool(without),
        *[f"{counted(gone, 'pod')} bound to nodes that are not in the list"] * bool(gone),
    )
    return Inventory(source, tuple(_node(*nodes[name], pods.get(name, [])) for name in sorted(nodes)), notes, pending)


def load(path: Path, source: str | None = None) -> Inventory:
    """Read a recorded inventory; `source` names it in errors and results instead of its path.

    Raises:
        InputError: the file is missing, no JSON, or not what `parse` takes.
    """
    try:
        return parse(json.loads(path.read_bytes()), source or str(path))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: record one with {_RECORD}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file: {error}") from None


def exclusion(rules: str, node: Node) -> str | None:
    """Return why a pod with these rules may not run on a node whatever is free there, or None."""
    given = _given(rules)
    cordon = {"key": "node.kubernetes.io/unschedulable", "value": "", "effect": "NoSchedule"}
    if not node.ready:
        return "the node is not ready"
    for taint in (*node.taints, *([cordon] * node.unschedulable)):
        tolerated = any(_tolerates(each, taint) for each in given.get("tolerations", ()))
        if taint["effect"] != "PreferNoSchedule" and not tolerated:
            if taint["key"] == cordon["key"]:
                return "the node is cordoned (unschedulable)"
            value = f"={taint['value']}" if taint.get("value") else ""
            return f"the taint {taint['key']}{value}:{taint['effect']} is not tolerated"
    for key, value in given.get("nodeSelector", {}).items():
        if node.labels.get(key) != value:
            return f"the node selector wants {key}={value}, the node has {node.labels.get(key, 'no such label')}"
    if "terms" in given and not any(_matches(term, node) for term in given["terms"]):
        return "the required node affinity does not match"
    return None


@lru_cache(maxsize=4096)
def _given(rules: str) -> Mapping[str, Any]:
    """Return a pod's rules; they are read once, though they are asked about every node."""
    return MappingProxyType(json.loads(rules))


def _node(item: Mapping[str, Any], where: str, running: list[Pod]) -> Node:
    spec, status = item.get("spec") or {}, _object(item.get("status"), f"{where}.status")
    allocatable = amounts(status.get("allocatable"), f"{where}.status.allocatable")
    taken = sum((Counter(each.requests) for each in running), Counter[str]())
    taints = []
    for index, taint in enumerate(_list(spec.get("taints"), f"{where}.spec.taints")):
        taints.append({key: str(taint.get(key) or "") for key in ("key", "value", "effect")})
        if taint.get("effect") not in _EFFECTS:
            what = f"{taint.get('effect')!r} is none of {', '.join(_EFFECTS)}"
            raise InputError(f"{where}.spec.taints[{index}].effect: {what}")
    conditions = _list(status.get("conditions"), f"{where}.status.conditions")
    return Node(
        name=item["metadata"]["name"],
        allocatable=allocatable,
        free={name: max(0, amount - taken[name]) for name, amount in allocatable.items()},
        running=tuple(sorted(running, key=lambda each: each.name)),
        labels=_labels(item["metadata"], where),
        taints=tuple(taints),
        unschedulable=spec.get("unschedulable") is True,
        ready=any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions),
    )


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    if any(toleration.get(each) not in (None, "", taint[each]) for each in ("effect", "key")):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == taint["value"]


def _matches(term: Mapping[str, Any], node: Node) -> bool:
    """Whether all expressions of a node selector term match; a term without any matches nothing."""
    by_label = [(node.labels, each) for each in term.get("matchExpressions") or ()]
    by_field = [({"metadata.name": node.name}, each) for each in term.get("matchFields") or ()]
    return bool(by_label or by_field) and all(_expression(values, each) for values, each in by_label + by_field)


def _expression(labels: Mapping[str, str], expression: Mapping[str, Any]) -> bool:
    found, values = labels.get(str(expression.get("key"))), list(expression.get("values") or ())
    match expression.get("operator"):
        case "In" | "NotIn" as operator:
            return (found in values) is (operator == "In")
        case "Exists" | "DoesNotExist" as operator:
            return (found is not None) is (operator == "Exists")
        case "Gt" | "Lt" as operator:
            try:
                difference = int(found or "") - int(str(values[0]))
            except (ValueError, IndexError):
                return False
            return difference > 0 if operator == "Gt" else difference < 0
        case _:
            raise InputError(f"node affinity: the operator must be one of {', '.join(_OPERATORS)}")


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict | NoneType):
        raise InputError(f"{where}: expected an object, found {type(value).__name__}")
    return value or {}


def _labels(metadata: Mapping[str, Any], where: str) -> dict[str, str]:
    labels = _object(metadata.get("labels"), f"{where}.metadata.labels")
    if wrong := [key for key, value in labels.items() if not isinstance(value, str)]:
        raise InputError(
            f"{where}.metadata.labels.{wrong[0]}: expected a text, found {type(labels[wrong[0]]).__name__}"
        )
    return labels


def _list(value: object, where: str) -> list[dict[str, Any]]:
    if value is not None and not (isinstance(value, list) and all(isinstance(each, dict) for each in value)):
        raise InputError(f"{where}: expected a list of objects")
    return value or []
