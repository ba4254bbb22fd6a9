"""Every root that is applied to a cluster: rendered, valid, and whole in itself."""

import json
import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests import pods
from tests.k8s.rendering import OVERLAYS, ROOTS, objects, text

OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
EXPORTED = {
    "request_count", "request_latency", "runtime_latency",
    "batching_session:queuing_latency", "batching_session:processed_batch_size",
}  # fmt: skip
"""TensorFlow Serving's metrics that we use; its sources servables/tensorflow/util.cc and batching/ define them."""


@pytest.fixture(scope="module", params=OVERLAYS)
def applied(request):
    """What operator and deployer apply together."""
    return {**objects(f"k8s/overlays/{request.param}"), **objects(f"k8s/overlays/{request.param}/server")}


@pytest.mark.parametrize("root", ROOTS)
def test_rendering_twice_gives_the_same_bytes(root):
    assert text(root) == text(root)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("root", ROOTS)
def test_every_object_is_valid_and_has_no_field_that_kubernetes_does_not_know(root, version):
    for each in objects(root).values():
        kubernetes_validate.validate(each, version, strict=True)


def test_the_validator_finds_a_misspelt_field():
    broken = json.loads(json.dumps(objects("k8s/overlays/kind")["PodDisruptionBudget", "model-stable"]))
    broken["spec"]["maxUnavailabel"] = broken["spec"].pop("maxUnavailable")
    with pytest.raises(kubernetes_validate.ValidationError, match="maxUnavailabel"):
        kubernetes_validate.validate(broken, OLDEST, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_operator_and_deployer_share_no_object(overlay):
    assert not objects(f"k8s/overlays/{overlay}").keys() & objects(f"k8s/overlays/{overlay}/server").keys()


def test_every_namespace_that_is_used_is_made_and_enforces_pod_security_restricted(applied):
    used = {each["metadata"]["namespace"] for each in applied.values() if "namespace" in each["metadata"]}
    made = {name: each for (kind, name), each in applied.items() if kind == "Namespace"}
    assert used == set(made) == {"model-pipeline", serving(applied)}
    assert serving(applied) in ("model-serving", "model-staging")
    for each in made.values():
        assert each["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_autoscaler_is_of_stable_and_measures_the_server(applied):
    spec = applied["HorizontalPodAutoscaler", "model-stable"]["spec"]
    assert (spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]) in applied
    assert "minReplicas" not in spec, "the deployer sets it to serving.replicas"
    assert [metric["containerResource"]["container"] for metric in spec["metrics"]] == ["serving"]


def test_the_budget_counts_stable_pods_only(applied):
    selector = applied["PodDisruptionBudget", "model-stable"]["spec"]["selector"]["matchLabels"]
    counted = {name for name in ("model-stable", "model-canary") if selector.items() <= labels(applied, name).items()}
    assert counted == {"model-stable"}
    assert applied["PodDisruptionBudget", "model-stable"]["spec"]["maxUnavailable"] == 1
    # Otherwise a pod that never gets ready, as of a failed release, holds up every drain of its node.
    assert applied["PodDisruptionBudget", "model-stable"]["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_the_canary_service_reaches_the_canary_only(applied):
    selector = applied["Service", "model-canary"]["spec"]["selector"]
    reached = {name for name in ("model-stable", "model-canary") if selector.items() <= labels(applied, name).items()}
    assert reached == {"model-canary"}


def serving(applied):
    """Return the namespace in which the model serves."""
    return applied["Service", "model-canary"]["metadata"]["namespace"]


def of_serving(applied):
    """Return names and network policies of the serving namespace."""
    return [
        (name, each)
        for (kind, name), each in applied.items()
        if kind == "NetworkPolicy" and each["metadata"]["namespace"] == serving(applied)
    ]


def test_only_pods_of_the_tuning_job_reach_its_chief(applied):
    job = yaml.safe_load((pods.REPOSITORY / "ci/agents/tuning.yaml").read_text(encoding="utf-8"))
    inner = job["spec"]["template"]
    [container] = inner["spec"]["containers"]
    policy, service = (applied[kind, "tuning"] for kind in ("NetworkPolicy", "Service"))
    chosen = policy["spec"]["podSelector"]["matchLabels"]
    assert chosen == service["spec"]["selector"]
    assert chosen.items() <= inner["metadata"]["labels"].items()
    assert policy["spec"]["ingress"] == [{"from": [{"podSelector": {"matchLabels": chosen}}],
                                          "ports": [{"port": container["ports"][0]["name"]}]}]  # fmt: skip
    assert {policy["metadata"]["namespace"], service["metadata"]["namespace"]} == {job["metadata"]["namespace"]}
    assert service["spec"]["clusterIP"] == "None"
    assert service["metadata"]["name"] == inner["spec"]["subdomain"]
    assert service["spec"]["ports"][0]["port"] == container["ports"][0]["containerPort"]


def test_what_holds_in_the_whole_cluster_has_no_namespace(applied):
    policies = [each for (kind, _), each in applied.items() if kind.startswith("ValidatingAdmissionPolicy")]
    assert len(policies) == 2
    assert not any("namespace" in each["metadata"] for each in policies)


def test_network_policies_deny_everything_but_the_ports_of_the_server(applied):
    policies = {name: each["spec"] for name, each in of_serving(applied)}
    assert policies.pop("default-deny") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    containers = applied["Deployment", "model-stable"]["spec"]["template"]["spec"]["containers"]
    ports = {port["name"] for container in containers for port in container["ports"]}
    assert policies
    assert policies["clients"]["ingress"][0]["ports"] == [{"port": "rest"}], "the gateway, not around it"
    for spec in policies.values():
        assert spec["policyTypes"] == ["Ingress"], "the server calls nobody"
        assert spec["podSelector"]["matchLabels"].items() <= labels(applied, "model-stable").items()
        assert {port["port"] for rule in spec["ingress"] for port in rule["ports"]} <= ports


REACHED = {
    "of clients": ({"model-serving-client": "true"}, {"rest"}),
    "not of clients": ({"model-serving-client": "false"}, set()),
    "of the pipeline": ({"kubernetes.io/metadata.name": "model-pipeline"}, {"server", "inside"}),
    "of Prometheus": ({"kubernetes.io/metadata.name": "monitoring"}, {"server", "inside"}),
    "of the server": ({"kubernetes.io/metadata.name": "model-serving"}, set()),
    "of anybody else": ({"kubernetes.io/metadata.name": "default"}, set()),
}
"""Ports of the server's pods that pods of a namespace with these labels reach."""


def reached(policies: list[dict[str, Any]], namespace: dict[str, str]) -> set[str]:
    """Return the ports that network policies open to pods of a namespace; they add to each other."""
    found = set()
    for rule in (rule for policy in policies for rule in policy.get("ingress", [])):
        assert {*rule} <= {"from", "ports"}
        peers = rule.get("from", [{}])  # without peers, or with one that has no selector, everybody is meant
        assert all({*peer} <= {"namespaceSelector"} for peer in peers), "read by this test"
        selectors = [peer.get("namespaceSelector", {}) for peer in peers]
        assert all({*selector} <= {"matchLabels"} for selector in selectors), "read by this test"
        if any(selector.get("matchLabels", {}).items() <= namespace.items() for selector in selectors):
            found |= {port["port"] for port in rule["ports"]}
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("name", REACHED)
def test_a_namespace_reaches_the_ports_that_it_needs_and_no_others(overlay, name):
    labels, expected = REACHED[name]
    policies = [each["spec"] for _, each in of_serving(objects(f"k8s/overlays/{overlay}"))]
    by_node_port = {"rest"} if overlay == "kind" else set()  # there clients come from the addresses of nodes
    assert reached(policies, labels) == expected | by_node_port


def test_bindings_bind_roles_and_accounts_that_are_made(applied):
    for (kind, _), each in applied.items():
        if kind == "ValidatingAdmissionPolicyBinding":
            assert ("ValidatingAdmissionPolicy", each["spec"]["policyName"]) in applied
        elif kind.endswith("Binding"):
            assert (each["roleRef"]["kind"], each["roleRef"]["name"]) in applied
            for subject in each["subjects"]:
                account = applied[subject["kind"], subject["name"]]
                assert account["metadata"]["namespace"] == subject["namespace"]


def test_every_verb_of_a_role_has_its_reason_beside_it():
    lines = [
        line
        for path in pods.manifests()
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*verbs:", line)
    ]
    assert len(lines) >= 15
    assert [line for line in lines if not re.search(r"\]\s+# \S", line)] == []


def test_roles_have_no_wildcards_and_never_reach_secrets_exec_or_roles(applied):
    rules = [rule for each in applied.values() for rule in each.get("rules", [])]
    assert rules
    for rule in rules:
        named = {name for key in ("apiGroups", "resources", "verbs") for name in rule[key]}
        assert not named & {"*", "secrets", "pods/exec", "roles", "rolebindings", "impersonate", "escalate", "bind"}


def test_the_dashboard_shows_metrics_that_tensorflow_serving_exports():
    dashboard = json.loads((pods.REPOSITORY / "k8s/dashboards/serving.json").read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        for expression in [target["expr"] for target in panel["targets"]]:
            used = set(re.findall(r":tensorflow:serving:(\w+(?::\w+)?)", expression))
            assert used
            assert {
                re.sub("_(bucket|sum|count)$", "", name) if name not in EXPORTED else name for name in used
            } <= EXPORTED
            assert set(re.findall(r"\$\{?(\w+)", expression)) <= variables | {"__rate_interval"}
            assert expression.count("(") == expression.count(")")
            assert expression.count("{") == expression.count("}")
    assert not overlaps([panel["gridPos"] for panel in panels])


def labels(applied: dict[tuple[str, str], Any], name: str) -> dict[str, str]:
    return applied["Deployment", name]["spec"]["template"]["metadata"]["labels"]


def overlaps(places: list[dict[str, int]]) -> list[tuple[int, int]]:
    def cells(place: dict[str, int]) -> Iterator[tuple[int, int]]:
        for x in range(place["x"], place["x"] + place["w"]):
            assert x < 24
            yield from ((x, y) for y in range(place["y"], place["y"] + place["h"]))

    taken = [cell for place in places for cell in cells(place)]
    return [cell for cell in set(taken) if taken.count(cell) > 1]
