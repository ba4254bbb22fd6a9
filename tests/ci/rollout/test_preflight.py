"""What must hold before a rollout on a cluster begins."""

import pytest
import yaml

from ci.errors import StageError
from ci.rollout.preflight import RIGHTS, unusable
from tests import pods
from tests.ci import apiservers


def node(name, ready="True", cordoned=False):
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"unschedulable": cordoned},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def advice(*names, required=False):
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": list(names)}]}
    if required:
        terms = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    else:
        terms = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}]}
    return {"affinity": {"nodeAffinity": terms}}


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node("a"), node("b"), node("c")], None),
        ([node("a"), node("c")], "1 of the plan's 2 nodes take no pods (b): plan again"),
        ([node("a"), node("b", cordoned=True)], "1 of the plan's 2 nodes take no pods (b)"),
        ([node("a"), node("b", ready="Unknown")], "1 of the plan's 2 nodes take no pods (b)"),
        ([node("c")], "2 of the plan's 2 nodes take no pods (a, b)"),
    ],
)
def test_nodes_of_the_plan_that_take_no_pods_are_named(nodes, said, required):
    with apiservers.serving() as (store, api, _):
        store.objects["/api/v1/nodes"] = {"items": nodes}
        if said and required and len(nodes) == 1:
            with pytest.raises(StageError, match="allows no others"):
                unusable(api, advice("a", "b", required=True))
            return
        found = unusable(api, advice("a", "b", required=required))
    assert said in found if said else found is None


def test_without_advice_no_node_is_asked_for():
    with apiservers.serving() as (_, api, _):
        assert unusable(api, {}) is None


def test_every_right_that_is_asked_for_is_in_the_deployers_role():
    roles = yaml.safe_load_all((pods.REPOSITORY / "k8s/base/roles.yaml").read_text())
    rules = next(each for each in roles if each["kind"] == "Role" and each["metadata"]["name"] == "deployer")["rules"]
    for group, resource, name, verbs in RIGHTS:
        granted = {
            verb
            for rule in rules
            if group in rule["apiGroups"] and resource in rule["resources"]
            if "resourceNames" not in rule or name in rule["resourceNames"]
            for verb in rule["verbs"]
        }
        assert {*verbs} <= granted, (resource, name)
