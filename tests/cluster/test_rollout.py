"""Rollouts on a cluster with real pods and the deployer's own account, and what goes wrong on the way."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ci.kube.api import ApiServer
from ci.releases.cluster import ClusterLedger
from ci.rollout.cluster import manifests
from tests import saved_models
from tests.cluster import images
from tests.cluster.drills import harness
from tests.cluster.drills.proxy import Proxy
from tests.cluster.tools import SERVING, forget_rollouts, kubectl, until

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def fork(operated: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Fork]:
    """A fork's folder, current for the module, with one release that serves."""
    forget_rollouts()
    with harness.fork(operated, tmp_path_factory.mktemp("fork")) as found:
        found.package({"bias": 1.0})
        assert found.run("rollback").code == 1  # there is nothing to go back to, and that is said
        assert found.run("deploy").code == 0
        yield found
        kubectl("delete", "deployments", "--all", "-n", SERVING)


@pytest.fixture
def load(fork: harness.Fork, tmp_path: Path) -> Iterator[harness.Load]:
    with harness.Load(harness.url(), log=tmp_path / "load.txt") as running:
        yield running


def releases() -> list[dict[str, Any]]:
    return ClusterLedger(ApiServer(), SERVING).read()


def deployment(name: str) -> dict[str, Any] | None:
    listed = json.loads(kubectl("get", "deployments", "-n", SERVING, "-o", "json"))["items"]
    return next((each for each in listed if each["metadata"]["name"] == name), None)


def serving() -> tuple[str, str]:
    """The version of the stable pods, and that of the last release; all its pods are ready and no canary is left."""
    stable = until(lambda: "all pods of stable are ready", whole, 60)  # the autoscaler may just have asked for more
    assert deployment(manifests.CANARY) is None
    container = next(e for e in stable["spec"]["template"]["spec"]["containers"] if e["name"] == manifests.CONTAINER)
    return next(e["value"] for e in container["env"] if e["name"] == "MODEL_VERSION"), releases()[-1]["version"]


def whole() -> dict[str, Any] | None:
    """The stable Deployment, if all its pods are ready."""
    stable = deployment(manifests.STABLE)
    assert stable is not None
    status = stable["status"]
    numbers = {status.get("updatedReplicas"), status.get("readyReplicas"), stable["spec"]["replicas"]}
    return stable if len(numbers) == 1 else None


def template() -> set[str]:
    """The names that Kubernetes gives to the templates of the stable pods; those that end do not count."""
    pods = json.loads(kubectl("get", "pods", "-n", SERVING, "-l", "track=stable", "-o", "json"))["items"]
    there = [each["metadata"] for each in pods if "deletionTimestamp" not in each["metadata"]]
    return {each["labels"]["pod-template-hash"] for each in there}


@contextmanager
def when(fork: harness.Fork, step: str, act: Callable[[], object]) -> Iterator[None]:
    """Do something while the block's command runs, once that has finished a step."""
    over, acted = threading.Event(), []

    def watch() -> None:
        while not over.wait(0.5):
            if step in fork.steps():
                time.sleep(1)
                acted.append(act())
                return

    harness.STEPS.unlink(missing_ok=True)
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert acted, f"{step} was not finished: {fork.steps()}"


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel that gives back what it gets: what a light model of no bias serves, and no other."""
    return saved_models.save_kinds(tmp_path_factory.mktemp("echo") / "model")


def test_a_good_version_takes_over_under_load_without_a_failed_request(fork, load, echo):
    digest = fork.package({"bias": 0.0}, saved_model=echo)
    fork.plan(*images.workers(fork.cluster).split(","))
    planned = fork.run("deploy", "--dry-run")
    assert "+++ Deployment model-canary then" in planned.said
    assert "join -> analyse -> promote" in planned.said
    assert fork.run("deploy").code == 0
    until(lambda: "the new version answers", lambda: load.answers[-1][2] == 0.0, 20)
    assert not load.failures
    assert set(load.seen()) == {1.0, 0.0}
    steps = [json.loads(line) for line in harness.STEPS.read_text().splitlines()]
    [verified] = [step for step in steps if step["step"] == "verify"]
    assert verified["skew"]["compared"] > 0
    assert verified["skew"]["largest_difference"] == 0.0
    assert verified["placed"] == "3 of 3 pods are on the plan's nodes"
    assert serving() == (fork.versions[digest], fork.versions[digest])
    assert fork.run("status").code == 0


def test_deploying_it_again_changes_nothing(fork):
    before = harness.written()
    done = fork.run("deploy")
    assert (done.code, "nothing to do" in done.said) == (0, True)
    assert harness.written() == before


def test_another_number_of_pods_alone_is_applied(fork):
    before, released, settings = template(), releases(), fork.settings

    def deploy(replicas: int) -> str:
        serving = settings.serving.model_copy(update={"replicas": replicas})
        fork.settings = settings.model_copy(update={"serving": serving})
        fork.configure()
        done = fork.run("deploy")
        assert done.code == 0
        return done.said

    wanted = settings.serving.replicas
    assert f"model-stable has at least {wanted + 1} pods now, {wanted} before" in deploy(wanted + 1)
    until(lambda: "one more is wanted", lambda: deployment(manifests.STABLE)["spec"]["replicas"] == wanted + 1, 60)
    assert f"model-stable has at least {wanted} pods now" in deploy(wanted)
    kubectl("scale", "deployment", manifests.STABLE, "-n", SERVING, f"--replicas={wanted}")  # there are no metrics
    assert (template(), releases()) == (before, released)


def long(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.long)


@pytest.mark.parametrize(
    ("behaviour", "package", "rollout", "reason"),
    [
        ({"bias": 3.0}, {"loaded": False}, {}, "its image cannot be pulled"),
        ({"crashes": True}, {}, {}, "told to crash at the start"),
        ({"bias": 3.0}, {"golden_off": 0.5}, {}, "golden prediction 0 is"),
        ({"bias": 2.0, "bytes_per_request": 2**23}, {}, {}, "OOMKilled"),
        # What the others tell is decided from what servers answer, as the tests in tests/ci/rollout show.
        long({"loads_for_ever": True}, {}, {"startup_timeout": 15.0}, "had not loaded its model after 15 s"),
        long({"dtype": "DT_STRING"}, {}, {}, "the signature is"),
        long({"nan": True}, {}, {}, "no finite number"),
        long({"bias": 2.0, "seconds": 0.3}, {}, {}, "latency p50 is"),
        long({"bias": 2.0, "errors": 0.02}, {}, {}, "requests failed"),
        long({"bias": 2.0, "refuses": 0.1}, {}, {}, "requests were refused as wrong"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_version_never_takes_over_and_the_reason_is_said(fork, load, behaviour, package, rollout, reason):
    before = serving()
    fork.package(behaviour, **package)
    fork.configure(**rollout)
    done = fork.run("deploy")
    assert done.code == 1
    assert reason in done.said
    assert serving() == before


def test_a_version_whose_answers_its_saved_model_does_not_give_is_rolled_back(fork, load, echo):
    """To the very pods that were verified, though the settings have changed since."""
    before, verified = serving(), template()
    usual = fork.settings
    gateway = usual.resources.gateway.model_copy(update={"memory": "72Mi"})
    fork.settings = usual.model_copy(update={"resources": usual.resources.model_copy(update={"gateway": gateway})})
    fork.package({"bias": 2.0}, saved_model=echo)
    done = fork.run("deploy")
    fork.settings = usual
    assert (done.code, "training-serving skew" in done.said) == (1, True)
    assert "predictions[0] was served as" in done.said
    assert serving() == before
    assert template() == verified
    assert not load.failures


def test_a_canary_that_no_node_can_hold_says_what_the_scheduler_says(fork):
    before, usual = serving(), fork.settings
    resources = usual.resources.model_copy(
        update={"serving": usual.resources.serving.model_copy(update={"cpu": "999"})}
    )
    fork.settings = usual.model_copy(update={"resources": resources})
    fork.package({"bias": 3.0})
    fork.configure(startup_timeout=10.0)
    done = fork.run("deploy")
    fork.settings = usual
    assert (done.code, "no node takes it: 0/3 nodes are available" in done.said) == (1, True)
    assert serving() == before


def test_a_stable_deployment_deleted_by_hand_comes_back(fork):
    before = serving()
    fork.package({"bias": 4.0})
    delete = lambda: kubectl("delete", "deployment", manifests.STABLE, "-n", SERVING)  # noqa: E731
    with when(fork, "join", delete), harness.Load(harness.url()) as load:
        done = fork.run("deploy")
    assert (done.code, f"{manifests.STABLE} was deleted" in done.said) == (1, True)
    assert serving() == before
    assert not load.failures  # the canary serves until stable is back


@pytest.mark.long
def test_a_deployer_killed_at_each_step_is_continued_by_the_next(fork, load):
    digest = fork.package({"bias": 5.0})
    number = len(releases())
    steps = ("start", "smoke", "join", "analyse", "promote", "verify")
    for place, step in enumerate(steps):
        harness.STEPS.unlink(missing_ok=True)
        process = fork.start("deploy", "--wait", "30")
        # What a killed one had done and not yet written down, the next one does not do again.
        while not {*steps[place:]} & {*fork.steps()}:
            assert process.poll() is None, (step, fork.steps(), process.communicate())
            time.sleep(0.02)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        if step != "start":  # after that one the next deployer waits for the end of the Lease, after others it need not
            free = json.dumps({"spec": {"holderIdentity": ""}})
            kubectl("patch", "lease", "rollout", "-n", SERVING, "--type=merge", "-p", free)
    assert fork.run("deploy").code == 0
    assert serving() == (fork.versions[digest], fork.versions[digest])
    assert len(releases()) == number + 1
    assert not load.failures


def test_of_two_deployers_at_once_one_deploys_and_the_other_says_who(fork):
    digest, number = fork.package({"bias": 6.0}), len(releases())
    with harness.Load(harness.url()) as load:
        both = [fork.start("deploy"), fork.start("deploy")]
        said = [process.communicate(timeout=240)[0] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1], said
    assert any("is deploying to namespace model-serving" in each for each in said)
    assert serving()[0] == fork.versions[digest]
    assert len(releases()) == number + 1
    assert not load.failures


@pytest.mark.long
def test_an_api_server_that_fails_every_sixth_request_delays_a_rollout_and_does_not_break_it(fork, load, tmp_path):
    digest = fork.package({"bias": 7.0})
    with Proxy(every=6) as proxy:
        through = harness.kubeconfig("deployer", tmp_path / "kubeconfig", server=proxy.url)
        assert fork.run("deploy", kubeconfig=through).code == 0
        assert {*proxy.injected} == {"409", "429", "500", "cut", "hang"}
    assert serving()[0] == fork.versions[digest]
    assert not load.failures


@pytest.mark.parametrize("token", ["expired", "wrong"])
def test_credentials_that_have_expired_are_said_and_nothing_is_changed(fork, tmp_path, token):
    fork.package({"bias": 8.0}, loaded=False)
    before = harness.written()
    done = fork.run("deploy", kubeconfig=harness.kubeconfig("deployer", tmp_path / "kubeconfig", token=token))
    assert (done.code, "the credentials are unknown or have expired" in done.said) == (1, True)
    assert harness.written() == before


def test_a_verb_that_the_account_lacks_is_named_before_anything_is_changed(fork):
    role = json.loads(kubectl("get", "role", "deployer", "-n", SERVING, "-o", "json"))
    lacking = json.loads(json.dumps(role))
    [rule] = [each for each in lacking["rules"] if each["resources"] == ["services"]]
    rule["verbs"].remove("patch")
    before = harness.written()
    try:
        kubectl("replace", "-f", "-", given=json.dumps(lacking))
        done = fork.run("deploy")
    finally:
        del role["metadata"]["resourceVersion"]
        kubectl("replace", "-f", "-", given=json.dumps(role))
    assert (done.code, "the account may not patch services/model in namespace" in done.said) == (1, True)
    assert harness.written() == before


def test_what_was_undone_by_hand_is_noticed_and_not_overwritten(fork):
    digest = releases()[-1]["digest"]
    kubectl("rollout", "undo", f"deployment/{manifests.STABLE}", "-n", SERVING)
    kubectl("rollout", "status", f"deployment/{manifests.STABLE}", "-n", SERVING, "--timeout=90s")
    found = fork.run("status")
    assert (found.code, "it was changed by hand" in found.said) == (1, True)
    fork.package({"bias": 9.0}, loaded=False)
    done = fork.run("deploy")
    assert (done.code, "it was changed by hand" in done.said) == (1, True)
    assert fork.run("rollback", "--to", str(len(releases()))).code == 0
    assert serving() == (fork.versions[digest], fork.versions[digest])

    image = f"{manifests.CONTAINER}=localhost/models/light:by-hand"
    kubectl("set", "image", f"deployment/{manifests.STABLE}", image, "-n", SERVING)
    found = fork.run("status")
    assert (found.code, "runs the image localhost/models/light:by-hand" in found.said) == (1, True)
    assert fork.run("rollback", "--to", str(len(releases()))).code == 0
    assert fork.run("status").code == 0


@contextmanager
def quota(pods: int) -> Iterator[None]:
    """Allow so many pods at most where models serve."""
    kubectl("create", "quota", "pods", f"--hard=pods={pods}", "-n", SERVING)
    try:
        yield
    finally:
        kubectl("delete", "quota", "pods", "-n", SERVING)


@pytest.mark.long
def test_what_a_quota_forbids_is_said_while_it_is_waited_for_and_what_serves_is_not_called_down(fork):
    three = lambda: deployment(manifests.STABLE)["status"].get("readyReplicas") == 3  # noqa: E731
    until(lambda: "three pods are ready", three, 90)
    before, scaler = serving(), ("hpa", manifests.STABLE, "-n", SERVING, "--type=merge", "-p")
    fork.package({"bias": 9.5})
    fork.configure(startup_timeout=10.0)
    with quota(3):
        until(
            lambda: "the quota is known",
            lambda: kubectl("get", "quota", "pods", "-n", SERVING, "-o", "yaml").count("used:"),
            20,
        )
        done = fork.run("deploy")
        assert (done.code, "no pod can be made (FailedCreate)" in done.said) == (1, True)
        assert "exceeded quota: pods" in done.said
        try:
            kubectl("patch", *scaler, '{"spec": {"minReplicas": 4, "maxReplicas": 4}}')
            until(lambda: "four are wanted", lambda: deployment(manifests.STABLE)["spec"]["replicas"] == 4, 60)
            until(
                lambda: "they are refused",
                lambda: "ReplicaFailure" in json.dumps(deployment(manifests.STABLE)["status"]),
                30,
            )
            found = fork.run("status")
        finally:
            kubectl("patch", *scaler, '{"spec": {"minReplicas": 3, "maxReplicas": 3}}')
    assert (found.code, ", serves" in found.said.splitlines()[0]) == (0, True)
    assert "3 of 4 pods are ready: no pod can be made (FailedCreate)" in found.said
    until(lambda: "three are wanted", lambda: deployment(manifests.STABLE)["spec"]["replicas"] == 3, 60)
    until(lambda: "three pods are ready", three, 60)
    assert serving() == before


def test_a_lease_keeps_what_an_operator_wrote_into_it(fork):
    name = ("lease", "rollout", "-n", SERVING)
    kubectl("annotate", *name, "team=models", "--overwrite")
    kubectl("label", *name, "part-of=models", "--overwrite")
    assert fork.run("deploy").code in (0, 1)
    metadata = json.loads(kubectl("get", *name, "-o", "json"))["metadata"]
    assert (metadata["annotations"]["team"], metadata["labels"]["part-of"]) == ("models", "models")


def test_rolling_back_twice_goes_back_twice_under_load_without_a_failed_request(fork, load):
    """Each goes back to the newest release that was not rolled back, and the pipeline does not undo that."""
    known = [each["version"] for each in releases()]
    fork.package({"bias": 10.0})
    assert fork.run("deploy").code == 0
    assert fork.run("rollback").code == 0
    assert serving() == (known[-1], known[-1])
    again = fork.run("deploy")
    assert (again.code, "which was rolled back" in again.said) == (0, True)
    assert fork.run("rollback").code == 0
    assert serving()[0] == next(version for version in reversed(known) if version != known[-1])
    assert fork.run("rollback", "--to", "99").code == 2
    assert not load.failures


@pytest.mark.long
def test_a_node_drained_while_its_canary_is_watched_delays_the_rollout(fork, load):
    digest = fork.package({"bias": 11.0})
    node: list[str] = []

    def drain() -> None:
        found = kubectl("get", "pods", "-n", SERVING, "-l", "track=canary", "-o", "jsonpath={.items[0].spec.nodeName}")
        node.append(found)
        kubectl("drain", found, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")

    with when(fork, "join", drain):
        done = fork.run("deploy")
    subprocess.run(["kubectl", "uncordon", *node], check=True)
    assert done.code == 0
    assert serving() == (fork.versions[digest], fork.versions[digest])
    assert not load.failures
