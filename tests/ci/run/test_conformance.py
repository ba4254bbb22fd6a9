"""`make conformance` itself: what is not there is never told as passed, and the cases are asked of the real server."""

import os
import subprocess
import sys

import pytest

from ci.run import state
from tests.conformance import __main__ as conformance
from tests.pods import REPOSITORY


def docker(machine, *cases: str) -> None:
    """Let Docker answer more commands, each a case of the shell."""
    program = machine.programs / "docker"
    program.write_text(program.read_text().replace('case "$*" in', 'case "$*" in\n' + "\n".join(cases)))


def test_what_is_not_there_is_not_run_and_never_passed(machine, capsys):
    (machine.programs / "kind").unlink()
    docker(machine, '"pull "*) echo "toomanyrequests: try later" >&2; exit 1 ;;')
    assert conformance.main() == 0
    told = capsys.readouterr().out
    assert (
        "contract of TensorFlow Serving: not run: docker.io/tensorflow/serving:2.20.0 cannot be pulled: toomany" in told
    )
    assert told.count(": not run: Kind not on the PATH") == 2
    assert ": passed" not in told
    assert told.endswith("conformance: 0 passed, 0 failed, 3 not run\n")


def test_only_what_a_build_on_kind_needs_is_pulled(machine, capsys):
    docker(machine, '"pull "*serving*) echo "try later" >&2; exit 1 ;;', '"pull "*) ;;')
    assert conformance.main() == 0
    assert capsys.readouterr().out.count(": not run: docker.io/tensorflow/serving:2.20.0 cannot be pulled") == 3
    pulled = {call.split("/")[-1].split(":")[0] for call in machine.calls() if call.startswith("docker pull ")}
    assert pulled == {"tensorflow", "python", "kubectl", "nginx", "serving"}


def test_a_build_meets_nothing_that_an_earlier_one_left_and_leaves_nothing_to_a_later_one(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "of the user"))
    folder = tmp_path / "conformance"
    monkeypatch.setenv("XDG_CACHE_HOME", conformance.Build(folder / "repository").environment["XDG_CACHE_HOME"])
    assert folder in state.volume().parents


def test_a_real_server_that_does_not_start_is_a_failure(machine, capsys, monkeypatch):
    (machine.programs / "kind").unlink()
    docker(machine, '"pull "*) ;;', '"run "*) echo "exec format error" >&2; exit 125 ;;', '"rm "*) ;;')
    monkeypatch.setattr("tests.saved_models.save_kinds", lambda folder: folder)
    assert conformance.main() == 1
    assert "failed: docker does not run it: exec format error" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("summary", "good"),
    [
        ("48 passed, 3 deselected in 4.11s", True),
        ("3 deselected in 0.11s", False),
        ("40 passed, 8 skipped in 4.11s", False),
        ("47 passed, 1 failed in 4.11s", False),
    ],
)
def test_cases_that_were_left_out_have_not_passed(summary, good):
    assert conformance.all_passed(summary) is good


def test_a_build_without_the_job_has_not_tuned_by_one():
    trials = "  trial 0000: units 8 (Sobol)\n  trial 0000 reached 0.5 · 1 of 1\n"
    assert conformance.tuned(f"{trials}tune_job: 2 pods, 31 s\n") == "2 pods, 31 s, 1 trials"
    for said in (trials, "tune_job: 2 pods, 31 s\n", f"{trials}failed: Job tuning-1 failed\n"):
        with pytest.raises(conformance.FailedError):
            conformance.tuned(said)


@pytest.mark.slow
def test_a_server_that_is_given_is_the_one_that_is_asked():
    environment = {**os.environ, "CONFORMANCE_URL": "http://127.0.0.1:1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *conformance.CONTRACT]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout
    assert "Connection refused" in done.stdout
    assert "deselected" in done.stdout
