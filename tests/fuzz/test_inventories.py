"""Recorded inventories: what `kubectl get nodes,pods -A -o json` prints, changed; read, and planned on."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from ci.placement import inventory
from ci.placement.planning import Question
from tests.fuzz.harness import Surface, examples
from tests.fuzz.mutations import broken, json_text, mutated

pytestmark = pytest.mark.fuzz

WHOLE = json.loads(inventory.EXAMPLE.read_bytes())
NODES = [item for item in WHOLE["items"] if item["kind"] == "Node"][:3]
PODS = [item for item in WHOLE["items"] if item["kind"] == "Pod"][:4]
PEERS = {
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "x", "operator": "In", "values": ["a", "b"]}]}]
            }
        },
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "x"}}}
            ]
        },
    },
    "tolerations": [{"key": "x", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 3}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    ],
}
MORE = {
    **PODS[0],
    "metadata": {**PODS[0]["metadata"], "name": "more", "labels": {"app": "x"}},
    "spec": {**PODS[0]["spec"], **PEERS},
}
SMALL = {**WHOLE, "items": [*NODES, *PODS, MORE]}


@given(mutated(SMALL).flatmap(lambda value: broken(json_text(value))))
@examples(400)
def _inventories(surface: Surface, content: bytes) -> None:
    Path("inventory.json").write_bytes(content)

    def plan() -> None:
        offer = inventory.load(Path("inventory.json"))
        request = {"cpu": 500, "memory": 2**28, "pods": 1}
        wanted = [inventory.Pod(name=f"wanted-{n}", group="wanted", requests=request) for n in range(3)]
        problem, solution = Question.of(offer, wanted, ()).solve(1.0)
        assert np.all(np.array(solution.node_of) < max(1, len(problem.free)))

    surface.read(plan)


def test_inventories(surface: Surface) -> None:
    assert len(inventory.parse(SMALL, "whole").nodes) == len(NODES)
    _inventories(surface)
