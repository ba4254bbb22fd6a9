"""Pods that Services lead to, by their EndpointSlices: who may list these needs no right to see the pods themselves."""

from collections.abc import Sequence

from ci.kube.api import ApiServer


def ready(api: ApiServer, namespace: str, services: Sequence[str]) -> dict[str, str]:
    """Return the address of each pod that some Services lead requests to, by its name.

    A Service may have many slices, those of one address family each, and a pod may be in several: the first address of
    its first slice counts.

    Raises:
        Denied, StageError: as `ApiServer.get` does.
    """
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    found: dict[str, str] = {}
    slices = [
        part
        for service in services
        for part in api.get(path, labelSelector=f"kubernetes.io/service-name={service}").get("items", [])
    ]
    for part in sorted(slices, key=lambda each: str(each["addressType"])):
        for endpoint in part.get("endpoints") or []:
            target, conditions = endpoint.get("targetRef") or {}, endpoint.get("conditions") or {}
            if target.get("kind") == "Pod" and conditions.get("ready") is not False:  # not said means yes
                address = endpoint["addresses"][0]
                found.setdefault(target["name"], f"[{address}]" if part["addressType"] == "IPv6" else address)
    return found
