"""Amounts of resources in exact integers, and what the scheduler counts for a pod.

CPU counts in milliCPU and every other resource in its own unit (bytes, pods, devices).
"""

import re
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from ci.errors import InputError
from ci.pods.objects import a_list, an_object

Amounts = Mapping[str, int]

_QUANTITY = re.compile(r"\+?(\d+\.?\d*|\.\d+)(?:([eE])([+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i)?)", re.ASCII)
_SUFFIX: dict[str | None, Fraction] = {
    None: Fraction(1),
    **{letter: Fraction(1000) ** power for power, letter in enumerate("num kMGTPE", -3)},
    **{f"{letter}i": Fraction(1024**power) for power, letter in enumerate("KMGTPE", 1)},
}
_ONE, _MILLI = Fraction(1), Fraction(1, 1000)
_MOST = 2**63 - 1
"""No quantity of Kubernetes is larger: what is written larger counts as this."""
_POD_LEVEL = ("cpu", "memory")
"""Resources that can be requested for a pod as a whole, beside huge pages."""


def counted(number: int, noun: str) -> str:
    """Return `1 node`, `2 nodes`, `2 entries`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def quantity(value: object, where: str, unit: Fraction = Fraction(1)) -> int:
    """Return a quantity as Kubernetes writes it (`100m`, `1.5`, `1e3`, `128Mi`, `1G`) in units of `unit`, rounded up.

    Raises:
        InputError: it is malformed or negative; `where` names it.
    """
    amount = _amount(str(value), unit) if type(value) in (str, int, float) else None
    if amount is None:
        what = "negative" if str(value).startswith("-") else "not a quantity"
        raise InputError(f"{where}: {value!r} is {what}: write such as 500m, 2 or 128Mi")
    return amount


@lru_cache(maxsize=2**16)
def _amount(text: str, unit: Fraction) -> int | None:
    """Return a quantity, None for a text that is none; thousands of nodes and pods write the same few."""
    if not (match := _QUANTITY.fullmatch(text)):
        return None
    number, exponent, power, suffix = match.groups()
    amount = -(-Fraction(number) * (Fraction(10) ** int(power) if exponent else _SUFFIX[suffix]) // unit)
    return min(_MOST, int(amount))


def amounts(values: object, where: str) -> Counter[str]:
    """Return a Kubernetes resource list as integers: CPU in milliCPU, the rest in its own unit."""
    given = an_object(values, where)
    return Counter({r: quantity(v, f"{where}.{r}", _MILLI if r == "cpu" else _ONE) for r, v in given.items()})


def effective_requests(spec: Mapping[str, Any], where: str, status: Mapping[str, Any] | None = None) -> Counter[str]:
    """Return what the scheduler counts for a pod: its own slot in `pods` and the most that runs at one time.

    Init containers run one after another, beside the sidecars (init containers that restart always) started before
    them; then the containers run beside all sidecars. Requests given for the pod as a whole take the place of the
    containers'. The runtime's overhead comes on top. A missing request is the limit, and without a limit zero.

    A pod that is resized in place counts with the largest of three amounts: its requests, what its node has set aside
    for it, and what its containers run with. If the node can never grant the requests, they do not count.

    Args:
        spec: of the pod.
        where: names it in errors.
        status: of a pod that runs.
    """
    status, at = status or {}, f"{where.removesuffix('spec')}status"
    resize = [c for c in a_list(status.get("conditions"), f"{at}.conditions") if c.get("type") == "PodResizePending"]
    infeasible = bool(resize) and resize[0].get("reason") == "Infeasible"
    states = {
        str(each.get("name")): each
        for kind in ("containerStatuses", "initContainerStatuses")
        for each in a_list(status.get(kind), f"{at}.{kind}")
    }

    def now(needs: Counter[str], state: Mapping[str, Any], where: str) -> Counter[str]:
        if state.get("resources") is None:
            return needs
        actual = an_object(state["resources"], f"{where}.resources")
        taken = amounts(actual.get("requests"), f"{where}.resources.requests")
        taken |= amounts(state.get("allocatedResources"), f"{where}.allocatedResources")
        return taken if infeasible else taken | needs

    def asked(container: Mapping[str, Any], where: str) -> Counter[str]:
        resources = an_object(container.get("resources"), f"{where}.resources")
        limits = amounts(resources.get("limits"), f"{where}.resources.limits")
        return Counter({**limits, **amounts(resources.get("requests"), f"{where}.resources.requests")})

    def effective(container: Mapping[str, Any], where: str) -> Counter[str]:
        name = str(container.get("name"))
        return now(asked(container, where), states.get(name, {}), f"{at} of the container {name}")

    sidecars, peak, together = Counter[str](), Counter[str](), Counter[str]()
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(a_list(spec.get(kind), f"{where}.{kind}")):
            what = f"{where}.{kind}[{index}]"
            if kind == "containers":
                together += effective(container, what)
            elif container.get("restartPolicy") == "Always":
                sidecars += effective(container, what)
            else:
                peak |= sidecars + asked(container, what)
    peak |= sidecars + together
    for claim in a_list(status.get(claims := "nodeAllocatableResourceClaimStatuses"), f"{at}.{claims}"):
        peak += amounts(claim.get("resources"), f"{at}.{claims}")
    whole = _of_the_pod(spec, peak, where)
    taken = now(whole, status, at)
    whole = Counter({resource: taken[resource] for resource in whole})
    peak.update({resource: amount - peak[resource] for resource, amount in whole.items()})
    return peak + amounts(spec.get("overhead"), f"{where}.overhead") + Counter(pods=1)


def _of_the_pod(spec: Mapping[str, Any], containers: Counter[str], where: str) -> Counter[str]:
    """Return what is requested for a pod as a whole; a limit alone requests what its containers do, or itself."""
    resources = an_object(spec.get("resources"), f"{where}.resources")
    found = amounts(resources.get("requests"), f"{where}.resources.requests")
    for resource, limit in amounts(resources.get("limits"), f"{where}.resources.limits").items():
        if resource not in found:
            found[resource] = containers[resource] or limit
    return Counter({r: amount for r, amount in found.items() if r in _POD_LEVEL or r.startswith("hugepages-")})
