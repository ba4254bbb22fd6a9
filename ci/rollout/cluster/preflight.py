"""What must hold before a rollout on a cluster begins: the account's rights."""

from ci.errors import StageError
from ci.kube.api import ApiServer
from ci.rollout.cluster import manifests

RIGHTS = (
    ("apps", "deployments", manifests.STABLE, ("get", "create", "patch")),
    ("apps", "deployments", manifests.CANARY, ("get", "create", "patch", "delete")),
    ("apps", "replicasets", "", ("list",)),
    ("", "services", manifests.SERVICE, ("get", "create", "patch")),
    ("autoscaling", "horizontalpodautoscalers", manifests.STABLE, ("get", "create", "patch")),
    ("", "configmaps", "", ("get", "create")),
    ("", "configmaps", "rollout-history", ("update",)),
    ("", "pods", "", ("list",)),
    ("", "pods/log", "", ("get",)),
    ("", "pods/portforward", "", ("get", "create")),
    ("", "events", "", ("list",)),
    ("coordination.k8s.io", "leases", "rollout", ("get", "update")),
)
"""API group, resource, name (empty: any) and verbs: all that a rollout does, as `k8s/base/roles.yaml` grants it."""


def denied(api: ApiServer, namespace: str) -> list[str]:
    """Return the rights that a rollout needs and the account lacks, such as `patch deployments/model-canary`."""
    found = []
    for group, resource, name, verbs in RIGHTS:
        kind, _, part = resource.partition("/")
        for verb in verbs:
            asked = {"namespace": namespace, "group": group, "resource": kind, "verb": verb}
            asked |= {"subresource": part} if part else {}
            asked |= {"name": name} if name else {}
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": asked},
            }
            answer = api.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
            if not answer["status"]["allowed"]:
                found.append(f"{verb} {resource}{'/' + name if name else ''}")
    return found


def permitted(api: ApiServer, namespace: str) -> None:
    """Make sure that the account may do all that a rollout does.

    Raises:
        StageError: it may not; nothing was changed.
    """
    if missing := denied(api, namespace):
        raise StageError(
            f"the account may not {', '.join(missing)} in namespace {namespace}: apply your overlay of k8s/overlays as "
            "an administrator, and deploy as the ServiceAccount `deployer`"
        )
