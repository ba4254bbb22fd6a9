"""Steps in an agent pod: real processes behind a real websocket, whatever becomes of connection and pod meanwhile."""

import io
import os
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ci.errors import StageError
from ci.kube.api import ApiServer
from ci.run.executor import agents
from ci.run.executor.pod import Agent, Lost
from tests.ci import podservers
from tests.ci.podservers import Pods

TEMPLATE = {"spec": {"containers": [{"name": "jnlp"}, {"name": "tools", "resources": {"limits": {"memory": "1Gi"}}}]}}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Pods, ApiServer]]:
    (tmp_path / "pods").mkdir()
    with podservers.serving(tmp_path / "pods") as found:
        yield found


def agent(api: ApiServer, said: list[str] | None = None, tick: Callable[[], object] = lambda: None, **options: Any):
    pod = agents.manifest(TEMPLATE, "plan-1", "1", "tools")
    return Agent(api, pod, "tools", (said if said is not None else []).append, tick, **options)


def ready(found: Agent) -> Agent:
    """Make the code's folder."""
    found.send(b"", "workspace/.keep")
    return found


def python(text: str) -> list[str]:
    return ["python3", "-c", text]


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_step_says_its_lines_as_they_come_and_gives_its_exit_code(cluster, tmp_path):
    """The step ends only once its first line was heard."""
    pods, api = cluster
    lines: list[str] = []
    heard = tmp_path / "heard"

    def hear(line: str) -> None:
        lines.append(line)
        heard.touch()

    text = f"""
import os, sys, time
print('é', flush=True)
while not os.path.exists({str(heard)!r}): time.sleep(.01)
print('to stderr', file=sys.stderr)
sys.exit(3)
"""
    with agent(api) as found:
        code = ready(found).step(python(text), hear)
    assert code == 3
    assert lines == ["é", "to stderr"]
    assert not pods.pods


def test_a_step_gets_its_variables_and_its_folder_and_no_shell_reads_its_words(cluster):
    _, api = cluster
    lines: list[str] = []
    hostile = "$(touch pwned) `x` 'y' \"z\"\nnext=line"
    with agent(api) as found:
        text = "import os, sys; print(repr(os.environ['SET'])); print(sys.argv[1:]); print(os.listdir())"
        assert ready(found).step([*python(text), hostile], lines.append, {"SET": hostile}) == 0
    assert lines == [repr(hostile), repr([hostile]), "['.keep']"]


def test_steps_run_one_after_another_and_one_that_cannot_be_run_says_why(cluster):
    _, api = cluster
    lines: list[str] = []
    with agent(api) as found:
        ready(found)
        assert [found.step(python(f"exit({n})"), lines.append) for n in (0, 7)] == [0, 7]
        assert found.step(["no-such-program"], lines.append) == 127
    assert "no-such-program cannot be run" in lines[0]


def test_much_output_arrives_whole(cluster):
    _, api = cluster
    lines: list[str] = []
    with agent(api) as found:
        assert ready(found).step(python("for n in range(200_000): print(n)"), lines.append) == 0
    assert lines == [str(n) for n in range(200_000)]


def test_an_api_server_that_is_away_does_not_end_a_step_and_no_line_is_lost_or_said_twice(cluster):
    pods, api = cluster
    lines, said = list[str](), list[str]()
    text = "import time\nfor n in range(40): print(n, flush=True); time.sleep(.05)"
    with agent(api, said) as found:
        ready(found)
        breaker = threading.Thread(target=lambda: (until(lambda: len(lines) > 5), pods.restart(0.3)))
        breaker.start()
        assert found.step(python(text), lines.append) == 0
        breaker.join()
    assert lines == [str(n) for n in range(40)]
    assert len(pods.created) == 1


def test_a_pod_that_is_taken_away_is_lost(cluster):
    pods, api = cluster
    lines: list[str] = []
    threading.Thread(target=lambda: (until(lambda: lines), pods.take_away("plan-1"))).start()
    with pytest.raises(Lost, match="pod plan-1: it was deleted"), agent(api) as found:
        ready(found).step(python("import time; print(1, flush=True); time.sleep(60)"), lines.append)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {
                "phase": "Failed",
                "reason": "Evicted",
                "message": "The node was low on resource: memory.",
            },
            "its node ended it (Evicted): The node was low on resource: memory.",
        ),
        (
            {
                "phase": "Failed",
                "containerStatuses": [
                    {"name": "tools", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
                ],
            },
            r"it was killed for want of memory (OOMKilled, limit 1Gi)",
        ),
    ],
    ids=["evicted", "out of memory"],
)
def test_a_pod_that_ends_in_the_middle_of_a_step_is_lost_and_says_how(cluster, status, words, monkeypatch, tmp_path):
    pods, api = cluster
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []

    def end() -> None:
        until(lambda: lines)
        pods.pods["plan-1"]["status"] = status
        pods.kill("plan-1")
        pods.restart()

    threading.Thread(target=end).start()
    with pytest.raises(Lost) as raised, agent(api) as found:
        ready(found).step(python("import time; print(1, flush=True); time.sleep(60)"), lines.append)
    assert str(raised.value) == f"pod plan-1: {words}"
    assert words in Path("build/executor/plan-1.txt").read_text()
    assert not pods.pods


def test_a_step_whose_keeper_was_killed_is_said_to_be_unknown_and_not_waited_for(cluster, monkeypatch, tmp_path):
    pods, api = cluster
    monkeypatch.chdir(tmp_path)
    text = "import os, signal, time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"
    with pytest.raises(StageError, match="left no exit code"), agent(api) as found:
        ready(found).step(python(text), print)
    assert pods.processes("plan-1") == 0


def test_an_interrupted_step_is_heard_out_and_its_pod_removed(cluster):
    pods, api = cluster
    lines: list[str] = []
    text = (
        "import time\nprint('begun', flush=True)\ntry: time.sleep(60)\n"
        "except KeyboardInterrupt: time.sleep(.5); print('put back')"
    )

    def tick() -> None:
        if lines:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), agent(api, tick=lambda: tick()) as found:
        ready(found).step(python(text), lines.append)
    assert lines == ["begun", "put back"]
    assert not pods.pods


def test_files_travel_whole_both_ways(cluster):
    _, api = cluster
    content = os.urandom(3_000_000)
    with agent(api) as found:
        found.send(content, "workspace/build/a/b.bin")
        assert found.read("build/a/b.bin") == content
        with tarfile.open(fileobj=io.BytesIO(found.fetch(["build/a", "build/absent"]))) as tar:
            assert tar.getnames() == ["build/a", "build/a/b.bin"]


def test_a_file_that_is_not_there_is_said(cluster, monkeypatch, tmp_path):
    _, api = cluster
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(StageError, match=r"pod plan-1: build/x cannot be read: cat: .*No such"),
        agent(api) as found,
    ):
        found.read("build/x")


def test_an_image_that_cannot_be_pulled_ends_the_wait_with_the_kubelets_words(cluster):
    pods, api = cluster
    pods.becomes = podservers.waiting("ErrImagePull", "manifest unknown")
    with pytest.raises(StageError, match=r"start: its image cannot be pulled \(ErrImagePull\): manif"), agent(api):
        pass
    assert not pods.pods


def test_what_a_pod_waits_for_is_said_once_and_its_wait_has_an_end(cluster):
    pods, api = cluster
    message = "0/3 nodes are available: 3 Insufficient cpu."
    pods.becomes = lambda _: {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "message": message}],
    }
    said: list[str] = []
    with (
        pytest.raises(StageError, match=r"did not start in 3 s: no node takes it: 0/3"),
        agent(api, said, wait=3),
    ):
        pass
    assert said == [f"pod plan-1: no node takes it: {message}"]
    assert not pods.pods


def test_a_pod_that_is_not_allowed_is_said(cluster):
    pods, api = cluster

    def refuse(_: Any) -> Any:
        raise podservers.web.HTTPForbidden(text='{"message": "violates PodSecurity"}')

    pods.becomes = refuse
    with pytest.raises(StageError, match="violates PodSecurity"), agent(api):
        pass
