"""What must hold before a rollout on a cluster begins."""

import yaml

from ci.rollout.preflight import RIGHTS
from tests import pods


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
