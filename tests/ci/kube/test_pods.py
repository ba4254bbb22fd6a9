"""Why a pod is not ready, in words."""

import pytest

from ci.kube import pods
from ci.rollout.cluster.manifests import OURS


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
        (
            pod(
                "ErrImagePull",
                message='rpc error: code = NotFound desc = failed to pull and unpack image "r.io/m:429": '
                'failed to resolve reference "r.io/m:429": r.io/m:429: not found',
            ),
            "(ErrImagePull): rpc error",
        ),
        (
            pod(
                "ErrImagePull",
                message="failed to authorize: failed to fetch anonymous token: unexpected status from GET "
                "request to https://auth.io/token: 401 Unauthorized",
            ),
            "401 Unauthorized",
        ),
        (
            pod("ErrImagePull", message="pull access denied, repository does not exist or may require authorization"),
            "pull access denied",
        ),
        (pod("ErrImagePull", message="reading manifest 1 in r.io/m: manifest unknown"), "manifest unknown"),
        (pod("ErrImagePull", message="no match for platform in manifest: not found"), "no match for platform"),
        (pod("ErrImageNeverPull", message="Container image is not present"), "may not be pulled"),
        (pod("InvalidImageName", message="Failed to apply default image tag"), "name is invalid"),
        (pod("CrashLoopBackOff", {"exitCode": 1}, message="back-off 10s: i/o timeout"), "ends again and again"),
        (pod("CreateContainerConfigError", message="no configmap"), "cannot be mounted or read"),
    ],
)
def test_what_time_does_not_mend_is_a_failure_with_its_reason(seen, said):
    assert str(pods.failure(seen, OURS)).startswith("pod model-canary-x: ")
    assert said in str(pods.failure(seen, OURS))
    assert pods.progress(seen, OURS) == pods.failure(seen, OURS)


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
    assert pods.failure(seen, OURS) is None
    assert said in pods.progress(seen, OURS, events)


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ErrImagePull", "pull QPS exceeded"),
        ("ErrImagePull", "unexpected status code https://r.io/v2/m/manifests/1: 429 Too Many Requests"),
        ("ErrImagePull", "toomanyrequests: You have reached your unauthenticated pull rate limit"),
        ("ErrImagePull", 'Head "https://r.io/v2/m/manifests/404": dial tcp 10.0.0.1:443: i/o timeout'),
        ("ErrImagePull", "dial tcp 127.0.0.1:5000: connect: connection refused"),
        ("ErrImagePull", "failed to authorize: failed to fetch oauth token: net/http: TLS handshake timeout"),
        ("ErrImagePull", "read tcp 10.0.0.9:4431->10.0.0.1:443: read: connection reset by peer"),
        ("ErrImagePull", "dial tcp: lookup r.io on 10.96.0.10:53: no such host"),
        ("ErrImagePull", "unexpected status code https://r.io/v2/: 503 Service Unavailable"),
        ("ErrImagePull", "failed to copy: httpReadSeeker: failed open: unexpected EOF"),
        ("ErrImagePull", "something that nobody has thought of"),
        ("ImagePullBackOff", 'Back-off pulling image "r.io/m:1": ErrImagePull: pull QPS exceeded'),
        ("ImagePullBackOff", 'Back-off pulling image "r.io/not found:1"'),
        ("RegistryUnavailable", ""),
        ("CreateContainerError", "context deadline exceeded"),
        ("CreateContainerError", 'failed to reserve container name: name "serving_x" is reserved for "ab"'),
        ("CreateContainerConfigError", "failed to sync configmap cache: timed out waiting for the condition"),
    ],
)
def test_trouble_that_may_pass_is_waited_for_and_said(reason, message):
    seen = pod(reason, message=message)
    assert pods.failure(seen, OURS) is None
    assert f"serving waits ({reason})" in pods.progress(seen, OURS)
    assert message in pods.progress(seen, OURS)


@pytest.mark.parametrize(
    ("said", "fails"), [("manifest unknown", True), ("dial tcp 10.0.0.1:443: i/o timeout", False), (None, False)]
)
def test_a_back_off_that_does_not_say_why_is_judged_by_the_pods_last_event(said, fails):
    seen = pod("ImagePullBackOff", message='Back-off pulling image "r.io/m:1"')
    about = {"reason": "Failed", "involvedObject": {"name": "model-canary-x"}}
    events = [{**about, "message": f'Failed to pull image "r.io/m:1": {said}'}] if said else []
    events += [{"reason": "Failed", "involvedObject": {"name": "other"}, "message": "Failed to pull: not found"}]
    assert (pods.failure(seen, OURS, events) is not None) is fails


@pytest.mark.parametrize(
    "reason",
    ["Evicted", "OutOfcpu", "OutOfmemory", "OutOfpods", "Preempting", "UnexpectedAdmissionError", "NodeAffinity",
     "Shutdown", "Terminated", "NodeLost", "TopologyAffinityError", "anything else"],
)  # fmt: skip
def test_a_pod_that_its_node_has_given_up_is_not_the_versions_failure(reason):
    seen = pod("CrashLoopBackOff", {"reason": "OOMKilled"}, restarts=3, phase="Failed")
    seen["status"] |= {"reason": reason, "message": "the node was low on resource"}
    assert pods.failure(seen, OURS) is None
    assert pods.over(seen)
    assert pods.progress(seen, OURS) == (
        f"pod model-canary-x: it has ended, and another takes its place ({reason}): the node was low on resource"
    )


@pytest.mark.parametrize("kind", ["initContainerStatuses", "ephemeralContainerStatuses", "containerStatuses"])
@pytest.mark.parametrize(
    "trouble",
    [
        pod("CrashLoopBackOff", {"exitCode": 1}, restarts=7),
        pod("ErrImagePull", message="not found"),
        pod(last={"reason": "OOMKilled"}, restarts=1),
        pod("CreateContainerConfigError", message="no secret"),
    ],
)
def test_what_others_have_put_into_the_pod_is_not_the_server(kind, trouble):
    [status] = trouble["status"]["containerStatuses"]
    seen = pod()
    seen["status"][kind] = [*seen["status"].get(kind, []), {**status, "name": "proxy"}]
    assert pods.failure(seen, OURS) is None
    assert pods.restarts(seen, OURS) == 0
    assert pods.ended(seen, OURS) == []
    gateway = pod()
    gateway["status"]["containerStatuses"].append({**status, "name": "gateway"})
    assert pods.failure(gateway, OURS) is not None


def test_a_sidecar_that_keeps_a_pod_from_being_ready_is_named():
    seen = pod()
    seen["status"]["containerStatuses"] += pod("CrashLoopBackOff", message="back-off 5m0s")["status"][
        "containerStatuses"
    ]
    seen["status"]["containerStatuses"][1]["name"] = "proxy"
    assert pods.progress(seen, OURS) == "pod model-canary-x: proxy waits (CrashLoopBackOff): back-off 5m0s"


def test_a_pod_that_is_being_deleted_is_not_ready():
    seen = pod(conditions=[("Ready", "True", "")])
    assert pods.ready(seen)
    seen["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    assert not pods.ready(seen)
    assert not pods.ready(pod())


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (pod(last={"reason": "OOMKilled", "exitCode": 137}, restarts=1), "want of memory (OOMKilled, limit 1Gi)"),
        (pod(last={"reason": "Error", "exitCode": 3}, restarts=1), "its server ended with code 3 (Error)"),
        (pod(last={"exitCode": 0}, restarts=1), "its server ended with code 0 (no reason given)"),
        (pod(restarts=1), "model-canary-x: its server ended"),
    ],
)
def test_how_a_server_ended_is_said_though_it_runs_again(seen, said):
    seen["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    assert pods.last_end(seen, OURS).endswith(said)
