"""The tuning Job as it is made, and how it stands."""

import json
import re
from copy import deepcopy

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ci.run.job import manifest
from tests.pods import REPOSITORY, violations

TEMPLATE = yaml.safe_load((REPOSITORY / "ci/agents/tuning.yaml").read_text())
WORK = "outs:\n- md5: 0123.dir\n  path: work\n"


def named(build="demo-7", work=WORK, owner=None, image=None):
    return manifest.named(TEMPLATE, build, work, owner=owner, image=image)


def test_the_job_has_its_name_its_build_its_work_and_its_owner_and_else_what_the_file_says():
    before = deepcopy(TEMPLATE)
    job = named(owner=manifest.Owner("tuner-7", "uid"), image="registry/pipeline@sha256:1")
    assert before == TEMPLATE
    [container] = job["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each.get("value") for each in container["env"]}
    assert given["WORK"] == WORK
    assert given["CHIEF"] == f"{job['metadata']['name']}-0.tuning"
    assert container["image"] == "registry/pipeline@sha256:1"
    [reference] = job["metadata"]["ownerReferences"]
    assert reference == {"apiVersion": "v1", "kind": "Pod", "name": "tuner-7", "uid": "uid"}
    assert violations(job["spec"]["template"]["spec"]) == []
    for labels in (job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]):
        assert labels.pop("model-pipeline/build") == "demo-7"
    del job["metadata"]["name"], job["metadata"]["ownerReferences"]
    for each in (*container["env"], *before["spec"]["template"]["spec"]["containers"][0]["env"]):
        if each["name"] in ("WORK", "CHIEF"):
            each["value"] = ""
    container["image"] = before["spec"]["template"]["spec"]["containers"][0]["image"]
    assert job == before


@given(st.text(max_size=300), st.text(max_size=100))
def test_whatever_a_build_is_called_kubernetes_accepts_the_names(build, work):
    job = named(build, work)
    name, label = job["metadata"]["name"], job["metadata"]["labels"]["model-pipeline/build"]
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?", name)  # an index comes behind it: 63 in all
    assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", label)
    assert named(build, work) == job


def test_two_builds_and_two_commits_have_jobs_of_their_own():
    names = {job["metadata"]["name"] for job in (named(), named("demo-8"), named(work=WORK + " "))}
    assert len(names) == 3


def test_a_killed_pod_is_replaced_alone_and_never_by_a_second_chief():
    spec = TEMPLATE["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["backoffLimitPerIndex"] >= 10  # as often as a trial may lose its worker: ci/tuning/oracle.py
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    actions = {rule["action"] for rule in spec["podFailurePolicy"]["rules"]}
    assert actions == {"FailJob", "Ignore"}


def condition(kind, status="True", **more):
    return {"type": kind, "status": status, **more}


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        ({}, None, ""),
        ({"active": 2, "conditions": []}, None, ""),
        ({"completedIndexes": "1"}, None, ""),
        ({"completedIndexes": "1,3-5"}, None, ""),
        ({"completedIndexes": "10"}, None, ""),
        ({"completedIndexes": "0"}, "done", ""),
        ({"completedIndexes": "0-2,4"}, "done", ""),
        ({"completedIndexes": "0,2"}, "done", ""),
        ({"conditions": [condition("Complete")]}, "done", ""),
        ({"conditions": [condition("Failed", "False")]}, None, ""),
        ({"conditions": [condition("Failed", reason="PodFailurePolicy", message="exit code 2")]}, "failed",
         "a pod could not do its work: exit code 2"),
        ({"conditions": [condition("FailureTarget", reason="DeadlineExceeded", message="m")]}, "failed",
         "it took longer than activeDeadlineSeconds allows: m"),
        ({"conditions": [condition("Failed", reason="Unheard")]}, "failed", "Unheard: no message"),
    ],
)  # fmt: skip
def test_a_job_is_over_once_its_chief_has_ended_well_or_it_has_failed(status, state, words):
    found = manifest.end({"status": status})
    assert (found.state if found else None) == state
    assert words in (found.words if found else "")


def pod(name, index, created):
    annotations = {"batch.kubernetes.io/job-completion-index": index} if index is not None else {}
    return {"metadata": {"name": name, "annotations": annotations, "creationTimestamp": created}}


def test_of_each_index_the_newest_pod_counts():
    pods = [pod("b", "1", "2026-01-01T00:00:02Z"), pod("a", "0", "2026-01-01T00:00:01Z"),
            pod("c", "0", "2026-01-01T00:00:03Z"), pod("other", None, "2026-01-01T00:00:04Z")]  # fmt: skip
    found = manifest.newest(pods)
    assert [(index, each["metadata"]["name"]) for index, each in found.items()] == [(0, "c"), (1, "b")]


def test_the_file_is_what_kubernetes_reads_and_has_no_values_that_are_set_for_it():
    json.dumps(TEMPLATE)
    [container] = TEMPLATE["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each.get("value") for each in container["env"]}
    assert given["WORK"] == given["CHIEF"] == ""
    assert "JOB_COMPLETION_INDEX" not in given  # Kubernetes sets it
    assert TEMPLATE["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
