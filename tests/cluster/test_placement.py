"""The plan on a real control plane: a thousand fake nodes, two thousand pods, the real scheduler."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ci.placement import cluster as cluster_inventory
from ci.placement import handover, inventory
from ci.placement.check import faults
from ci.placement.inventory import Inventory, Pod
from ci.placement.model import build
from ci.placement.packing.solver import solve
from ci.pods.templates import COMPONENT
from tests.cluster.tools import kubectl, kwok, until

HERE = Path(__file__).parent
SHAPES = [("4", "16Gi"), ("8", "32Gi"), ("16", "64Gi"), ("16", "32Gi")]
"""CPU and memory of the fake nodes; they take turns."""

pytestmark = pytest.mark.cluster


def fake(index: int) -> dict:
    cpu, memory = SHAPES[index % len(SHAPES)]
    amounts = {"cpu": cpu, "memory": memory, "pods": "110"}
    name = f"fake-{index:04}"
    labels = {"type": "fake", "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": f"zone-{index % 3}"}
    return {
        "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "status": {"capacity": amounts, "allocatable": amounts, "conditions": [{"type": "Ready", "status": "True"}]},
    }


@pytest.fixture(scope="module")
def fleet(cluster, tmp_path_factory):
    """The cluster with a thousand fake nodes, all ready."""
    from kubernetes import client, config

    with kwok(tmp_path_factory.mktemp("kwok") / "kwok.log"):
        config.load_kube_config()
        api = client.CoreV1Api()

        def create(index: int) -> None:
            node = api.create_node(fake(index))
            # Each is created as not ready, and the controller that ends this does so to ten in a second.
            api.patch_node(node.metadata.name, {"spec": {"taints": None}})

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(create, range(1000)))

        def all_open():
            nodes = [node for node in cluster_inventory.read(None).nodes if node.labels.get("type") == "fake"]
            return len(nodes) == 1000 and all(node.ready and not node.taints for node in nodes)

        until(lambda: "a thousand nodes are ready", all_open, 180)
        yield api
        # They would take the pods of other tests.
        kubectl("delete", "nodes", "--selector", "type=fake", "--wait=false")


def workload() -> list[dict]:
    return list(yaml.safe_load_all((HERE / "workload.yaml").read_text()))


def tasks() -> list[Pod]:
    """The workload's pods, in the order in which a plan numbers them."""
    found = []
    for item in workload():
        name, template = item["metadata"]["name"], item["spec"]["template"]
        count = item["spec"].get("replicas") or item["spec"]["parallelism"]
        group = template["metadata"]["labels"][COMPONENT]
        example = inventory.pod(name, group, template["spec"], name)
        found += [Pod(f"{name}-{index}", group, example.requests, example.rules) for index in range(count)]
    return found


def run(api, namespace: str, fields: dict) -> Inventory:
    """Run the workload with these pod fields by group; return what runs and waits once all 2,000 pods have nodes."""
    items = workload()
    for item in items:
        item["spec"]["template"]["spec"] |= fields.get(item["spec"]["template"]["metadata"]["labels"][COMPONENT], {})
    kubectl("create", "namespace", namespace)
    kubectl("apply", "-n", namespace, "-f", "-", given="\n---\n".join(map(json.dumps, items)))

    def bound() -> bool:
        first = api.list_namespaced_pod(namespace, limit=1)
        if len(first.items) + (first.metadata.remaining_item_count or 0) != 2000:
            return False
        return not api.list_namespaced_pod(namespace, field_selector="spec.nodeName=", limit=1).items

    def waiting() -> str:
        pods = api.list_namespaced_pod(namespace, field_selector="spec.nodeName=").items
        why = [str(each.message) for pod in pods[:3] for each in pod.status.conditions or ()]
        return f"all 2,000 pods have nodes; {len(pods)} wait: {why}"

    started = time.monotonic()
    until(waiting, bound, 600)
    print(f"{namespace}: bound after {time.monotonic() - started:.0f} s")
    now = cluster_inventory.read(None)
    groups = {item["metadata"]["name"] for item in items}
    kept = tuple(node for node in now.nodes if any(pod.group in groups for pod in node.running))
    # What is being deleted gets no new pods, though it is gone only after its pods.
    kubectl("delete", "deployments,replicasets,jobs", "--all", "-n", namespace, "--cascade=orphan", "--wait=false")
    api.delete_collection_namespaced_pod(namespace, grace_period_seconds=0)  # kubectl asks for each of 2,000
    until(lambda: "the pods are gone", lambda: not api.list_namespaced_pod(namespace, limit=1).items, 300)
    return replace(now, nodes=kept, pending=tuple(pod for pod in now.pending if pod.group in groups))


@pytest.mark.long
def test_the_scheduler_follows_the_plan_and_needs_fewer_nodes_with_it(fleet):
    started = time.monotonic()
    before = cluster_inventory.read(None)
    reading = time.monotonic() - started
    assert reading <= 5

    wanted = tasks()
    assert len(wanted) == 2000
    assert len({tuple(sorted(task.requests.items())) for task in wanted}) >= 5
    solution = solve(build(wanted, before.nodes), 10)
    plan = solution.plan(wanted, before.nodes)
    assert solution.proven
    assert not faults(wanted, before.nodes, plan)
    advice = handover.advice(wanted, before.nodes, plan, (), required=False)
    fields, within = advice.fields, advice.sets
    now = cluster_inventory.read(None)
    assert not faults(wanted, now.nodes, plan), "the plan no longer holds just before it is applied"

    with_plan = run(fleet, "planned", fields)
    planned, *away = handover.strays(within, with_plan, wanted)
    print(planned, *away[:5], sep="\n")
    assert len(away) <= 100
    without = run(fleet, "unplanned", {})
    assert not with_plan.pending
    assert not without.pending
    print(
        f"inventory read in {reading:.2f} s; plan {solution.objective} nodes in {solution.seconds:.2f} s, proven; sets "
        f"{len(frozenset().union(*within.values()))}; {planned}; nodes used: {len(with_plan.nodes)} with the plan, "
        f"{len(without.nodes)} without"
    )
    assert len(with_plan.nodes) < len(without.nodes)
