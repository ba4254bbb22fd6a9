"""Least privilege, proven by denial: each account is tried on everything that the API server has."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from itertools import product

import pytest
import yaml

from ci import configuration
from ci.rollout.cluster import manifests
from tests import pods
from tests.cluster.tools import PIPELINE, SERVING, attempt, kubectl, until, user
from tests.k8s.access import ALLOWED

pytestmark = pytest.mark.cluster

NAMESPACES = [SERVING, PIPELINE, "kube-system"]
Asked = tuple[str, str, str, str]
"""Verb, resource with its group, namespace or "", name or ""."""


def allowed(account: str) -> set[Asked]:
    return {asked for line in ALLOWED[account].strip().splitlines() for asked in _line(*line.split())}


def _line(verbs: str, resource: str, namespace: str = "", name: str = "") -> Iterator[Asked]:
    for verb, place in product(verbs.split(","), NAMESPACES if namespace == "*" else [namespace]):
        yield verb, resource, place, name
        # A right to all of a kind is one to each of them.
        yield from ((verb, resource, place, each) for each in NAMES.get((resource, place), ()) if not name)


def _names() -> dict[tuple[str, str], set[str]]:
    """Return the names that the table has, by resource and namespace: they are tried for every verb and account."""
    found: dict[tuple[str, str], set[str]] = {}
    for words in (line.split() for table in ALLOWED.values() for line in table.strip().splitlines()):
        if len(words) == 4:
            found.setdefault((words[1], words[2]), set()).add(words[3])
    return found


NAMES = _names()


@pytest.fixture(scope="module")
def everything(operated) -> list[Asked]:
    """Every verb on every resource and subresource of the API server, in each namespace, with names and without."""
    groups = [
        group["preferredVersion"]["groupVersion"] for group in json.loads(kubectl("get", "--raw", "/apis"))["groups"]
    ]
    found = []
    for path in ["/api/v1", *(f"/apis/{group}" for group in groups)]:
        group = path.split("/")[2] if path.startswith("/apis") else ""
        for each in json.loads(kubectl("get", "--raw", path))["resources"]:
            resource = f"{each['name']}.{group}" if group else each["name"]
            for verb, place in product(each["verbs"], NAMESPACES if each["namespaced"] else [""]):
                found += [(verb, resource, place, name) for name in ("", *sorted(NAMES.get((resource, place), ())))]
    # These are authorised though discovery does not list them, or not with this verb.
    found += [("patch", "deployments.apps", SERVING, "other"), ("bind", "roles.rbac.authorization.k8s.io", SERVING, "")]
    found += [(verb, "serviceaccounts", PIPELINE, "deployer") for verb in ("impersonate",)]
    found += [("get", resource, SERVING, "") for resource in ("pods/exec", "pods/attach", "pods/portforward")]
    return list(dict.fromkeys(found))


def granted(account: str, everything: list[Asked]) -> set[Asked]:
    """Return what the API server says that an account may do."""
    from kubernetes import client, config

    config.load_kube_config(os.environ["KUBECONFIG"])  # what it was at the import may be another test's
    api = client.AuthorizationV1Api()

    def ask(asked: Asked) -> bool:
        verb, resource, namespace, name = asked
        kind, _, group = resource.partition(".")
        kind, _, subresource = kind.partition("/")
        attributes = {"verb": verb, "resource": kind, "subresource": subresource, "group": group}
        attributes |= {"namespace": namespace, "name": name}
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{PIPELINE}", "system:authenticated"]
        spec = {"user": user(account), "groups": groups, "resourceAttributes": attributes}
        return bool(api.create_subject_access_review({"spec": spec}).status.allowed)

    with ThreadPoolExecutor(8) as pool:
        return {asked for asked, yes in zip(everything, pool.map(ask, everything), strict=True) if yes}


@pytest.fixture(scope="module")
def everybody(everything) -> set[Asked]:
    """What every account of any cluster may do, such as asking about itself: an account without roles shows it."""
    found = granted("default", everything)
    assert {resource for _, resource, _, _ in found} <= {
        "selfsubjectaccessreviews.authorization.k8s.io",
        "selfsubjectrulesreviews.authorization.k8s.io",
        "selfsubjectreviews.authentication.k8s.io",
    }
    return found


@pytest.mark.parametrize("account", ALLOWED)
def test_an_account_may_do_what_the_table_says_and_nothing_else(everything, everybody, account):
    tried = set(everything)
    assert len(tried) > 1000
    expected = allowed(account)
    assert expected <= tried
    found = granted(account, everything) - everybody
    assert sorted(found - expected) == [], "more than the table says"
    assert sorted(expected - found) == [], "less than the table says"


@pytest.mark.parametrize(
    ("account", "command"),
    [
        ("deployer", "delete deployment model-stable"),
        ("deployer", "delete hpa model-stable"),
        ("deployer", "patch hpa other --type=merge -p {}"),
        ("deployer", "patch pdb model-stable --type=merge -p {}"),
        ("deployer", "delete pod any"),
        ("deployer", "get secrets"),
        ("deployer", "create deployment other --image=other"),
        ("deployer", "create serviceaccount other"),
        ("deployer", "create configmap other --from-literal=a=b -n model-pipeline"),
        ("deployer", "delete configmap rollout-history"),
        ("deployer", "delete networkpolicy default-deny"),
        ("deployer", "label namespace model-serving pod-security.kubernetes.io/enforce=privileged --overwrite"),
        ("pipeline", "get service model-canary"),
        ("pipeline", "label nodes --all spare=true"),
        ("monitor", "get pods"),
        ("monitor", "get configmaps"),
        ("monitor", "get deployment model-stable"),
        ("monitor", "patch configmap rollout-history --type=merge -p {}"),
        ("monitor", "get secrets"),
        ("monitor", "get nodes"),
        ("tuner", "get secrets -n model-pipeline"),
        ("tuner", "create deployment other --image=other -n model-pipeline"),
        ("tuner", "create configmap mine --from-literal=a=b -n model-pipeline"),
    ],
)
def test_what_is_denied_is_refused_when_it_is_done(operated, account, command):
    done = attempt("-n", SERVING, *command.split(), account=account)
    assert done.returncode != 0
    assert "forbidden" in done.stderr.lower(), done.stderr


TUNING = yaml.safe_load((pods.REPOSITORY / "ci/agents/tuning.yaml").read_text(encoding="utf-8"))
SPEC = TUNING["spec"]["template"]["spec"]
TOKEN = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
"""A volume with a token, whatever `automountServiceAccountToken` says."""


def volume(**source) -> dict:
    return {"volumes": [*SPEC["volumes"], {"name": "more", **source}]}


def variables(kind: str = "containers", **given) -> dict:
    """Change a pod: its container, or a copy of it that runs before, has these variables beside its own."""
    [container] = deepcopy(SPEC["containers"])
    if kind == "initContainers":
        container |= {"name": "first", "ports": []}
    for key, value in given.items():
        container[key] = [*container.get(key, []), value]
    return {kind: [container]}


def variable(**source) -> dict:
    return {"env": {"name": "X", "valueFrom": source}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"serviceAccountName": "default"}, ""),
        ({"serviceAccountName": "deployer"}, "have no account of their own"),
        ({"serviceAccount": "deployer"}, "have no account of their own"),  # the field's old name
        ({"automountServiceAccountToken": True}, "mount no token"),
        ({"automountServiceAccountToken": None}, "mount no token"),
        (volume(emptyDir={}), ""),
        (volume(configMap={"name": "dvc-config"}), ""),
        (volume(configMap={"name": "other"}), "mount only"),
        (volume(secret={"secretName": "other"}), "mount only"),
        (volume(persistentVolumeClaim={"claimName": "other"}), "mount only"),
        (volume(**TOKEN), "mount only"),
        (volume(projected={"sources": [{"secret": {"name": "other"}}]}), "mount only"),
        (volume(csi={"driver": "secrets-store.csi.k8s.io"}), "mount only"),
        (variables(**variable(configMapKeyRef={"name": "dvc-config", "key": "config"})), ""),
        (variables(**variable(configMapKeyRef={"name": "other", "key": "any"})), "have variables only"),
        (variables(**variable(secretKeyRef={"name": "other", "key": "any"})), "have variables only"),
        (variables(envFrom={"secretRef": {"name": "other"}}), "have variables only"),
        (variables(envFrom={"configMapRef": {"name": "other"}}), "have variables only"),
        (variables(envFrom={"configMapRef": {"name": "dvc-config"}}), ""),
        (variables("initContainers"), ""),
        (variables("initContainers", **variable(secretKeyRef={"name": "other", "key": "any"})), "have variables only"),
        (variables("initContainers", envFrom={"secretRef": {"name": "other"}}), "have variables only"),
    ],
)
def test_a_job_of_the_tuner_is_nobody_in_the_cluster_and_reads_no_secret(operated, change, said):
    job = deepcopy(TUNING)
    job["metadata"]["name"] = "any"
    job["spec"]["template"]["spec"] |= change
    create = ("create", "--dry-run=server", "-f", "-")

    def made() -> str:
        return attempt(*create, given=json.dumps(job), account="tuner").stderr

    if said:  # the API server learns of a policy a moment after it was applied
        until(lambda: f"refused: {made()}", lambda: said in made(), 30)
    else:
        assert made() == ""
    assert attempt(*create, given=json.dumps(job)).returncode == 0  # others make what they like


def test_the_deployer_may_apply_exactly_what_a_rollout_applies(operated, tmp_path, monkeypatch):
    monkeypatch.chdir(pods.REPOSITORY)
    monkeypatch.setattr(manifests, "_ROOT", tmp_path / "manifests")
    for each in manifests.render(configuration.read(pods.REPOSITORY / "tests/pipeline.yaml")):
        text = yaml.safe_dump(each)
        if each["kind"] == "ConfigMap":
            made = attempt("create", "--dry-run=server", "-f", "-", given=text, account="deployer")
            assert made.returncode == 0 or "AlreadyExists" in made.stderr, made.stderr  # from a rollout before
            continue
        dry = ("apply", "--server-side", "--field-manager=deployer", "--dry-run=server", "-f", "-")
        kubectl(*dry, given=text, account="deployer")
        renamed = yaml.safe_dump({**each, "metadata": {**each["metadata"], "name": "other"}})
        assert "forbidden" in attempt(*dry, given=renamed, account="deployer").stderr
