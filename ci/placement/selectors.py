"""Label selectors and node selector terms, as Kubernetes evaluates them."""

import re
from collections.abc import Mapping
from types import NoneType
from typing import Any

from ci.errors import InputError
from ci.pods.objects import a_list, an_object, texts

OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
TOLERATING = ("Equal", "Exists", "Gt", "Lt")

_WHOLE = re.compile(r"[+-]?\d{1,19}", re.ASCII)
"""A number as Kubernetes reads it. Python would also read 1_000, which is a valid label and no number."""

Selector = tuple[tuple[str, str, tuple[str, ...]], ...]
"""Requirements (key, operator, values) that labels must meet; without any all labels do."""


def selector(given: object, where: str) -> Selector | None:
    """Return a label selector (`matchLabels`, `matchExpressions`); None if there is none, which matches nothing.

    Raises:
        InputError: it is no selector that Kubernetes would accept.
    """
    if given is None:
        return None
    parts = an_object(given, where)
    labels = texts(parts.get("matchLabels"), f"{where}.matchLabels")
    found: list[tuple[str, str, tuple[str, ...]]] = [(key, "In", (value,)) for key, value in labels.items()]
    for each in a_list(parts.get("matchExpressions"), f"{where}.matchExpressions"):
        found.append(requirement(each, f"{where}.matchExpressions", OPERATORS[:4]))
    return tuple(found)


def requirement(given: Mapping[str, Any], where: str, operators: tuple[str, ...]) -> tuple[str, str, tuple[str, ...]]:
    """Return one requirement of a selector.

    Raises:
        InputError: Kubernetes would refuse its operator or its values.
    """
    operator, values = given.get("operator"), given.get("values")
    if operator not in operators:
        raise InputError(f"{where}.operator: {operator!r} is none of {', '.join(operators)}")
    if not isinstance(values, list | NoneType):
        raise InputError(f"{where}.values: expected a list")
    return str(given.get("key")), str(operator), tuple(map(str, values or ()))


def matches(wanted: Selector | None, labels: Mapping[str, str]) -> bool:
    """Return whether labels meet all requirements of a selector."""
    return wanted is not None and all(holds(labels.get(key), operator, values) for key, operator, values in wanted)


def holds(found: str | None, operator: str, values: tuple[str, ...]) -> bool:
    """Return whether a label's value, None where there is no such label, meets a requirement."""
    match operator:
        case "In" | "NotIn":
            return (found in values) is (operator == "In")
        case "Exists" | "DoesNotExist":
            return (found is not None) is (operator == "Exists")
        case _:
            if not values or not _WHOLE.fullmatch(found or "") or not _WHOLE.fullmatch(values[0]):
                return False
            difference = int(found or "") - int(values[0])
            return difference > 0 if operator == "Gt" else difference < 0


def check_terms(terms: list[Any], where: str) -> None:
    """Raise InputError for a term of a node affinity that Kubernetes would refuse."""
    for term in terms:
        for key in ("matchExpressions", "matchFields"):
            for each in a_list(term.get(key), f"{where}.{key}"):
                requirement(each, f"{where}.{key}", OPERATORS)


def matches_node(term: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> bool:
    """Return whether all expressions of a node selector term match; a term without any matches nothing."""
    every = [(labels, each) for each in term.get("matchExpressions") or ()]
    every += [({"metadata.name": name}, each) for each in term.get("matchFields") or ()]
    found = [(at, requirement(each, "node affinity", OPERATORS)) for at, each in every]
    return bool(found) and all(holds(at.get(key), operator, values) for at, (key, operator, values) in found)


def tolerations(spec: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """Return the tolerations of a pod's specification.

    Raises:
        InputError: one has an operator that Kubernetes would not accept.
    """
    found = a_list(spec.get("tolerations"), f"{where}.tolerations")
    for index, each in enumerate(found):
        if each.get("operator") not in (None, "", *TOLERATING):
            at = f"{where}.tolerations[{index}].operator"
            raise InputError(f"{at}: {each['operator']!r} is none of {', '.join(TOLERATING)}")
    return found


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    """Return whether a toleration lets a pod onto a node with a taint."""
    if any(toleration.get(each) not in (None, "", taint[each]) for each in ("effect", "key")):
        return False
    if (operator := toleration.get("operator") or "Equal") != "Equal":
        return operator == "Exists"
    return bool(toleration.get("key")) and (toleration.get("value") or "") == taint["value"]
