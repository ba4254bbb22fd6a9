"""A pod's demands on other pods: host ports, required anti-affinity, hard topology spread.

What is not modelled is named by its field in the pod's file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ci.errors import InputError
from ci.placement.selectors import Selector, matches, selector
from ci.pods.objects import a_list, an_object

HOST = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
REVISION = "pod-template-hash"
"""Label that tells pods of one revision of a Deployment from those of another."""
_UNSATISFIABLE = ("DoNotSchedule", "ScheduleAnyway")
EVERY_IP = "0.0.0.0"  # noqa: S104 - what Kubernetes writes for all addresses of a node
_NAMESPACE = "kubernetes.io/metadata.name"
"""Label that every namespace has: its name."""


class Port(NamedTuple):
    """A port of the node that a pod takes."""

    number: int
    protocol: str = "TCP"
    ip: str = EVERY_IP

    def clashes(self, other: "Port") -> bool:
        """Return whether two pods with these ports cannot share a node."""
        same = (self.number, self.protocol) == (other.number, other.protocol)
        return same and (self.ip == other.ip or EVERY_IP in (self.ip, other.ip))


class Apart(NamedTuple):
    """A term of required anti-affinity: no pod that it matches in the same domain.

    Attributes:
        key: label of nodes whose values are the domains.
        pods: labels that it matches.
        namespaces: that it looks into, by name.
        where: further namespaces, by their labels; None for no further ones.
    """

    key: str
    pods: Selector | None
    namespaces: tuple[str, ...]
    where: Selector | None

    def meets(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Return whether it matches a pod; of namespaces only their names are known."""
        there = namespace in self.namespaces or matches(self.where, {_NAMESPACE: namespace})
        return there and matches(self.pods, labels)

    @property
    def known(self) -> bool:
        """Whether the names of namespaces are enough to say what it matches."""
        return all(key == _NAMESPACE for key, _, _ in self.where or ())


class Even(NamedTuple):
    """A hard topology spread: in no domain more than `skew` pods beyond the domain with fewest.

    Attributes:
        key: label of nodes whose values are the domains.
        skew: the difference that is allowed.
        pods: labels of the pods that count, in the pod's own namespace.
        domains: with fewer domains than this, the fewest counts as zero.
        by_rules: nodes that the pod's selector and node affinity exclude are no domains.
        by_taints: nor are those with taints that it does not tolerate.
    """

    key: str
    skew: int
    pods: Selector | None
    domains: int = 1
    by_rules: bool = True
    by_taints: bool = False


@dataclass(frozen=True)
class Peers:
    """What a pod demands of others, the volumes that it claims, and in words what of it is not modelled."""

    ports: tuple[Port, ...] = ()
    apart: tuple[Apart, ...] = ()
    even: tuple[Even, ...] = ()
    unmodelled: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


NONE = Peers()


def read(spec: Mapping[str, Any], namespace: str, labels: Mapping[str, str], where: str) -> Peers:
    """Return what a pod of this specification, namespace and labels demands of others.

    Raises:
        InputError: Kubernetes would refuse a part of it.
    """
    affinity = an_object(spec.get("affinity"), f"{where}.affinity")
    anti = an_object(affinity.get("podAntiAffinity"), f"{where}.affinity.podAntiAffinity")
    at = f"{where}.affinity.podAntiAffinity"
    terms = a_list(anti.get("requiredDuringSchedulingIgnoredDuringExecution"), at)
    apart = tuple(_apart(term, namespace, labels, at) for term in terms)
    spreads = a_list(spec.get("topologySpreadConstraints"), at := f"{where}.topologySpreadConstraints")
    for each in spreads:
        if (given := each.get("whenUnsatisfiable")) not in _UNSATISFIABLE:
            raise InputError(f"{at}.whenUnsatisfiable: {given!r} is none of {', '.join(_UNSATISFIABLE)}")
    hard = [each for each in spreads if each["whenUnsatisfiable"] == _UNSATISFIABLE[0]]
    even = tuple(_even(each, labels, at) for each in hard)
    ports, named = tuple(sorted(set(_ports(spec, where)))), tuple(_unmodelled(spec, affinity, apart, even, where))
    volumes = tuple(_volumes(spec, where))
    return Peers(ports, apart, even, named, volumes) if ports or apart or even or named or volumes else NONE


def _volumes(spec: Mapping[str, Any], where: str) -> Iterator[str]:
    """Yield the names of volumes that are claimed, which may be there for some nodes only."""
    for volume in a_list(spec.get("volumes"), f"{where}.volumes"):
        if claim := an_object(volume.get("persistentVolumeClaim"), f"{where}.volumes.persistentVolumeClaim"):
            yield str(claim.get("claimName"))
        elif volume.get("ephemeral"):
            yield str(volume.get("name"))


def _ports(spec: Mapping[str, Any], where: str) -> Iterator[Port]:
    """Yield the ports of the node that containers and sidecars take; on the node's network all ports are those."""
    on_host = spec.get("hostNetwork") is True
    for kind in ("initContainers", "containers"):
        for container in a_list(spec.get(kind), f"{where}.{kind}"):
            if kind == "initContainers" and container.get("restartPolicy") != "Always":
                continue
            for each in a_list(container.get("ports"), f"{where}.{kind}.ports"):
                number = each.get("hostPort") or (each.get("containerPort") if on_host else 0) or 0
                if type(number) is not int:
                    raise InputError(f"{where}.{kind}.ports.hostPort: expected a whole number, found {number!r}")
                if number > 0:
                    yield Port(number, str(each.get("protocol") or "TCP"), str(each.get("hostIP") or EVERY_IP))


def _apart(term: Mapping[str, Any], namespace: str, labels: Mapping[str, str], where: str) -> Apart:
    given = term.get("namespaces") or []
    if not isinstance(given, list):
        raise InputError(f"{where}.namespaces: expected a list")
    there = selector(term.get("namespaceSelector"), f"{where}.namespaceSelector")
    names = tuple(map(str, given)) if given or there is not None else (namespace,)
    wanted = _with(selector(term.get("labelSelector"), f"{where}.labelSelector"), term, labels, where)
    return Apart(_domains(term, where), wanted, names, there)


def _even(given: Mapping[str, Any], labels: Mapping[str, str], where: str) -> Even:
    skew, domains = given.get("maxSkew"), given.get("minDomains")
    for key, value in (("maxSkew", skew), ("minDomains", domains)):
        if not (type(value) is int and value > 0) and not (key == "minDomains" and value is None):
            raise InputError(f"{where}.{key}: expected a whole number from 1 on, found {value!r}")
    wanted = _with(selector(given.get("labelSelector"), f"{where}.labelSelector"), given, labels, where)
    by_rules, by_taints = given.get("nodeAffinityPolicy") != "Ignore", given.get("nodeTaintsPolicy") == "Honor"
    return Even(_domains(given, where), int(skew or 1), wanted, int(domains or 1), by_rules, by_taints)


def _domains(given: Mapping[str, Any], where: str) -> str:
    """Return the label of nodes whose values are the domains."""
    key = given.get("topologyKey")
    if not isinstance(key, str) or not key:
        raise InputError(f"{where}.topologyKey: expected a label of nodes such as {HOST}, found {key!r}")
    return key


def _with(wanted: Selector | None, given: Mapping[str, Any], labels: Mapping[str, str], where: str) -> Selector | None:
    """Return a selector with what `matchLabelKeys` and `mismatchLabelKeys` make of the pod's own labels."""
    if wanted is None:
        return None
    more = []
    for field, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
        keys = given.get(field) or []
        if not isinstance(keys, list):
            raise InputError(f"{where}.{field}: expected a list")
        more += [(str(key), operator, (labels[str(key)],)) for key in keys if str(key) in labels]
    return (*wanted, *more)


def _unmodelled(
    spec: Mapping[str, Any], affinity: Mapping[str, Any], apart: tuple[Apart, ...], even: tuple[Even, ...], where: str
) -> Iterator[str]:
    """Yield what the scheduler would check of a pod, and this does not."""
    near = an_object(affinity.get("podAffinity"), f"{where}.affinity.podAffinity")
    if a_list(near.get("requiredDuringSchedulingIgnoredDuringExecution"), f"{where}.affinity.podAffinity"):
        yield "required podAffinity"
    if any(not term.known for term in apart):
        yield "podAntiAffinity with a namespaceSelector"
    for what, keys in (
        ("podAntiAffinity", {term.key for term in apart}),
        ("topologySpreadConstraints", {each.key for each in even}),
    ):
        yield from (f"{what} over {key}" for key in sorted(keys - {HOST, ZONE}))
    for key, value in (
        ("nodeName", "it bypasses the scheduler"),
        ("schedulingGates", "its pods wait until somebody removes them"),
        ("resourceClaims", "devices that claims ask for"),
        ("runtimeClassName", "its overhead and its nodes"),
        ("priorityClassName", "other pods may give way to it"),
        ("priority", "other pods may give way to it"),
        ("schedulingGroup", "its pods are scheduled together"),
        ("workloadRef", "its pods are scheduled together"),
    ):
        if spec.get(key):
            yield f"{key} ({value})"
    if spec.get("schedulerName", "default-scheduler") not in ("default-scheduler", None, ""):
        yield f"schedulerName {spec['schedulerName']}"
    tolerations = a_list(spec.get("tolerations"), f"{where}.tolerations")
    if any(each.get("operator") in ("Gt", "Lt") for each in tolerations):
        yield "tolerations that compare numbers"
