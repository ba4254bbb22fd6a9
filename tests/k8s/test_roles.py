"""The roles as they are rendered give each account what the table says, and nothing else."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from tests.k8s.access import ALLOWED
from tests.k8s.rendering import OVERLAYS, objects

CLUSTER_WIDE = ("nodes",)
Right = tuple[str, str, str, str]
"""Verb, resource with its group, namespace (`*` for all, "" for cluster-wide objects), name or ""."""


def table(account: str, overlay: str) -> set[Right]:
    rights = set()
    serving = objects(f"k8s/overlays/{overlay}")["Service", "model-canary"]["metadata"]["namespace"]
    text = ALLOWED[account].replace("model-serving", serving)
    for line in text.strip().splitlines():
        verbs, *rest = line.split()
        rights |= {(verb, *(*rest, "", "")[:3]) for verb in verbs.split(",")}
    return rights


def granted(overlay: str) -> dict[str, set[Right]]:
    """Return the rights of each account, by the bindings that name it."""
    everything = objects(f"k8s/overlays/{overlay}")
    found: dict[str, set[Right]] = {}
    for (kind, _), binding in everything.items():
        if kind in ("RoleBinding", "ClusterRoleBinding"):
            role = everything[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
            place = binding["metadata"]["namespace"] if kind == "RoleBinding" else "*"
            for subject in binding["subjects"]:
                assert subject["kind"] == "ServiceAccount"  # no group, which would let in whoever joins it
                found.setdefault(subject["name"], set()).update(rights(role, place))
    return found


def rights(role: dict[str, Any], namespace: str) -> Iterator[Right]:
    for rule in role["rules"]:
        names = rule.get("resourceNames", [""])
        for verb, group, kind, name in product(rule["verbs"], rule["apiGroups"], rule["resources"], names):
            place = "" if kind in CLUSTER_WIDE else namespace
            yield verb, f"{kind}.{group}" if group else kind, place, name


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("account", ALLOWED)
def test_an_account_has_the_rights_of_the_table_and_no_others(overlay, account):
    found = granted(overlay).get(account, set())
    assert sorted(found - table(account, overlay)) == [], "more than the table says"
    assert sorted(table(account, overlay) - found) == [], "less than the table says"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_account_has_rights_that_the_table_does_not_know(overlay):
    assert set(granted(overlay)) <= set(ALLOWED)
