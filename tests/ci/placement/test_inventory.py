"""Rules, what is read of a recorded inventory, and what is wrong with one."""

import json

import pytest

from ci.errors import InputError
from ci.placement import inventory


def container(cpu=None, restart=None, **resources):
    if cpu:
        resources["requests"] = {"cpu": cpu}
    return {"resources": resources, **({"restartPolicy": restart} if restart else {})}


LABELS = {"disk": "ssd", "size": "8"}
TAINT = {"key": "gpu", "value": "t4", "effect": "NoSchedule"}


def terms(operator, key="disk", values=()):
    required = {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}]
    }
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


@pytest.mark.parametrize(
    ("spec", "node", "reason"),
    [
        ({}, {}, None),
        ({}, {"ready": False}, "not ready"),
        ({}, {"unschedulable": True}, "cordoned"),
        ({"tolerations": [{"operator": "Exists"}]}, {"unschedulable": True}, None),
        ({}, {"taints": (TAINT,)}, "taint gpu=t4:NoSchedule"),
        ({}, {"taints": (TAINT | {"effect": "PreferNoSchedule"},)}, None),
        ({"tolerations": [{"key": "gpu", "operator": "Exists"}]}, {"taints": (TAINT,)}, None),
        ({"tolerations": [{"key": "gpu", "value": "t4"}]}, {"taints": (TAINT,)}, None),
        ({"tolerations": [{"key": "gpu", "value": "a100"}]}, {"taints": (TAINT,)}, "not tolerated"),
        ({"tolerations": [{"key": "gpu", "value": "t4", "effect": "NoExecute"}]}, {"taints": (TAINT,)}, "not toler"),
        ({"nodeSelector": {"disk": "ssd"}}, {}, None),
        ({"nodeSelector": {"disk": "hdd"}}, {}, "disk=hdd"),
        (terms("In", values=["ssd", "nvme"]), {}, None),
        (terms("NotIn", values=["ssd"]), {}, "affinity"),
        (terms("Exists"), {}, None),
        (terms("DoesNotExist"), {}, "affinity"),
        (terms("Gt", "size", ["7"]), {}, None),
        (terms("Lt", "size", ["8"]), {}, "affinity"),
        (terms("Gt", "disk", ["7"]), {}, "affinity"),
    ],
)  # fmt: skip
def test_each_rule_excludes_a_node_for_its_reason(spec, node, reason):
    pod = inventory.pod("p", "p", spec, "spec")
    found = inventory.exclusion(pod.rules, inventory.Node("n", {}, {}, labels=LABELS, **node))
    assert found is None if reason is None else found is not None and reason in found


@pytest.mark.parametrize(
    ("expressions", "message"),
    [
        ("abc", r"spec\.affinity\.nodeAffinity\.matchExpressions: expected a list of objects"),
        (["abc"], r"spec\.affinity\.nodeAffinity\.matchExpressions: expected a list of objects"),
        ([{"key": "a", "operator": "Foo"}], r"matchExpressions\.operator: 'Foo' is none of In, NotIn"),
        ([{"key": "a", "operator": "In", "values": 5}], r"matchExpressions\.values: expected a list"),
    ],
)
def test_a_node_affinity_that_kubernetes_would_refuse_is_named(expressions, message):
    required = {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    with pytest.raises(InputError, match=message):
        inventory.pod("p", "p", {"affinity": affinity}, "spec")


def listed(*items):
    return {"items": list(items)}


def test_an_item_that_is_nothing_is_named():
    with pytest.raises(InputError, match=r"here: items\[1\]: expected an object, found NoneType"):
        inventory.parse(listed(a_node(), None), "here")


def a_node(name="n", cpu="4", **spec):
    status = {"allocatable": {"cpu": cpu, "pods": "10"}, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"kind": "Node", "metadata": {"name": name}, "spec": spec, "status": status}


def a_pod(name="p", node="n", phase="Running", cpu="1"):
    spec = {"nodeName": node, "containers": [container(cpu)]}
    return {"kind": "Pod", "metadata": {"name": name}, "spec": spec, "status": {"phase": phase}}


def test_free_is_allocatable_less_what_is_bound_and_not_finished():
    pods = [
        a_pod("a"),
        a_pod("b", phase="Succeeded"),
        a_pod("c", phase="Failed"),
        a_pod("d", node=None),
        a_pod("e", phase="Pending"),
    ]
    (node,) = inventory.parse(listed(a_node(), *pods), "test").nodes
    assert node.free == {"cpu": 2000, "pods": 8}
    assert [pod.name for pod in node.running] == ["default/a", "default/e"]


def test_an_overcommitted_node_has_nothing_free():
    (node,) = inventory.parse(listed(a_node(cpu="1"), a_pod("a"), a_pod("b")), "test").nodes
    assert node.free["cpu"] == 0


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "not a Kubernetes list"),
        ({"items": 3}, "not a Kubernetes list"),
        (listed(), "there is no node"),
        (listed(a_pod()), "there is no node"),
        (listed(a_node(), a_node()), "Node n appears twice"),
        (listed(a_node(), a_pod(), a_pod()), "Pod default/p appears twice"),
        (listed(a_node(cpu="four")), r"items\[0\] \(Node n\).status.allocatable.cpu: 'four' is not a quantity"),
        (listed(a_node(), a_pod(cpu="-1")), r"items\[1\] .*requests.cpu: '-1' is negative"),
        (listed(a_node(taints=[{"key": "a", "effect": "NoWay"}])), "taints.0..effect: 'NoWay' is none of"),
        (listed("text"), r"items\[0\]: expected an object"),
        (listed({"kind": "Node", "metadata": {}}), "has no name"),
    ],
)
def test_bad_inventories_are_refused_with_entry_and_key(document, message):
    with pytest.raises(InputError, match=message):
        inventory.parse(document, "test")


@pytest.mark.parametrize(
    ("content", "message"), [(None, "is missing"), ("{", "not a JSON file"), ("\udc00", "not a JSON file")]
)
def test_bad_files_are_refused(tmp_path, content, message):
    file = tmp_path / "inventory.json"
    if content is not None:
        file.write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(InputError, match=message):
        inventory.load(file)


def test_the_example_has_twenty_nodes_and_says_what_it_is():
    recorded = inventory.load(inventory.EXAMPLE)
    assert len(recorded.nodes) == 20
    assert "used where there is no cluster" in json.loads(inventory.EXAMPLE.read_text())["metadata"]["note"]
    assert sum(len(node.running) for node in recorded.nodes) > 50
