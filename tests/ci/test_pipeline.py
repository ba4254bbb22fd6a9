"""The order of stages, and what a killed DVC leaves."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ci import pipeline
from ci.stages import CACHED, NAMES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("stages", "groups"),
    [
        (NAMES, [["configure"], ["champion"], list(CACHED), *([s] for s in NAMES[7:])]),
        (["report", "deploy"], [["deploy"], ["report"]]),
        (["train", "tune"], [["tune", "train"]]),
        (["monitor", "prepare"], [["prepare"], ["monitor"]]),
    ],
)
def test_stages_run_in_the_pipelines_order_and_the_cached_ones_as_one_graph(stages, groups):
    assert list(pipeline._groups(stages)) == groups


@pytest.mark.parametrize("left", ["", "stages:\n  prepare: {cmd: [", "\x00"])
def test_a_lock_file_that_a_kill_left_unreadable_is_removed(tmp_path, left, capsys):
    path = tmp_path / "dvc.lock"
    path.write_text(left)
    pipeline.clear_stale(path)
    assert not path.exists()
    assert "removed" in capsys.readouterr().out


def test_a_readable_lock_file_is_left_alone(tmp_path):
    path = tmp_path / "dvc.lock"
    path.write_text("schema: '2.0'\nstages: {}\n")
    pipeline.clear_stale(path)
    pipeline.clear_stale(tmp_path / "absent")
    assert path.exists()


@pytest.mark.parametrize("holder", [2**22 + 1, os.getpid()], ids=["ended", "another program"])
def test_locks_of_the_dead_and_of_other_programs_are_removed(tmp_path, holder):
    path = tmp_path / "rwlock"
    path.write_text(json.dumps({"build/data": {"write": {"pid": holder, "cmd": "dvc"}, "read": []}}))
    pipeline.release(path)
    assert not path.exists()


def test_a_command_that_outlives_its_run_is_waited_for(tmp_path, capsys):
    path = tmp_path / "rwlock"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2)", "dvc"]) as orphan:
        path.write_text(json.dumps({"build/data": {"read": [{"pid": orphan.pid, "cmd": "dvc"}]}}))
        while b"dvc" not in Path(f"/proc/{orphan.pid}/cmdline").read_bytes():
            time.sleep(0.01)  # it is still a copy of this process
        pipeline.release(path)
        assert f"waiting for process {orphan.pid}" in capsys.readouterr().out
    assert not path.exists()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([{"changed deps": {"model/network.py": "modified"}}], ["model/network.py is modified"]),
        (
            [{"changed deps": {"build/settings.yaml": {"tuning.max_trials": "modified"}}}],
            ["build/settings.yaml: tuning.max_trials changed"],
        ),
        ([{"changed outs": {"build/data": "deleted"}}], ["build/data is deleted"]),
        (["changed command"], ["changed command"]),
    ],
)
def test_what_dvc_reports_is_said_in_words(found, words):
    assert list(pipeline._changes(found)) == words


def test_dvc_tells_nobody_that_it_is_used():
    command = [sys.executable, "-m", "dvc", "config", "core.analytics"]
    assert subprocess.run(command, capture_output=True, check=True, cwd=ROOT).stdout.strip() == b"false"


def test_an_unknown_stage_is_named(capsys):
    from scripts.pipeline import main

    assert main(["tunes"]) == 2
    assert "there is no stage tunes; the stages are configure champion" in capsys.readouterr().err


CONFIGURED = ["settings.yaml", "source.json", "overrides.json", "card.md"]


@pytest.fixture
def graph(tmp_path, monkeypatch):
    """A folder with the graph of stages and nothing else, as a clean checkout has no build/."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
    return tmp_path


@pytest.mark.parametrize("stage", NAMES[1:-1])
def test_a_single_stage_in_a_clean_checkout_says_what_to_run_first(graph, stage):
    command = [sys.executable, "-m", "scripts.pipeline", stage]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    first = f"bad input: {stage}: build/settings.yaml is missing: run `python -m scripts.configure` first"
    assert done.stderr.splitlines() == [first]
    assert list(graph.iterdir()) == [graph / "dvc.yaml"]


@pytest.mark.parametrize(
    ("stage", "there", "missing"),
    [
        ("prepare", [], "build/settings.yaml is missing: run `python -m scripts.configure` first"),
        ("prepare", ["settings.yaml"], "build/source.json is missing: run `python -m scripts.configure` first"),
        ("tune", ["settings.yaml", "source.json", "overrides.json"], "build/card.md is missing: run `python -m scri"),
        ("test", CONFIGURED, "build/champion.json is missing: run `python -m scripts.champion`"),
        ("package", CONFIGURED, "build/champion.json is missing: run `python -m scripts.champion`"),
    ],
)
def test_what_no_cached_stage_writes_is_asked_for_before_any_is_run(graph, capsys, stage, there, missing):
    from scripts.pipeline import main

    for name in there:
        Path("build").mkdir(exist_ok=True)
        (Path("build") / name).write_text("{}")
    assert main([stage]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"bad input: {stage}: {missing}")
    assert said.out == ""


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", ""),
        ("raise SystemExit(3)", "failed: ended with exit code 3 and said nothing"),
        ("print('no \\u03c3 here'); raise SystemExit(3)", ""),
        ("print('failed: \\u03c3'); raise SystemExit(1)", "failed: \u03c3"),
    ],
)
def test_a_stage_that_says_nothing_is_not_said_to_have_said_something(code, message):
    heard = []
    found = pipeline._run([sys.executable, "-c", code], heard.append)[1]
    assert found == message
    assert heard == (["no \u03c3 here"] if "no" in code else [])


def test_what_dvc_says_of_itself_is_not_held_back():
    said = "ERROR: failed to reproduce 'prepare': [Errno 2] No such file or directory: 'build/source.json'"
    assert not pipeline._NOISE.match(said)
    assert pipeline._NOISE.match("ERROR: failed to reproduce 'prepare': failed to run: python -m x, exited with 2")
