"""Why a pod is not ready, in words."""

import pytest

from ci.rollout import pods


def pod(waiting=None, last=None, restarts=0, conditions=(), phase="Running", message=None):
    status = {"name": "serving", "restartCount": restarts, "state": {"running": {}}}
    if waiting:
        status["state"] = {"waiting": {"reason": waiting, **({"message": message} if message else {})}}
    if last:
        status["lastState"] = {"terminated": last}
    return {
        "metadata": {"name": "model-canary-x"},
        "spec": {"containers": [{"name": "serving", "resources": {"limits": {"memory": "1Gi"}}}]},
        "status": {
            "phase": phase,
            "containerStatuses": [status],
            "conditions": [{"type": kind, "status": holds, "message": said} for kind, holds, said in conditions],
        },
    }


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (pod("ImagePullBackOff", message="not found"), "its image cannot be pulled (ImagePullBackOff): not found"),
        (pod("CrashLoopBackOff", {"exitCode": 3}), "its server ends again and again (CrashLoopBackOff): exit code 3"),
        (pod(last={"reason": "OOMKilled"}, restarts=1), "killed for want of memory (OOMKilled, limit 1Gi)"),
        (pod("CrashLoopBackOff", {"reason": "OOMKilled"}), "killed for want of memory"),
        (pod(last={"exitCode": 1}, restarts=2), "its server has ended 2 times, last with code 1"),
        (pod(phase="Failed"), "it failed (no reason): no message"),
        (pod("CreateContainerConfigError", message="no configmap"), "cannot be mounted or read"),
    ],
)
def test_what_time_does_not_mend_is_a_failure_with_its_reason(seen, said):
    assert str(pods.failure(seen)).startswith("pod model-canary-x: ")
    assert said in str(pods.failure(seen))
    assert pods.progress(seen) == pods.failure(seen)


@pytest.mark.parametrize(
    ("seen", "events", "said"),
    [
        (pod(conditions=[("PodScheduled", "False", "0/3 nodes are available: 3 Insufficient cpu.")]), [],
         "no node takes it: 0/3 nodes are available: 3 Insufficient cpu."),
        (pod("ContainerCreating"), [], "serving waits (ContainerCreating)"),
        (pod(last={"exitCode": 1}, restarts=1), [], "it is loading"),
        (pod(), [{"reason": "Unhealthy", "message": "HTTP probe failed with statuscode: 404"}], "statuscode: 404"),
        (pod(conditions=[("Ready", "True", "")]), [], "it is ready"),
    ],
)  # fmt: skip
def test_what_may_still_come_is_said_and_is_no_failure(seen, events, said):
    assert pods.failure(seen) is None
    assert said in pods.progress(seen, events)


def test_a_pod_that_is_being_deleted_is_not_ready():
    seen = pod(conditions=[("Ready", "True", "")])
    assert pods.ready(seen)
    seen["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    assert not pods.ready(seen)
    assert not pods.ready(pod())
