"""A controller from this repository on a cluster: made, fed by `git push`, asked for builds, deleted.

Jenkins' own image is stood in for by tests/cluster/controller, which checks its pod before it says that it is ready.
"""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import pods
from tests.cluster import images
from tests.cluster.tools import PIPELINE, SERVING, attempt, kubectl, until
from tests.pods import REPOSITORY

pytestmark = [pytest.mark.cluster, pytest.mark.own_cluster]
NAME, NAMESPACE = "with-jenkins", "jenkins"
Run = Callable[..., subprocess.CompletedProcess[str]]
ALLOWED = {
    PIPELINE: {("pods", verb) for verb in ("create", "get", "list", "watch", "delete")}
    | {("pods/exec", "get"), ("pods/exec", "create"), ("pods/log", "get")},
}
"""What the table of docs/jenkins.md gives the controller's account, by namespace."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the settings of this one; the branch main has one commit."""
    folder = tmp_path_factory.mktemp("a clone")
    (folder / "pipeline.yaml").write_bytes((REPOSITORY / "tests/pipeline.yaml").read_bytes())
    for words in (["init", "--quiet", "--initial-branch=main"], ["add", "."], ["commit", "--quiet", "-m", "first"]):
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", *words], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def run(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run a command in the repository, or in the clone; in the end nothing of the cluster is left."""
    images.controller()
    home = tmp_path_factory.mktemp("a home")

    def command(name: str, *arguments: str, where: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", f"scripts.{name}", *arguments]
        environment = {**os.environ, "CLUSTER": NAME, "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(words, cwd=where, env=environment, capture_output=True, text=True, timeout=600)
        print(done.stdout, done.stderr)
        return done

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KUBECONFIG", str(home / "kubeconfig"))
        environment.setenv("XDG_CACHE_HOME", str(home))
        try:
            yield command
        finally:
            command("cluster", "delete")


@pytest.fixture(scope="module")
def made(run: Run) -> list[str]:
    done = run("jenkins", "create", "--set=serving.port=18503")
    if done.returncode:
        print(attempt("logs", "jenkins-0", "-n", NAMESPACE).stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    kubectl("config", "use-context", f"kind-{NAME}")
    return done.stdout.splitlines()


def bound() -> list[str]:
    """Return the volumes that belong to a claim of the controller's."""
    found = json.loads(kubectl("get", "persistentvolumes", "-o", "json"))["items"]
    claims = {each["metadata"]["name"]: each["spec"].get("claimRef", {}).get("namespace") for each in found}
    phases = {each["metadata"]["name"]: each["status"]["phase"] for each in found}
    return [name for name, namespace in claims.items() if namespace == NAMESPACE and phases[name] == "Bound"]


def secret() -> dict[str, str]:
    found = json.loads(kubectl("get", "secret", "jenkins", "-n", NAMESPACE, "-o", "json"))["data"]
    return {name: base64.b64decode(text).decode() for name, text in found.items()}


def test_it_starts_under_restricted_with_all_that_jenkins_needs_and_says_how_to_reach_it(made):
    log = kubectl("logs", "jenkins-0", "-n", NAMESPACE)
    assert log.splitlines()[-1] == "ready", log
    assert "WRONG" not in log
    label = kubectl(
        "get", "namespace", NAMESPACE, "-o", r"jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}"
    )
    assert label == "restricted"
    [line] = [each for each in made if "go-template" in each]
    printed = subprocess.run(["bash", "-euc", line], capture_output=True, text=True, check=True).stdout
    assert printed == secret()["ADMIN_PASSWORD"]
    assert any("pass a dry run" in each for each in made)


def test_its_account_may_do_what_the_table_says_and_nothing_else(made):
    account = f"system:serviceaccount:{NAMESPACE}:jenkins"
    for namespace in (PIPELINE, SERVING, NAMESPACE, "kube-system"):
        lines = kubectl("auth", "can-i", "--list", "--no-headers", "-n", namespace, f"--as={account}").splitlines()
        found = set()
        for line in lines:
            resource, verbs = line.split()[0], line[line.rindex("[") + 1 : line.rindex("]")].split()
            if not resource.startswith(("[", "selfsubject")):
                found |= {(resource, verb) for verb in verbs}
        assert found == ALLOWED.get(namespace, set()), namespace
    for words in ("get secrets", "create serviceaccounts/token", "patch pods", "create jobs.batch", "get configmaps"):
        verb, resource = words.split()
        assert attempt("auth", "can-i", verb, resource, "-n", PIPELINE, f"--as={account}").stdout.strip() == "no"


def test_a_push_builds_without_any_host_outside(made, run, clone):
    subprocess.run(["git", "remote", "add", "demo", "/somewhere/else"], cwd=clone, check=True)
    other = run("jenkins", "push", "--no-images", where=clone)
    assert (other.returncode, "leads to /somewhere/else: rename it" in other.stderr) == (2, True)
    subprocess.run(["git", "remote", "remove", "demo"], cwd=clone, check=True)
    done = run("jenkins", "push", "--no-images", where=clone)
    assert done.returncode == 0, done.stderr
    assert "Jenkins looks at the branches now" in done.stderr
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, check=True, capture_output=True, text=True).stdout
    assert f"building main at {commit.strip()}" in kubectl("logs", "jenkins-0", "-n", NAMESPACE)
    branch = ["git", "push", "--quiet", "demo", "HEAD:refs/heads/feature/one-two"]
    subprocess.run(branch, cwd=clone, check=True, capture_output=True, timeout=60)
    assert "building feature/one-two at" in kubectl("logs", "jenkins-0", "-n", NAMESPACE)
    refused = subprocess.run(
        ["git", "push", "git://git.jenkins.svc.cluster.local/model.git", "HEAD:refs/heads/other"],
        cwd=clone, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert refused.returncode != 0, "the server itself takes no push"


def test_a_build_is_started_and_followed_through_the_api_server(made, run, clone):
    for number, request in enumerate(["nightly", "nightly", "another"]):
        done = run("jenkins_build", "--request", request, "AS_OF=2013-07-01", where=clone)
        assert done.returncode == 0, done.stderr
        assert ("was asked for before" in done.stdout) == (number == 1)
        assert "SUCCESS" in done.stdout.splitlines()[-1]
    unknown = run("jenkins_build", "--branch=nothing", where=clone)
    assert (unknown.returncode, "feature/one-two, main" in unknown.stderr) == (2, True)


def test_after_a_restart_home_and_repository_are_as_before(made, clone):
    kubectl("delete", "pod", "jenkins-0", "git-0", "-n", NAMESPACE, "--wait")
    for name in ("jenkins", "git"):
        kubectl("rollout", "status", f"statefulset/{name}", "-n", NAMESPACE, "--timeout=120s")
    log = kubectl("logs", "jenkins-0", "-n", NAMESPACE)
    assert log.splitlines()[-1] == "ready", "what it copied before was copied over"
    listed = subprocess.run(
        ["git", "ls-remote", "--heads", "demo"], cwd=clone, check=True, capture_output=True, text=True
    )
    assert "refs/heads/feature/one-two" in listed.stdout


def test_making_it_again_changes_no_password_and_no_log_holds_one(made, run):
    before = secret()
    again = run("jenkins", "create", "--set=serving.port=18503")
    assert again.returncode == 0, again.stderr
    assert secret() == before
    said = "\n".join([*made, again.stdout, again.stderr])
    for name in ("jenkins-0", "git-0"):
        said += kubectl("logs", name, "-n", NAMESPACE)
    assert not [name for name, value in before.items() if value and value in said]


def test_what_is_applied_to_other_clusters_passes_a_dry_run_too(made, run):
    given = ["--set=jenkins.repository=https://github.com/you/fork", "--set=jenkins.url=https://ci.example.com"]
    printed = run("jenkins", "manifests", *given)
    assert printed.returncode == 0, printed.stderr
    dry = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-")
    said = kubectl(*dry, given=printed.stdout).splitlines()
    assert len(said) == printed.stdout.count("\nkind: ")
    assert all(line.endswith("(server dry run)") for line in said)
    secrets = run("jenkins", "secret")
    assert "AlreadyExists" in attempt("create", "-f", "-", given=secrets.stdout).stderr, "passwords are not replaced"


def test_what_the_api_server_refuses_is_told_and_nothing_is_applied(made, run, tmp_path):
    version = kubectl("get", "statefulset", "jenkins", "-n", NAMESPACE, "-o", "jsonpath={.metadata.resourceVersion}")
    quota = ["create", "quota", "full", "-n", NAMESPACE, "--hard=count/services=0"]
    kubectl(*quota)
    kubectl("delete", "service", "git", "-n", NAMESPACE)
    refused = run("jenkins", "create", "--set=serving.port=18503")
    assert refused.returncode == 1
    assert "the API server refuses the controller, and nothing was applied" in refused.stderr
    assert "exceeded quota" in refused.stderr
    assert kubectl("get", "service", "-n", NAMESPACE, "-o", "name").split() == ["service/jenkins"]
    after = kubectl("get", "statefulset", "jenkins", "-n", NAMESPACE, "-o", "jsonpath={.metadata.resourceVersion}")
    assert after == version
    kubectl("delete", "quota", "full", "-n", NAMESPACE)


def test_deleting_leaves_nothing(made, run, clone):
    spec = next(spec for name, spec in pods.pod_specs() if name == "ci/agents/tools.yaml Pod")
    spec = {
        **spec,
        "nodeSelector": {"no": "node"},
        "containers": [each for each in spec["containers"] if "image" in each],
    }
    metadata = {"name": "left", "namespace": PIPELINE, "labels": {"model-pipeline/controller": "jenkins"}}
    agent = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    kubectl("apply", "-f", "-", given=json.dumps(agent))
    done = run("jenkins", "delete", where=clone)
    assert done.returncode == 0, done.stderr
    assert kubectl("get", "namespace", NAMESPACE, "--ignore-not-found") == ""
    assert attempt("get", "pod", "left", "-n", PIPELINE).returncode != 0
    until(lambda: "the volumes are let go", lambda: not bound(), 60)
    remotes = subprocess.run(["git", "remote"], cwd=clone, check=True, capture_output=True, text=True).stdout
    assert remotes == ""
    assert run("jenkins_build", where=clone).returncode == 2
    assert run("jenkins", "delete", where=clone).returncode == 0, "again"
