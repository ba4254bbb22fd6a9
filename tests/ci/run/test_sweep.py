"""Which pods of earlier builds are deleted, and that nothing else is."""

import subprocess
import sys

import pytest

from ci.run.sweep import leftovers
from tests.builds import REPOSITORY

URL = "https://jenkins.example.com/prefix/job/team/job/demo/8/"


def pod(run="prefix/job/team/job/demo/7/", phase="Pending", node=None, **metadata):
    annotations = {"runUrl": run} if run is not None else None
    found = {"metadata": {"name": "p", "annotations": annotations, **metadata}, "spec": {}, "status": {"phase": phase}}
    if node:
        found["spec"]["nodeName"] = node
    return found


@pytest.mark.parametrize(
    ("left", "why"),
    [
        (pod(), "no node takes it, and it was build 7's"),
        (
            pod(run="job/team/job/demo/7/"),
            "no node takes it, and it was build 7's",
        ),  # as Jenkins has it, without prefix
        (pod(phase="Failed", node="n"), "it has ended, and was build 7's"),
        (pod(phase="Succeeded", node="n"), "it has ended, and was build 7's"),
    ],
)
def test_what_an_earlier_build_left_goes(left, why):
    assert [found for _, found in leftovers([left], URL)] == [why]


@pytest.mark.parametrize(
    "other",
    [
        pod(node="n"),  # it is being started
        pod(phase="Running", node="n"),
        pod(run="job/team/job/demo/8/"),  # our own
        pod(run="job/team/job/demo/10/"),  # a later one: numbers are compared, not texts
        pod(run="job/other/job/demo/7/"),
        pod(run="job/demo-eu/7/"),
        pod(run="ights/7/"),
        pod(run=None),  # not of Jenkins
        pod(run="job/team/job/demo/x/"),
        pod(run="7/"),
        pod(deletionTimestamp="2026-01-01T00:00:00Z"),
    ],
)
def test_every_other_pod_stays(other):
    assert list(leftovers([other], URL)) == []


@pytest.mark.parametrize(
    ("environment", "code", "said"),
    [
        ({}, 2, "BUILD_URL is not set"),
        ({"BUILD_URL": URL}, 0, "sweep: nothing looked for: this is no pod with an account"),
    ],
)
def test_outside_a_pod_of_jenkins_it_says_so(tmp_path, environment, code, said):
    command = [sys.executable, "-m", "scripts.sweep"]
    environment = {**environment, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True)
