"""The order of stages, what is said where none was run, and what is said of one that fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ci import workspace
from ci.results.build import CACHED as CACHED_BUILD
from ci.results.build import RUNS
from ci.run import order as pipeline
from ci.stages import CACHED, NAMES, named
from tests.repositories import git

ROOT = Path(__file__).parents[3]


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


def test_with_stages_to_force_each_cached_one_runs_by_itself():
    stages = ["configure", "prepare", "tune", "report"]
    assert list(pipeline._groups(stages, ("tune",))) == [[stage] for stage in stages]


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
        ("import os; os.kill(os.getpid(), 9)", "failed: was ended by SIGKILL and said nothing"),
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
    assert not pipeline._NOISE.match("ERROR: failed to reproduce 'train': failed to run: python -m x, exited with -9")


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A repository of two commits, with the settings of a build."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    for text in ("one", "two"):
        (tmp_path / "notes of mine.txt").write_text(text)
        git("add", "notes of mine.txt")
        git("commit", "-qm", text)
    workspace.write_text(workspace.SETTINGS, "seed: 1\n")
    return tmp_path


def test_what_changed_though_no_stage_was_run_is_named(built, capsys):
    (built / "notes of mine.txt").write_text("three")
    pipeline._finish({}, changed=False)
    assert "none depends on notes of mine.txt, which changed" in capsys.readouterr().out
    workspace.write_text(workspace.SETTINGS, "seed: 2\n")
    pipeline._finish({}, changed=False)
    assert "none depends on notes of mine.txt, seed, which changed" in capsys.readouterr().out


def test_a_result_that_is_taken_from_the_cache_depends_on_what_changed(built, capfd):
    (built / ".dvc").mkdir()
    Path("dvc.yaml").write_text(
        "stages:\n  prepare:\n    cmd: cp 'notes of mine.txt' out\n    deps: ['notes of mine.txt']\n    outs: [out]\n"
    )
    for path in (named("configure").result, *named("configure").others):
        workspace.write_text(path, "seed: 1\n")
    for how in ("run", "taken from the cache of runs"):
        pipeline._cached(["prepare"])
        assert RUNS.read()["prepare"].startswith(f"{how}: ")
        for path in (CACHED_BUILD.path, Path("out"), Path("dvc.lock")):
            path.unlink()
    assert "none depends on" not in capfd.readouterr().out


@pytest.mark.parametrize(
    "left",
    [
        '{"commit": "--output=precious.txt", "settings": {}}',
        '{"commit": "HEAD --output=precious.txt", "settings": {}}',
        '{"commit": "--output=precious.txt"}',
        '{"commit": ["--output=precious.txt"], "settings": {}}',
        '{"commit": null, "settings": [1]}',
        '"--output=precious.txt"',
        "[]",
        "null",
        "{",
        "",
        "\x00",
    ],
)
def test_a_damaged_memory_of_the_last_build_changes_nothing_and_is_written_anew(built, capsys, left):
    precious = built / "precious.txt"
    precious.write_text("precious")
    CACHED_BUILD.path.parent.mkdir(parents=True)
    CACHED_BUILD.path.write_text(left)
    pipeline._finish({}, changed=False)
    assert precious.read_text() == "precious"
    assert "none depends on notes of mine.txt, which changed" in capsys.readouterr().out, "since the commit before"
    assert CACHED_BUILD.read().settings == {"seed": 1}
