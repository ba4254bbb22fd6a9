"""Deployments on this machine: real packages, real servers, real clients, through the commands that people run."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
import requests

from ci import configuration, workspace
from ci.capture.replay import send
from ci.releases import machine
from ci.releases.version import Version
from ci.rollout import deploy as rollout_deploy
from ci.rollout import smoke
from ci.rollout.decision import Step
from ci.rollout.deploy import served
from ci.rollout.local import servers as local
from ci.rollout.rollout import Rollout as Rollout_
from ci.rollout.timeline import describe
from ci.serving.control import Remote
from ci.settings import Settings
from ci.task import Field, Output
from scripts import champion, deploy, rollback, serve, status, stop
from tests.ci.rollout.checkouts import INSTANCES, LEDGER, Checkout
from tests.programs import needed

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an environment whose proxy answers nothing."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "localhost")


class Load:
    """Clients that ask without pause: half on a new connection each time, half on kept ones, without retries."""

    def __init__(self, port: int, clients: int = 4):
        self.url = f"http://127.0.0.1:{port}/v1/models/demo:predict"
        self.answers: list[float] = []
        self.failures: list[str] = []
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self._ask, args=(n % 2 == 0,)) for n in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        for thread in self.threads:
            thread.join()

    def _ask(self, keep: bool) -> None:
        body = json.dumps({"instances": INSTANCES[:1]})
        session = requests.Session()
        while not self.done.is_set():
            try:
                answer = (session if keep else requests).post(self.url, data=body, timeout=60)
                self.answers.append(round(answer.json()["predictions"][0], 4))
            except (requests.RequestException, KeyError, ValueError) as error:
                self.failures.append(repr(error))


@pytest.mark.slow
def test_versions_take_over_without_a_failed_request_and_a_bad_one_never_does(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout.build(0.5)
    assert deploy.main(["--dry-run"]) == 0
    assert "start -> wait -> smoke -> promote -> verify -> record" in capsys.readouterr().out
    assert deploy.main([]) == 0
    checkout.serves(0.5, release=1)

    capsys.readouterr()
    begin = time.perf_counter()
    assert deploy.main([]) == 0
    assert time.perf_counter() - begin < 1
    assert "nothing to do" in capsys.readouterr().out
    assert 'name="nothing"' in (workspace.ROLLOUT / "junit.xml").read_text()
    assert not (workspace.ROLLOUT / "steps.jsonl").exists()

    with Load(checkout.port) as load:
        checkout.build(0.75, as_of="2013-05-01")
        assert deploy.main([]) == 0
        time.sleep(0.5)
    assert load.failures == []
    assert sorted(set(load.answers)) == [5.6, 5.85]
    assert load.answers[-1] == 5.85
    checkout.serves(0.75, release=2)
    champion_then = json.loads(workspace.CHAMPION.read_text())
    assert champion_then["release"] == 1

    checkout.build(0.25, off=0.01, as_of="2013-06-01")
    assert json.loads(workspace.CHAMPION.read_text())["release"] == 2
    capsys.readouterr()
    assert deploy.main([]) == 1
    said = capsys.readouterr().err
    assert "golden prediction 0 is 5.35" in said
    assert [line.split(":")[0] for line in said.splitlines() if line.startswith("  ") and ": failed" in line] == [
        "  smoke"
    ]
    checkout.serves(0.75, release=2)

    checkout.configure("2013-05-01")  # the inputs of the release that serves: a rerun changes nothing
    assert champion.main([]) == 0
    assert json.loads(workspace.CHAMPION.read_text()) == champion_then
    with pytest.MonkeyPatch.context() as patch:  # a pull request's code is another: it is compared with what serves
        patch.setenv("CHANGE_ID", "12")
        assert champion.main([]) == 0
    assert json.loads(workspace.CHAMPION.read_text())["release"] == 2

    steps = [json.loads(line) for line in (workspace.ROLLOUT / "steps.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == ["start", "wait", "smoke", "abort"]
    assert steps[-1]["golden"] == 2  # what serves was asked again
    suite = ElementTree.parse(workspace.ROLLOUT / "junit.xml").find("testsuite")  # noqa: S314 - written by us
    assert suite is not None
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["smoke", "abort"]
    title = describe(steps, json.loads((workspace.ROLLOUT / "rollout.json").read_text())).title
    assert "was rolled back after" in title
    assert title.endswith("release 2 serves.")


@pytest.mark.slow
def test_a_release_is_rolled_back_without_a_failed_request_and_stays_so(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout.configure()
    assert rollback.main([]) == 1
    assert "nothing was released yet" in capsys.readouterr().err
    assert status.main([]) == 1
    for number, bias in enumerate((0.5, 0.75), 1):
        checkout.build(bias, as_of=f"2013-0{number + 3}-01")
        assert deploy.main([]) == 0
    assert rollback.main(["--to", "9"]) == 2
    assert "there is no release 9: releases are 1 to 2" in capsys.readouterr().err
    assert rollback.main(["--dry-run"]) == 0
    assert "would bring back release 1" in capsys.readouterr().out
    with Load(checkout.port) as load:
        assert rollback.main([]) == 0
        time.sleep(0.5)
    assert load.failures == []
    assert sorted(set(load.answers)) == [5.6, 5.85]
    checkout.serves(0.5, release=3)

    capsys.readouterr()
    assert deploy.main([]) == 0  # the pipeline does not bring back what was rolled back
    assert "this image is release 2, which was rolled back" in capsys.readouterr().out
    assert rollback.main([]) == 1
    assert "no release is earlier than release 3 and was not rolled back itself" in capsys.readouterr().err
    assert status.main([]) == 0
    assert "in place of release 2" in capsys.readouterr().out
    assert rollback.main(["--to", "2"]) == 0
    checkout.serves(0.75, release=4)


@pytest.mark.e2e
@pytest.mark.slow
def test_a_deployment_that_is_killed_at_any_moment_converges_when_it_is_run_again(checkout: Checkout) -> None:
    checkout.build(0.5)
    assert deploy.main([]) == 0
    before = 0.5
    for release, (bias, last_step) in enumerate([(0.75, "start"), (0.25, "pause")], 2):
        checkout.build(bias, as_of=f"2013-0{release + 3}-01")
        killed_after(last_step, signal.SIGKILL).communicate()
        assert round(checkout.predict(), 4) in (5.1 + before, 5.1 + bias)
        assert deploy.main([]) == 0
        checkout.serves(bias, release)
        before = bias


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "put_back"), [("smoke", True), ("promote", True), ("verify", True), ("retire", False)]
)
def test_an_interrupted_deployment_puts_back_what_served_unless_the_new_version_is_a_release_already(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, step: str, put_back: bool
) -> None:
    checkout.build(0.5)
    assert deploy.main([]) == 0
    checkout.build(0.75, as_of="2013-05-01")
    do, interrupted = Rollout_._do, []

    def do_interrupted(self: Rollout_, taken: Step) -> dict[str, object]:
        if taken == step and not interrupted:
            interrupted.append(taken)
            raise KeyboardInterrupt
        return do(self, taken)

    monkeypatch.setattr(Rollout_, "_do", do_interrupted)
    assert deploy.main([]) == (1 if put_back else 0)
    assert interrupted
    checkout.serves(*((0.5, 1) if put_back else (0.75, 2)))
    said = json.loads((workspace.ROLLOUT / "rollout.json").read_text())
    assert said.get("failed", "").startswith("it was interrupted; version") == put_back
    cases = ElementTree.parse(workspace.ROLLOUT / "junit.xml").iter("testcase")  # noqa: S314 - our own file
    failed = [case.get("name") for case in cases if case.find("failure") is not None]
    assert failed == (["abort"] if put_back else [])
    assert deploy.main([]) == 0
    checkout.serves(0.75, release=2)


@pytest.mark.e2e
@pytest.mark.slow
def test_an_interrupt_on_the_way_back_does_not_stop_it(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout.build(0.5)
    assert deploy.main([]) == 0
    checkout.build(0.75, off=1.0, as_of="2013-05-01")  # fails its smoke test
    retire, interrupted = local.Local.retire, []

    def interrupt(self: local.Local, digest: str) -> str:
        interrupted.append(digest)
        os.kill(os.getpid(), signal.SIGTERM)
        return retire(self, digest)

    monkeypatch.setattr(local.Local, "retire", interrupt)
    assert deploy.main([]) == 1
    assert interrupted
    checkout.serves(0.5, release=1)
    assert "golden prediction" in json.loads((workspace.ROLLOUT / "rollout.json").read_text())["failed"]


@pytest.mark.slow
def test_a_server_that_is_about_to_listen_ends_with_an_interrupt(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.build(0.5)
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        def poll(self) -> int | None:
            if started:
                return super().poll()
            started.append(self)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(local.subprocess, "Popen", Interrupted)
        assert deploy.main([]) == 1
    assert started[0].returncode == -signal.SIGKILL
    assert checkout.phases() == {}


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("command", [["deploy"], ["pipeline", "deploy"]])
def test_a_build_that_is_aborted_while_it_deploys_leaves_what_served_and_says_so(
    checkout: Checkout, command: list[str]
) -> None:
    """As a build server does it: SIGTERM to each process of the build."""
    checkout.build(0.5)
    assert deploy.main([]) == 0
    checkout.build(0.75, as_of="2013-05-01")
    process = killed_after("start", signal.SIGTERM, command)
    said, _ = process.communicate(timeout=60)
    assert process.returncode in (1, 130)
    assert "failed: it was interrupted; version" in said
    checkout.serves(0.5, release=1)
    cases = ElementTree.parse(workspace.ROLLOUT / "junit.xml").iter("testcase")  # noqa: S314 - our own file
    assert [case.get("name") for case in cases if case.find("failure") is not None] == ["abort"]


def killed_after(step: str, number: int, command: Sequence[str] = ("deploy",)) -> subprocess.Popen[str]:
    """Deploy in a process group of its own, and send that a signal as soon as a step is in the journal."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    journal = workspace.ROLLOUT / "steps.jsonl"
    journal.unlink()
    line, pipe = [sys.executable, "-m", f"scripts.{command[0]}", *command[1:]], subprocess.PIPE
    process = subprocess.Popen(
        line, env=environment, start_new_session=True, stdout=pipe, stderr=subprocess.STDOUT, text=True
    )
    while not (journal.exists() and f'"step": "{step}"' in journal.read_text()):
        assert process.poll() is None, "the deployment ended before it could be killed"
        time.sleep(0.01)
    os.killpg(process.pid, number)
    return process


@pytest.mark.e2e
@pytest.mark.slow
def test_where_requests_are_captured_a_version_that_answers_otherwise_than_its_saved_model_is_given_up(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def captured(_: str) -> dict[str, list[dict[str, object]]]:
        entry = {"number": 1, "time": "now", "path": "/v1/models/demo:predict", "status": 200}
        body = json.dumps({"instances": INSTANCES[:1]})
        return {"pod": [{**entry, "request": body, "response": json.dumps({"predictions": [5.6]})}]}

    rescorer = rollout_deploy._rescorer

    def where_captured(settings: Settings, place: Any, manifest: Any) -> Any:
        return rescorer(settings, replace(place, where=SimpleNamespace(shares=True, captured=captured)), manifest)

    monkeypatch.setattr(rollout_deploy, "_rescorer", where_captured)
    checkout.build(0.5)
    assert deploy.main([]) == 0
    verify = json.loads((workspace.ROLLOUT / "steps.jsonl").read_text().splitlines()[-2])
    assert verify["step"] == "verify"
    assert verify["skew"] == {"compared": 1, "largest_difference": 0.0, "passed_over": {}}

    checkout.build(0.75, as_of="2013-05-01")
    capsys.readouterr()
    assert deploy.main([]) == 1
    said = capsys.readouterr().err
    assert "training-serving skew: 1 of 1 captured requests" in said
    assert "predictions[0] was served as 5.6, offline it is 5.85" in said
    assert said.rstrip().endswith("of release 1 serves")
    checkout.serves(0.5, release=1)


@pytest.mark.e2e
@pytest.mark.slow
def test_a_release_outlives_its_process_and_is_never_mistaken_for_none(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout.configure()
    assert serve.main([]) == 1
    assert "nothing was released yet" in capsys.readouterr().err
    checkout.build(0.5)
    assert json.loads(workspace.CHAMPION.read_text()) is None
    assert deploy.main([]) == 0
    (path,) = machine.FOLDER.glob("*.sock")
    pid = Remote(path).pid()
    assert pid is not None

    os.kill(pid, signal.SIGSTOP)
    checkout.configure("2013-05-01")
    monkey_timeout(path)
    os.kill(pid, signal.SIGCONT)
    assert champion.main([]) == 0
    assert json.loads(workspace.CHAMPION.read_text())["release"] == 1

    assert served(configuration.effective()) == (1, True)
    os.kill(pid, signal.SIGKILL)
    assert served(configuration.effective()) == (1, False)
    (machine.FOLDER / "pid").write_text(f"{os.getpid()}\n")  # a stale number, by now somebody else's
    assert champion.main([]) == 0
    assert "nothing serves; taking release 1" in capsys.readouterr().out
    assert json.loads(workspace.CHAMPION.read_text())["release"] == 1

    with socket.create_server(("127.0.0.1", checkout.port)):
        assert serve.main([]) == 2
        said = capsys.readouterr().err
        assert f"serving.port: port {checkout.port} is in use by another program" in said
        assert "--set serving.port=" in said
    assert serve.main([]) == 0
    checkout.serves(0.5, release=1)

    kept = machine.RECORDS.read_text()
    machine.RECORDS.write_text("")  # the next model would be compared with nothing
    assert champion.main([]) == 1
    assert f"serves on port {checkout.port}, but no release is recorded: restore" in capsys.readouterr().err
    assert status.main([]) == 1
    machine.RECORDS.write_text(kept)
    assert champion.main([]) == 0


def monkey_timeout(path: Path) -> None:
    """Assert that a server that hangs is unreachable, and that this is an error for the champion stage."""
    default = Remote.ask.__defaults__
    Remote.ask.__defaults__ = (None, 0.5)
    try:
        assert champion.main([]) == 1
    finally:
        Remote.ask.__defaults__ = default


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_server_that_dies_or_hangs_between_two_steps_is_given_up_and_the_release_before_serves(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    checkout.build(0.5)
    assert deploy.main([]) == 0
    checkout.build(0.75, as_of="2013-05-01")
    check, default, before = smoke.check, Remote.ask.__defaults__, LEDGER.last()

    def check_and_lose(where: Any, version: Version, tolerance: float, *, public: bool) -> dict[str, Any]:
        measured = check(where, version, tolerance, public=public)
        if before is not None and version.digest != before["digest"]:
            pid = Remote(machine.FOLDER / f"{version.digest.removeprefix('sha256:')}.sock").pid()
            assert pid is not None
            os.kill(pid, number)
        return measured

    monkeypatch.setattr(smoke, "check", check_and_lose)
    monkeypatch.setattr(Remote.ask, "__defaults__", (None, 5.0))
    capsys.readouterr()
    assert deploy.main([]) == 1
    said = capsys.readouterr().err
    assert "process" in said
    assert said.rstrip().endswith("of release 1 serves")
    monkeypatch.setattr(Remote.ask, "__defaults__", default)
    checkout.serves(0.5, release=1)
    assert json.loads((workspace.ROLLOUT / "rollout.json").read_text())["failed"] in said


@pytest.mark.e2e
@pytest.mark.slow
def test_a_champion_that_dies_in_the_middle_of_a_failed_rollout_is_started_again(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout.build(0.5)
    assert deploy.main([]) == 0
    (path,) = machine.FOLDER.glob("*.sock")
    checkout.build(0.75, off=0.01, as_of="2013-05-01")
    start = local.Local.start

    def start_and_lose(self: local.Local, digest: str) -> None:
        start(self, digest)
        if path.stem not in digest and (pid := Remote(path).pid()) is not None:
            os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(local.Local, "start", start_and_lose)
    capsys.readouterr()
    assert deploy.main([]) == 1
    assert "of release 1 had ended, was started again and serves" in capsys.readouterr().err
    checkout.serves(0.5, release=1)


@pytest.mark.slow
def test_serve_prints_a_request_that_works(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    needed("curl", "apt-get install curl")
    checkout.build(0.5)
    assert deploy.main([]) == 0
    capsys.readouterr()
    assert serve.main([]) == 0
    curl = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert json.loads(subprocess.run([*curl, "-sS"], capture_output=True, check=True).stdout) == {"predictions": [5.6]}


@pytest.mark.slow
@pytest.mark.usefixtures("dead_proxy")
def test_a_proxy_has_no_part_in_what_stays_on_this_machine(checkout: Checkout) -> None:
    checkout.build(0.5)
    assert deploy.main([]) == 0
    assert stop.main([]) == 0
    assert serve.main([]) == 0
    last = LEDGER.last()
    assert last is not None
    url = f"http://127.0.0.1:{checkout.port}/v1/models/demo"
    features = {"x": Field("float32"), "carrier": Field("string"), "hour": Field("int64")}
    found = send(url, pd.DataFrame(INSTANCES[:1]), features, (Output("late", "binary", ("late",)),))
    assert found["late"] == pytest.approx([5.6], abs=1e-5)
