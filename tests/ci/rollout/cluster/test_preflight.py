"""What must hold before a rollout on a cluster begins."""

import pytest
import yaml

from ci.errors import StageError
from ci.rollout.cluster.preflight import RIGHTS, permitted
from tests import pods
from tests.ci import apiservers
from tests.cluster.test_access import ALLOWED


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


@pytest.mark.parametrize(
    ("forbidden", "said"),
    [
        (("patch", "services"), "patch services/model"),
        (("delete", "deployments"), "delete deployments/model-canary"),
        (("update", "configmaps"), "update configmaps/rollout-history"),
        (("get", "pods/log"), "get pods/log"),
        (("create", "pods/portforward"), "create pods/portforward"),
        (("update", "leases"), "update leases/rollout"),
    ],
)
def test_a_right_that_is_missing_is_named_before_anything_is_changed(forbidden, said):
    with apiservers.serving() as (store, api, _):
        permitted(api, "models")
        store.forbidden.add(forbidden)
        with pytest.raises(StageError, match=f"the account may not {said} in namespace models: apply your overlay"):
            permitted(api, "models")
        assert not store.objects
        asked = [body["spec"]["resourceAttributes"] for _, _, body in store.asked]
    told = {(each["group"], each["resource"], each["verb"], each["namespace"], each.get("name", "")) for each in asked}
    assert ("apps", "deployments", "patch", "models", "model-stable") in told
    assert ("coordination.k8s.io", "leases", "update", "models", "rollout") in told


def test_the_roles_grant_what_the_table_says_and_nothing_else():
    """The same table that is held against a real API server, for each account and each name."""
    roles = {
        each["metadata"]["name"]: each["rules"]
        for each in yaml.safe_load_all((pods.REPOSITORY / "k8s/base/roles.yaml").read_text())
        if each["kind"] == "Role"
    }
    assert {*roles} == {*ALLOWED} - {"tuner"}
    for account, rules in roles.items():
        granted = set()
        for rule in rules:
            assert {*rule} <= {"apiGroups", "resources", "verbs", "resourceNames"}
            [group] = rule["apiGroups"]
            for resource in rule["resources"]:
                kind = f"{resource}.{group}" if group else resource
                names = rule.get("resourceNames", [""])
                granted |= {(verb, kind, name) for verb in rule["verbs"] for name in names}
        lines = [line.split() for line in ALLOWED[account].strip().splitlines()]
        table = {
            (verb, words[1], (words[3:] or [""])[0])
            for words in lines
            if words[2:3] == ["model-serving"]
            for verb in words[0].split(",")
        }
        assert granted == table, account
