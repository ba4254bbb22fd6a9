"""The inventory of a cluster: nodes, the pods on them, and what is free, in exact integers.

Free is what a node's kubelet lets pods have (allocatable) less the effective requests of every pod that is bound to it
and not finished, as the scheduler counts them. Reading the API server is in `ci.placement.cluster`.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ci import reading
from ci.errors import InputError
from ci.placement.amounts import Amounts, amounts, counted, effective_requests
from ci.placement.peers import NONE, Peers
from ci.placement.peers import read as read_peers
from ci.placement.selectors import check_terms, matches_node, tolerates, tolerations
from ci.pods.objects import a_list, an_object, texts
from ci.pods.templates import COMPONENT

EXAMPLE = Path(__file__).with_name("example.json")
"""An embedded example: a small recorded cluster for machines that have none."""

OS, ARCH = "kubernetes.io/os", "kubernetes.io/arch"
LEAVING = (
    "ToBeDeletedByClusterAutoscaler",
    "DeletionCandidateOfClusterAutoscaler",
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
)
"""Taints that autoscalers give a node that they are about to remove; Karpenter's had the last name before 1.0."""
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_CORDON = {"key": "node.kubernetes.io/unschedulable", "value": "", "effect": "NoSchedule"}
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?", re.ASCII)
_RECORD = "`kubectl get nodes,pods -A -o json`"
_NODES, _PODS, _BYTES = 100_000, 500_000, 2**30
"""Most nodes, pods and file bytes of an inventory: more would need more memory than build machines have."""
_UNREAD = ("annotations", "managedFields", "images", "env", "volumeMounts")
"""Objects and lists that take most of a record, and that nothing is read from."""
_DEEPEST = 8
"""Lists in lists that are read."""

Entry = tuple[str, dict[str, Any], str]
"""What a list holds: the kind of an object, the object, and its place for errors."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as the scheduler sees it: running on a node, or to be placed on one.

    `name` is unique; pods of one `group` (a Deployment, a Job) are interchangeable; `rules` are the parts of the pod's
    specification that decide on which nodes it may run, as canonical JSON; `peers` is what it demands of other pods.
    """

    name: str
    group: str
    requests: Amounts
    rules: str = "{}"
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    peers: Peers = NONE
    ending: bool = False


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

    def without(self, gone: Callable[[Pod], bool]) -> "Node":
        """Return the node as it is when some of its pods have left."""
        return self.beside([pod for pod in self.running if not gone(pod)])

    def beside(self, pods: Sequence[Pod]) -> "Node":
        """Return the node with these pods on it and no others."""
        running = tuple(sorted(pods, key=lambda each: each.name))
        return replace(self, running=running, free=_free(self.allocatable, running))


@dataclass(frozen=True)
class Inventory:
    """Nodes in order of their names, where they were read, what was assumed while reading, and pods without a node.

    A pod that waits for a node which the scheduler has nominated for it is among both: nobody else gets its room.
    """

    source: str
    nodes: tuple[Node, ...]
    notes: tuple[str, ...] = ()
    pending: tuple[Pod, ...] = ()

    @property
    def ending(self) -> list[Pod]:
        """The pods that are being deleted: they take room until they are gone."""
        return [pod for node in self.nodes for pod in node.running if pod.ending]


def pod(
    name: str,
    group: str,
    spec: object,
    where: str,
    *,
    status: Mapping[str, Any] | None = None,
    namespace: str = "",
    labels: Mapping[str, str] | None = None,
) -> Pod:
    """Return the pod of a specification (`spec` of a Pod, `spec.template.spec` of a Deployment or Job)."""
    spec = affinity = an_object(spec, where)
    for key in ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"):
        affinity = an_object(affinity.get(key), f"{where}.affinity")
    # A requirement without terms matches no node; one empty term says the same.
    terms = a_list(affinity.get("nodeSelectorTerms"), f"{where}.affinity") or [{}]
    check_terms(terms, f"{where}.affinity.nodeAffinity")
    rules = {
        "nodeSelector": texts(spec.get("nodeSelector"), f"{where}.nodeSelector"),
        "tolerations": tolerations(spec, where),
        "terms": terms if affinity else None,
    }
    text = json.dumps({key: value for key, value in rules.items() if value}, sort_keys=True)
    peers = read_peers(spec, namespace, labels or {}, where)
    return Pod(name, group, effective_requests(spec, where, status), text, namespace, labels or {}, peers)


def parse(document: object, source: str) -> Inventory:
    """Return the inventory of a list of nodes and pods, as `kubectl get nodes,pods -A -o json` prints it.

    Lists in it are read too, and an entry without a kind has that of its list. A pod's group is its label
    `app.kubernetes.io/component`, or its own name.

    Raises:
        InputError: it is no such list, has no node, a name twice, an entry of no kind, or a value Kubernetes would not
            accept.
    """
    if not isinstance(document, dict) or not isinstance(document.get("items"), list):
        raise InputError(f"{source}: not a Kubernetes list: give what {_RECORD} prints")
    return gather(_entries(document, f"{source}: "), source)


def gather(entries: Iterable[Entry], source: str) -> Inventory:
    """Return the inventory of entries that come one after another; of each only what is read is kept.

    Raises:
        InputError: as `parse` does.
    """
    nodes: dict[str, Node] = {}
    pods: dict[str, list[Pod]] = {}
    seen: set[str] = set()
    others = Counter[str]()
    waiting: list[Pod] = []
    for kind, item, where in entries:
        if kind not in ("Node", "Pod"):
            others[kind] += 1
            continue
        metadata = an_object(item.get("metadata"), f"{where}.metadata")
        name, namespace = metadata.get("name"), metadata.get("namespace") or "default"
        if not isinstance(name, str) or not name:
            raise InputError(f"{where}.metadata.name: the {kind} has no name")
        if not _NAME.fullmatch(name):
            raise InputError(f"{where}.metadata.name: {ascii(name)[:80]} is no name that Kubernetes accepts")
        if not isinstance(namespace, str):
            raise InputError(f"{where}.metadata.namespace: expected a name, found {type(namespace).__name__}")
        key = f"{kind} {namespace}/{name}" if kind == "Pod" else f"{kind} {name}"
        if key in seen:
            raise InputError(f"{where}: {key} appears twice: record the inventory again")
        seen.add(key)
        if len(nodes) >= _NODES or len(seen) - len(nodes) > _PODS:
            most = f"more than {_NODES:,} nodes or {_PODS:,} pods"
            raise InputError(f"{source}: {most}: record those of the node pools that may be used, by a selector (-l)")
        if kind == "Node":
            nodes[name] = node(item, f"{where} ({key})")
        elif found := _bound(item, f"{namespace}/{name}", namespace, f"{where} ({key})"):
            bound, nominated, one = found
            pods.setdefault(bound or nominated, []).append(one)
            if nominated and not bound:
                waiting.append(one)
    if not nodes:
        raise InputError(f"{source}: there is no node in it: record it with {_RECORD}")
    pending = (*pods.pop("", ()), *waiting)
    every = any(key.startswith("Pod ") for key in seen)
    return Inventory(
        source,
        tuple(nodes[name].beside(pods.get(name, [])) for name in sorted(nodes)),
        tuple(_notes(nodes.keys(), pods, others, none=not every)),
        pending,
    )


def _entries(given: Mapping[str, Any], where: str, depth: int = 1) -> Iterator[Entry]:
    """Yield the entries of a list and of lists in it: kind, entry, and its place for errors."""
    whole = str(given.get("kind") or "List")
    for index, item in enumerate(given["items"]):
        at = f"{where}items[{index}]"
        if not isinstance(item, dict):
            raise InputError(f"{at}: expected an object, found {type(item).__name__}")
        kind = item.get("kind") or whole.removesuffix("List")
        if not isinstance(kind, str):
            raise InputError(f"{at}.kind: expected a text, found {type(kind).__name__}")
        if not kind:
            raise InputError(f"{at}: it has no kind, so it may be a Node, a Pod or anything: record it with {_RECORD}")
        if not kind.endswith("List") or "items" not in item:
            yield kind if item.get("apiVersion") in (None, "v1") else f"{item['apiVersion']} {kind}", item, at
            continue
        if item.get("items") is not None and not isinstance(item["items"], list):
            raise InputError(f"{at}.items: expected a list, found {type(item['items']).__name__}")
        if depth == _DEEPEST:
            raise InputError(f"{at}: lists are nested deeper than {_DEEPEST}: record it with {_RECORD}")
        yield from _entries({**item, "items": item.get("items") or []}, f"{at}.", depth + 1)


def _bound(item: Mapping[str, Any], name: str, namespace: str, where: str) -> tuple[str, str, Pod] | None:
    """Return the node that an entry's pod is bound to, the one nominated for it (both empty for none), and the pod.

    None stands for a pod that is finished.
    """
    spec = an_object(item.get("spec"), f"{where}.spec")
    status, metadata = an_object(item.get("status"), f"{where}.status"), an_object(item["metadata"], where)
    if status.get("phase") in ("Succeeded", "Failed"):
        return None
    labels = texts(metadata.get("labels"), f"{where}.metadata.labels")
    hosts = [spec.get("nodeName") or "", status.get("nominatedNodeName") or ""]
    for at, host in zip(("spec.nodeName", "status.nominatedNodeName"), hosts, strict=True):
        if not isinstance(host, str):
            raise InputError(f"{where}.{at}: expected a name, found {type(host).__name__}")
    group = labels.get(COMPONENT, name)
    found = pod(name, group, spec, f"{where}.spec", status=status, namespace=namespace, labels=labels)
    return hosts[0], hosts[1], replace(found, ending=bool(metadata.get("deletionTimestamp")))


def _notes(
    nodes: Sequence[str] | Any, pods: Mapping[str, list[Pod]], others: Mapping[str, int], *, none: bool
) -> Iterator[str]:
    """Yield what was assumed of an inventory, in sentences."""
    if none:
        yield "there is no pod in it, so every node counts as empty"
    if others:
        kinds = ", ".join(sorted(others))
        yield f"{counted(sum(others.values()), 'entry')} of other kinds ({ascii(kinds)[1:-1][:200]}) left out"
    if without := sum(not (p.requests["cpu"] and p.requests["memory"]) for each in pods.values() for p in each):
        yield f"{counted(without, 'running pod')} asking for no CPU or no memory, which counts as zero"
    if gone := sum(len(each) for host, each in pods.items() if host not in nodes):
        yield f"{counted(gone, 'pod')} bound to nodes that are not in the list"


def load(path: Path, source: str | None = None) -> Inventory:
    """Read a recorded inventory; `source` names it in errors and results instead of its path.

    Raises:
        InputError: the file is missing, no JSON, or not what `parse` takes.
    """
    try:
        if not path.exists():
            raise InputError(f"{path} is missing: record one with {_RECORD}")
        return parse(json.loads(reading.content(path, _BYTES), object_hook=slim), source or str(path))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file: {error}") from None


def slim(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an object of a record without what is not read; a label may have such a name too, and is a text."""
    for key in _UNREAD:
        if isinstance(entry.get(key), dict | list):
            del entry[key]
    return entry


def exclusion(rules: str, node: Node) -> str | None:
    """Return why a pod with these rules may not run on a node whatever is free there, or None."""
    given = _given(rules)
    if not node.ready:
        return "the node is not ready"
    if taint := next((taint for taint in node.taints if taint["key"] in LEAVING), None):
        return f"the node is about to be removed ({taint['key']})"
    if wanted := given.get("platform"):
        has = [node.labels.get(key, value) for key, value in zip((OS, ARCH), wanted, strict=True)]
        if has != wanted:
            return f"the image is for {'/'.join(wanted)}, the node is {'/'.join(has)}"
    if taint := untolerated(rules, node):
        if taint["key"] == _CORDON["key"]:
            return "the node is cordoned (unschedulable)"
        value = f"={taint['value']}" if taint.get("value") else ""
        return f"the taint {taint['key']}{value}:{taint['effect']} is not tolerated"
    for key in given.get("labels", ()):
        if key not in node.labels:
            return f"the node has no label {key}, which the pod's spread over nodes needs"
    if reason := unmatched(rules, node):
        return reason
    closed: str | None = given.get("closed", {}).get(node.name)
    return closed


def untolerated(rules: str, node: Node) -> dict[str, str] | None:
    """Return the first taint of a node, a cordon included, that a pod with these rules does not tolerate."""
    given = _given(rules)
    for taint in (*node.taints, *([_CORDON] * node.unschedulable)):
        if taint["effect"] != "PreferNoSchedule" and not any(tolerates(e, taint) for e in given.get("tolerations", ())):
            return taint
    return None


def unmatched(rules: str, node: Node) -> str | None:
    """Return why a node does not match the node selector and the required node affinity of rules, or None."""
    given = _given(rules)
    for key, value in given.get("nodeSelector", {}).items():
        if node.labels.get(key) != value:
            return f"the node selector wants {key}={value}, the node has {node.labels.get(key, 'no such label')}"
    if "terms" in given and not any(matches_node(term, node.name, node.labels) for term in given["terms"]):
        return "the required node affinity does not match"
    return None


@lru_cache(maxsize=4096)
def _given(rules: str) -> Mapping[str, Any]:
    """Return a pod's rules; they are read once, though they are asked about every node."""
    return MappingProxyType(json.loads(rules))


def node(item: Mapping[str, Any], where: str) -> Node:
    """Return a node of the API, on which nothing runs yet; `where` names it in errors."""
    spec, status = an_object(item.get("spec"), f"{where}.spec"), an_object(item.get("status"), f"{where}.status")
    allocatable = amounts(status.get("allocatable"), f"{where}.status.allocatable")
    taints = []
    for index, taint in enumerate(a_list(spec.get("taints"), f"{where}.spec.taints")):
        taints.append({key: str(taint.get(key) or "") for key in ("key", "value", "effect")})
        if taint.get("effect") not in _EFFECTS:
            what = f"{taint.get('effect')!r} is none of {', '.join(_EFFECTS)}"
            raise InputError(f"{where}.spec.taints[{index}].effect: {what}")
    conditions = a_list(status.get("conditions"), f"{where}.status.conditions")
    return Node(
        name=item["metadata"]["name"],
        allocatable=allocatable,
        free=_free(allocatable, ()),
        labels=texts(item["metadata"].get("labels"), f"{where}.metadata.labels"),
        taints=tuple(taints),
        unschedulable=spec.get("unschedulable") is True,
        ready=any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions),
    )


def _free(allocatable: Amounts, running: Sequence[Pod]) -> dict[str, int]:
    taken = sum((Counter(each.requests) for each in running), Counter[str]())
    return {name: max(0, amount - taken[name]) for name, amount in allocatable.items()}
