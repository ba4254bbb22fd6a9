"""A tuning Job on an API server: made, waited for with reasons, removed whatever happens."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ci.errors import StageError
from ci.pods.templates import BUILD
from ci.run.job import watch
from ci.run.job.watch import Job
from tests.ci import apiservers
from tests.ci.run.job.test_manifest import named

JOBS = "/apis/batch/v1/namespaces/model-pipeline/jobs"
PODS = "/api/v1/namespaces/model-pipeline/pods"


@pytest.fixture
def server(monkeypatch) -> Iterator[tuple]:
    monkeypatch.setattr(watch, "_LOOK", 0.01)
    with apiservers.serving() as (store, api, _):
        yield store, api


def a_pod(name, index, build="demo-7", job=None, **status):
    labels = {"model-pipeline/build": build, "app.kubernetes.io/component": "tuning",
              "batch.kubernetes.io/job-name": job or named()["metadata"]["name"]}  # fmt: skip
    annotations = {"batch.kubernetes.io/job-completion-index": str(index)}
    metadata = {"name": name, "namespace": "model-pipeline", "labels": labels, "annotations": annotations}
    spec = {"containers": [{"name": "tensorflow", "resources": {"limits": {"memory": "3Gi"}}}]}
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


@contextmanager
def cluster(store, *steps):
    """Do one step after another, each once the Job has been looked at since the last; pods go with their Job."""
    over = threading.Event()
    path = f"{JOBS}/{named()['metadata']['name']}"

    def control() -> None:
        left, seen = [*steps], 0
        while not over.wait(0.002):
            with store.lock:
                looked = sum(asked[:2] == ("GET", path) for asked in store.asked)
                if path not in store.objects:
                    for at in [at for at in store.objects if at.startswith(PODS)]:
                        del store.objects[at]
                elif left and looked > seen:
                    left.pop(0)(store.objects)
                    seen = looked + 1

    thread = threading.Thread(target=control, daemon=True)
    thread.start()
    try:
        yield path
    finally:
        over.set()
        thread.join()


def status(**values):
    def change(objects):
        objects[f"{JOBS}/{named()['metadata']['name']}"]["status"] = values

    return change


def pod(*arguments, **values):
    def change(objects):
        made = a_pod(*arguments, **values)
        objects[f"{PODS}/{made['metadata']['name']}"] = made

    return change


def run(api, said):
    with Job(api, named(), said.append, said.append) as job:
        job.wait()


def container(state, **more):
    return {"containerStatuses": [{"name": "tensorflow", "state": {state: more}}]}


def test_a_job_whose_chief_ends_well_is_done_and_removed_with_its_pods(server):
    store, api = server
    said: list[str] = []
    with cluster(store, pod("t-0", 0, **container("running")), status(active=1), status(completedIndexes="0")) as path:
        run(api, said)
    assert path not in store.objects
    assert not [at for at in store.objects if at.startswith(PODS)]
    made = next(body for method, at, body in store.asked if (method, at) == ("POST", JOBS))
    assert made["spec"]["completionMode"] == "Indexed"
    assert said[0].startswith(f"Job {named()['metadata']['name']}: 1 pods, cpu 1500m, memory 3Gi each")
    assert "pod t-0: it runs" in said


def test_a_job_that_failed_is_told_with_its_reason_and_removed(server):
    store, api = server
    said: list[str] = []
    failed = status(conditions=[{"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "m"}])
    killed = container("terminated", reason="OOMKilled", exitCode=137)
    with (
        cluster(store, pod("t-1", 1, phase="Failed", **killed), failed) as path,
        pytest.raises(StageError, match="failed: a pod could not do its work: m"),
    ):
        run(api, said)
    assert path not in store.objects
    assert any("killed for want of memory (OOMKilled, limit 3Gi)" in each for each in said)


def test_a_pod_that_no_node_takes_is_told_and_given_up_in_the_end(server, monkeypatch):
    store, api = server
    monkeypatch.setattr(watch, "STARTED", 0.2)
    said: list[str] = []
    waiting = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes: Insufficient cpu"}]}
    words = "no node takes it: 0/3 nodes: Insufficient cpu"
    with cluster(store, pod("t-0", 0, **waiting)) as path, pytest.raises(StageError, match="did not start") as error:
        run(api, said)
    assert words in str(error.value)
    assert f"pod t-0: {words}" in said
    assert path not in store.objects


def test_whatever_ends_the_wait_the_job_is_removed(server):
    store, api = server

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with cluster(store, pod("t-0", 0, **container("running"))) as path, pytest.raises(KeyboardInterrupt):  # noqa: SIM117
        with Job(api, named(), lambda line: None if line.startswith("Job") else interrupt(line)) as job:
            job.wait()
    assert path not in store.objects


def test_what_an_earlier_run_of_the_build_left_goes_first_and_no_other(server):
    store, api = server
    for name, build in (("tuning-old", "demo-7"), ("tuning-other", "demo-8")):
        labels = {BUILD: build}
        store.objects[f"{JOBS}/{name}"] = {"metadata": {"name": name, "labels": labels, "resourceVersion": "1"}}
    said: list[str] = []
    with cluster(store, status(completedIndexes="0")):
        run(api, said)
    assert [at.rsplit("/", 1)[1] for at in store.objects if at.startswith(JOBS)] == ["tuning-other"]
    assert "Job tuning-old, which an earlier run left, is removed" in said


def test_an_answer_that_is_lost_makes_no_second_job(server):
    store, api = server
    said: list[str] = []
    # The lists of Jobs and pods that are left, then the POST whose answer is lost.
    with cluster(store, status(completedIndexes="0")):
        with store.lock:
            store.faults[:] = [None, None, "drop"]
        with apiservers.patient():
            run(api, said)
    assert sum(asked[:2] == ("POST", JOBS) for asked in store.asked) == 2


def test_an_api_server_that_is_away_for_a_while_ends_nothing(server):
    store, api = server
    said: list[str] = []

    def away(_):
        store.faults.extend([503] * 12)

    with cluster(store, away, status(completedIndexes="0")), apiservers.patient():
        run(api, said)
    assert any("the search goes on, and so do we" in each for each in said)


def test_an_api_server_that_knows_no_roles_yet_after_its_start_ends_nothing(server):
    store, api = server
    said: list[str] = []
    with cluster(store, lambda _: store.faults.extend([403] * 3), status(completedIndexes="0")):
        run(api, said)
    assert sum("403" in each and each.endswith("the search goes on, and so do we") for each in said) == 3


def test_a_right_that_was_taken_away_ends_the_wait(server, monkeypatch):
    store, api = server
    monkeypatch.setattr(watch, "STARTING", 0.2)
    with cluster(store, lambda _: store.faults.extend([403] * 1000)), pytest.raises(StageError, match="answers 403"):
        run(api, [])


def test_a_job_that_somebody_deleted_is_told_so(server):
    store, api = server

    def gone(objects):
        del objects[f"{JOBS}/{named()['metadata']['name']}"]

    with cluster(store, gone), pytest.raises(StageError, match="was deleted by somebody else"):
        run(api, [])
