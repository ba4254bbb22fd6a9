"""Retention of the DVC remote: with the real DVC, a remote that is a folder, and builds months apart."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.run.remote import Run, needed
from scripts import prune
from tests.repositories import git

DAY = 86400.0
GRAPH = """\
stages:
  prepare:
    cmd: mkdir -p out && cp settings.txt out/x && cp fixed.txt out/y
    deps: [settings.txt, fixed.txt]
    outs: [out]
  train: {cmd: cat out/x code.txt > model.txt, deps: [out, code.txt], outs: [model.txt]}
"""


def dvc(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments, "-q"], check=True, timeout=120)


def build(settings: str, code: str, age: float) -> None:
    """Run the stages and push, as a pod that starts empty does; what that adds to the remote is so many days old."""
    shutil.rmtree(".dvc/cache/runs", ignore_errors=True)
    Path("settings.txt").write_text(settings)
    Path("code.txt").write_text(code)
    before = files()
    dvc("repro")
    dvc("push", "--run-cache")
    for path in files() - before:
        os.utime(path, (time.time() - age * DAY,) * 2)


def files() -> set[Path]:
    return {path for path in Path("../remote").rglob("*") if path.is_file()}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a tracked source of 300 days ago, and builds of 200, 100 and 5 days ago."""
    (tmp_path / "fork").mkdir()
    monkeypatch.chdir(tmp_path / "fork")
    git("init", "-q")
    dvc("init")
    dvc("remote", "add", "-d", "shared", str(tmp_path / "remote"))
    Path("dvc.yaml").write_text(GRAPH)
    Path("fixed.txt").write_text("fixed")
    Path("source.csv").write_text("rows")
    dvc("add", "source.csv")
    git("add", "dvc.yaml", "source.csv.dvc", ".dvc/config")
    git("commit", "-qm", "a source")
    build("one", "1", 200)
    build("two", "1", 100)  # the newest build is made from what this one prepared
    build("two", "2", 5)
    for path in files():
        if path.stat().st_mtime > time.time() - DAY:
            os.utime(path, (time.time() - 300 * DAY,) * 2)
    return tmp_path


@pytest.mark.slow
def test_what_is_old_goes_and_the_rest_is_restored_without_computing(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = repository / "remote/history/builds.jsonl"  # others may keep things on that volume
    notes.parent.mkdir()
    notes.write_text("{}")
    before = files()
    assert prune.main(["--remote", "60", "--dry-run"]) == 0
    assert "to free" in capsys.readouterr().out
    assert files() == before
    assert prune.main(["--remote", "60"]) == 0
    assert "prune: DVC remote: 3 of 5 runs" in capsys.readouterr().out
    assert notes in {path.resolve() for path in files()}
    assert prune.main(["--remote", "60"]) == 0
    assert "prune: DVC remote: 0 of 2 runs and 0 of" in capsys.readouterr().out
    for path in ("dvc.lock", "out", "model.txt", "source.csv", ".dvc/cache", ".dvc/tmp"):
        subprocess.run(["rm", "-rf", path], check=True)
    dvc("pull", "source.csv")
    said = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--pull"], check=True, capture_output=True, text=True, timeout=120
    ).stdout
    assert said.count("is cached - skipping run") == 2
    assert (Path("model.txt").read_text(), Path("source.csv").read_text()) == ("two2", "rows")


@pytest.mark.parametrize(
    ("url", "why"),
    [(None, "there is no DVC remote"), ("s3://bucket/x", "is no folder"), ("/nowhere/x", "is not there")],
)
def test_a_remote_that_is_no_folder_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str | None, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    Path(".dvc").mkdir()
    named = f"    remote = x\n['remote \"x\"']\n    url = {url}\n" if url else ""
    Path(".dvc/config").write_text(f"[core]\n    analytics = false\n{named}")
    assert prune.main(["--remote", "60"]) == 0
    said = capsys.readouterr().out
    assert "not touched: " in said
    assert why in said


@pytest.mark.parametrize("days", ["0", "-1", "nan", "1e9", "x"])
def test_an_age_is_days(days: str) -> None:
    with pytest.raises(SystemExit) as ended:
        prune.main(["--remote", days])
    assert ended.value.code == 2


RUNS = st.dictionaries(
    st.integers(0, 9).map(lambda n: Path(str(n))),
    st.builds(
        Run,
        st.sampled_from("ab"),
        st.floats(0, 100),
        st.frozensets(st.sampled_from("vwxyz"), max_size=2),
        st.frozensets(st.sampled_from("vwxyz"), max_size=2),
    ),
    max_size=8,
)


@given(RUNS, st.floats(0, 100))
def test_whatever_stays_can_be_built_on(runs: dict[Path, Run], limit: float) -> None:
    kept = needed(runs, limit)
    assert {path for path, run in runs.items() if run.time >= limit} <= kept
    assert {run.command for run in runs.values()} == {runs[path].command for path in kept}
    wanted = {digest for path in kept for digest in runs[path].reads}
    assert not [path for path in runs.keys() - kept if runs[path].writes & wanted]
