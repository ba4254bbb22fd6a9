"""Builds that are broken off in pods, and a controller that is restarted: what is left, and what comes of it.

Like tests/cluster/test_rehearsal.py, whose fork and first build these begin with: each is for all that follow.
"""

import re
from collections.abc import Callable

import pytest

from tests.cluster.test_rehearsal import Rehearsal, first, ran, rehearsal, unchanged  # noqa: F401 - three are fixtures
from tests.cluster.tools import PIPELINE, SERVING, kubectl, until
from tests.jenkins.controller import Aborted, Agent, Build, Restarted

pytestmark = [pytest.mark.cluster, pytest.mark.long]

MORE = {"AS_OF": "2013-07-01", "SETTINGS": "training.epochs=4\ndata.training_days=108"}
"""Months later, and with more training: such a model is better than the first by far."""


def broken_off(rehearsal: Rehearsal, act: Callable[[Agent], object]) -> Build:  # noqa: F811
    """Return the build of a better model to which something happens once its canary shares the traffic."""

    def watch(line: str, agent: Agent | None) -> None:
        if line.startswith("  join") and agent:
            rehearsal.job.watch = lambda *_: None
            act(agent)

    rehearsal.job.watch = watch
    build = rehearsal.job.build(**MORE)
    rehearsal.job.watch = lambda *_: None
    assert build.result == "ABORTED", build.log[-6000:]
    assert build.stages[-1] == "Deploy"
    assert "Lock released on resource [Resource: deploy-first-environment]" in build.lines
    until(lambda: "the pods are deleted", lambda: not rehearsal.agents(), 90)
    return build


def holder() -> str:
    """Return who holds the lock of the serving namespace; nothing if nobody does."""
    return kubectl("get", "lease", "rollout", "-n", SERVING, "-o", "jsonpath={.spec.holderIdentity}")


def test_a_build_that_is_stopped_while_it_deploys_puts_back_what_served_and_leaves_nothing(rehearsal, first):  # noqa: F811
    def stop(_: Agent) -> None:
        raise Aborted("Timeout has been exceeded")

    build = broken_off(rehearsal, stop)
    assert ran(build) == ["prepare", "tune", "train", "test", "package"]
    [release] = rehearsal.releases()
    rehearsal.require_served(release["digest"])
    assert not holder()
    assert not rehearsal.clients.failures


def test_an_agent_that_is_lost_while_it_deploys_leaves_a_rollout_that_the_next_build_finishes(rehearsal, first):  # noqa: F811
    """The controller is restarted in each stage of that build, too."""
    now = ("--grace-period=1", "--wait=false")
    lost = broken_off(rehearsal, lambda agent: kubectl("delete", "pod", agent.name, "-n", PIPELINE, *now))
    begun: list[str] = []

    def once_a_stage(_: str) -> bool:
        begun.append(rehearsal.job.builds[-1].stages[-1])
        return begun.count(begun[-1]) == 1

    rehearsal.clients.pause = 0.05  # a canary's tail of latency is known after some 230 requests
    rehearsal.job.restarts = once_a_stage
    build = rehearsal.job.build(**MORE)
    rehearsal.job.restarts, rehearsal.clients.pause = lambda _: False, 0.5
    assert build.result == "SUCCESS", build.log[-6000:]
    assert ran(lost) == ran(build) == []
    assert build.log.count("Resuming build after Jenkins restart") == len({*begun}) == 12
    assert [each["release"] for each in rehearsal.releases()] == [1, 2]
    rehearsal.require_served(rehearsal.releases()[-1]["digest"])
    assert not holder()
    assert not rehearsal.clients.failures


def test_a_build_that_is_stopped_while_a_job_tunes_leaves_neither_job_nor_pod(rehearsal, unchanged):  # noqa: F811
    def watch(line: str, _: Agent | None) -> None:
        if line.startswith("tune_job: Job tuning-"):
            raise Aborted("Aborted by somebody")

    rehearsal.job.watch = watch
    build = rehearsal.job.build(AS_OF="2013-05-01", MAX_TRIALS="2", WORKERS="2", DEPLOY="no")
    rehearsal.job.watch = lambda *_: None
    assert (build.result, build.stages[-1]) == ("ABORTED", "Search"), build.log[-6000:]
    assert re.search(r"^tune_job: Job tuning-\S+: 2 pods", build.log, re.MULTILINE)
    left = ("get", "jobs,pods", "-n", PIPELINE, "-o", "name")
    until(lambda: f"nothing is left: {kubectl(*left)}", lambda: not kubectl(*left), 90)


def test_a_controller_that_is_restarted_while_it_waits_for_a_pod_makes_another_and_both_go(rehearsal, unchanged):  # noqa: F811
    planned: list[str] = []

    def watch(line: str, _: Agent | None) -> None:
        if line.startswith("agent: 64 CPU"):
            planned.append(line)
        if planned and line.startswith("Still waiting to schedule task"):
            planned.append(line)
            raise Restarted if len(planned) == 2 else Aborted("Aborted by somebody")

    rehearsal.job.watch = watch
    build = rehearsal.job.build(SETTINGS="resources.training={cpu: 64, memory: 1Gi}\nplacement.full=default")
    rehearsal.job.watch = lambda *_: None
    assert build.result == "ABORTED", build.log[-6000:]
    left = [name for name in rehearsal.agents() if name.startswith(f"{rehearsal.job.name}-{build.number}-")]
    assert len(left) == 2
    build = rehearsal.job.build(ROLLBACK="99")  # whatever it is
    swept = re.findall(r"^sweep: pod (\S+) deleted: no node takes it, and it was build \d+'s$", build.log, re.MULTILINE)
    assert sorted(swept) == sorted(left)
    until(lambda: "the pods are deleted", lambda: not rehearsal.agents(), 90)


def test_no_log_and_no_report_holds_a_token(rehearsal, unchanged):  # noqa: F811
    files = [file for file in rehearsal.job.folder.glob("build-*/**/*") if file.is_file()]
    said = [build.log.encode() for build in rehearsal.job.builds] + [file.read_bytes() for file in files]
    token = re.compile(rb"eyJ[\w-]{20,}\.eyJ[\w-]{20,}")  # a JSON Web Token, which every account's is
    assert token.search((rehearsal.job.folder / "kubeconfig").read_bytes())
    assert len(said) > 20
    assert not [text[found.start() - 80 : found.start()] for text in said if (found := token.search(text))]
