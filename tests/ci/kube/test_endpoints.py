"""Pods that Services lead to, by slices as an API server has them."""

from typing import Any

from ci.kube import endpoints
from tests.ci import apiservers

PATH = "/apis/discovery.k8s.io/v1/namespaces/models/endpointslices"


def part(name: str, service: str, family: str, *found: dict[str, Any]) -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    return {"metadata": {"name": name, "labels": labels}, "addressType": family, "endpoints": [*found]}


def pod(name: str, address: str, **conditions: bool) -> dict[str, Any]:
    return {"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "name": name}}


def test_each_pod_counts_once_and_those_that_are_not_ready_do_not() -> None:
    with apiservers.serving() as (_, api, _):
        assert endpoints.ready(api, "models", ["model"]) == {}
        slices = [
            part("a", "model", "IPv6", pod("one", "fd00::1", ready=True), pod("six", "fd00::6")),
            part("b", "model", "IPv4", pod("one", "10.0.0.1", ready=True), pod("two", "10.0.0.2", ready=False)),
            part("c", "model", "IPv4", pod("three", "10.0.0.3"), {"addresses": ["10.0.0.9"], "conditions": {}}),
            part("d", "model-canary", "IPv4", pod("four", "10.0.0.4", ready=True), pod("three", "10.0.0.3")),
            part("e", "other", "IPv4", pod("five", "10.0.0.5", ready=True)),
            {**part("f", "model", "IPv4"), "endpoints": None},
        ]
        for each in slices:
            api.ask("POST", PATH, each)
        found = endpoints.ready(api, "models", ["model", "model-canary"])
    assert found == {"one": "10.0.0.1", "three": "10.0.0.3", "four": "10.0.0.4", "six": "[fd00::6]"}
