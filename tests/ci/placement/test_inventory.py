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


def fields(operator, name):
    term = {"matchFields": [{"key": "metadata.name", "operator": operator, "values": [name]}]}
    affinity = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": affinity}}


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
        (terms("Gt", "size", ["7"]), {"labels": {"size": "1_000"}}, "affinity"),  # no number to Kubernetes
        (terms("Lt", "size", ["7"]), {"labels": {"size": "-1"}}, None),
        (fields("In", "n"), {}, None),
        (fields("In", "m"), {}, "affinity"),
        (fields("NotIn", "n"), {}, "affinity"),
        ({"tolerations": [{"key": "gpu", "operator": "Gt", "value": "t4"}]}, {"taints": (TAINT,)}, "not tolerated"),
    ],
)  # fmt: skip
def test_each_rule_excludes_a_node_for_its_reason(spec, node, reason):
    pod = inventory.pod("p", "p", spec, "spec")
    found = inventory.exclusion(pod.rules, inventory.Node("n", {}, {}, **{"labels": LABELS, **node}))
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


def test_a_pod_that_waits_for_its_nominated_node_has_its_room_there():
    waits = a_pod("a", node=None, phase="Pending")
    waits["status"]["nominatedNodeName"] = "n"
    found = inventory.parse(listed(a_node(), waits, a_pod("b", node=None)), "test")
    assert found.nodes[0].free == {"cpu": 3000, "pods": 9}
    assert sorted(pod.name for pod in found.pending) == ["default/a", "default/b"]
    waits["status"]["nominatedNodeName"] = 1
    with pytest.raises(InputError, match=r"status\.nominatedNodeName: expected a name, found int"):
        inventory.parse(listed(a_node(), waits), "test")


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


def of(kind, *items, **more):
    return {"apiVersion": "v1", "kind": kind, "items": [*items], **more}


def bare(item):
    return {key: value for key, value in item.items() if key != "kind"}


@pytest.mark.parametrize(
    "document",
    [
        of("List", a_node(), a_pod()),
        of("List", of("NodeList", a_node()), of("PodList", a_pod())),
        of("List", of("NodeList", bare(a_node())), of("PodList", bare(a_pod()))),
        of("NodeList", bare(a_node()), of("PodList", bare(a_pod()))),
        of("List", a_node(), of("List", of("List", a_pod()))),
        listed(a_node(), of("PodList", bare(a_pod()))),
        of("List", a_node(), of("PodList", a_pod()), {"kind": "ServiceList", "items": None}),
    ],
)
def test_lists_in_lists_and_entries_without_a_kind_of_their_own_are_read(document):
    (node,) = inventory.parse(document, "test").nodes
    assert [pod.name for pod in node.running] == ["default/p"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (of("List", a_node(), bare(a_pod())), r"test: items\[1\]: it has no kind"),
        (of("List", a_node(), of("List", bare(a_pod()))), r"test: items\[1\]\.items\[0\]: it has no kind"),
        (of("List", a_node(), of("PodList", 5)), r"test: items\[1\]\.items\[0\]: expected an object, found int"),
        (of("List", a_node(), {"kind": "PodList", "items": 5}), r"test: items\[1\]\.items: expected a list, found int"),
        (of("List", a_node(), {"kind": 5}), r"test: items\[1\]\.kind: expected a text, found int"),
        (
            of("List", a_node(), of("PodList", {"metadata": {}})),
            r"test: items\[1\]\.items\[0\]\.metadata.name: the Pod",
        ),
        (of("PodList", bare(a_pod())), "there is no node"),
    ],
)
def test_an_entry_that_cannot_be_read_is_refused_with_its_place(document, message):
    with pytest.raises(InputError, match=message):
        inventory.parse(document, "test")


def test_lists_are_not_read_to_any_depth():
    document = of("List", a_node())
    for _ in range(20):
        document = of("List", document)
    with pytest.raises(InputError, match="lists are nested deeper than 8"):
        inventory.parse(document, "test")


def test_what_is_left_out_is_said():
    others = [{"kind": "Service"}, {"kind": "Pod", "apiVersion": "example.com/v1"}, {"kind": "AllowList"}]
    notes = inventory.parse(of("List", a_node(), *others), "test").notes
    assert notes == (
        "there is no pod in it, so every node counts as empty",
        "3 entries of other kinds (AllowList, Service, example.com/v1 Pod) left out",
    )


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
