"""The hand-over between pods: what is packed arrives byte for byte, and what is not as it should be touches nothing."""

import json
import shutil
from pathlib import Path

import pytest

from ci import workspace
from ci.stages import HANDED_OVER, HANDED_OVER_IF_THERE
from scripts import configure, handoff
from tests.pods import REPOSITORY
from tests.repositories import git

LINEAGE = "schema: '2.0'\nstages:\n  prepare:\n    cmd: python -m scripts.prepare\n"


@pytest.fixture
def packed(tmp_path, monkeypatch, capfd) -> Path:
    """A repository after Plan, with its hand-over; the current folder is an empty clone of it, as a pod has it."""
    monkeypatch.delenv("PIPELINE_SET", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    plan = tmp_path / "plan"
    plan.mkdir()
    monkeypatch.chdir(plan)
    git("init", "-q")
    (plan / ".gitignore").write_text("/build\n")
    shutil.copy(REPOSITORY / "tests/pipeline.yaml", plan)
    (plan / "model").mkdir()
    (plan / "model/card.md").write_text("## Intended use\r\nNaïve: ä\n", newline="")
    git("add", "-A")
    git("commit", "-qm", "one")
    assert configure.main(["--set", "seed=7"]) == 0
    workspace.write_text(workspace.CHAMPION, "null\n")
    workspace.write_text(workspace.PRIOR, "null\n")
    assert handoff.main(["pack"]) == 0
    git("clone", "-q", str(plan), str(tmp_path / "pod"))
    monkeypatch.chdir(tmp_path / "pod")
    Path("build").mkdir()
    shutil.copy(plan / workspace.HANDOFF, workspace.HANDOFF)
    capfd.readouterr()
    return plan


def change(**values) -> None:
    """Change keys of the hand-over in the current folder."""
    found = json.loads(workspace.HANDOFF.read_text())
    workspace.HANDOFF.write_text(json.dumps({**found, **values}))


def files() -> dict[str, str]:
    return dict(json.loads(workspace.HANDOFF.read_text())["files"])


def refused(capfd) -> str:
    """Restore; return what is said, and make sure that nothing but the hand-over is there."""
    assert handoff.main(["restore"]) == 2
    assert [path.name for path in Path("build").iterdir()] == ["handoff.json"]
    return capfd.readouterr().err


def test_what_was_packed_arrives_byte_for_byte(packed):
    assert handoff.main(["restore"]) == 0
    for path in HANDED_OVER:
        assert path.read_bytes() == (packed / path).read_bytes(), path
    assert not any(path.exists() for path in HANDED_OVER_IF_THERE)


def test_what_a_later_pod_adds_travels_on(packed, tmp_path, monkeypatch):
    assert handoff.main(["restore"]) == 0
    workspace.LOCK.write_text(LINEAGE)
    workspace.write_json(workspace.RUNS, {"prepare": "run: it has not run here before"})
    assert handoff.main(["pack"]) == 0
    git("clone", "-q", str(packed), str(tmp_path / "release"))
    text = workspace.HANDOFF.read_bytes()
    monkeypatch.chdir(tmp_path / "release")
    Path("elsewhere.json").write_bytes(text)
    assert handoff.main(["restore", "elsewhere.json"]) == 0
    assert workspace.LOCK.read_text() == LINEAGE
    assert workspace.RUNS.exists()


def test_the_same_build_packs_the_same_bytes(packed, monkeypatch):
    monkeypatch.chdir(packed)
    before = workspace.HANDOFF.read_bytes()
    assert handoff.main(["pack"]) == 0
    assert workspace.HANDOFF.read_bytes() == before


def test_the_packed_commit_is_checked_out_though_the_branch_has_moved_on(packed, capfd):
    first = git("rev-parse", "HEAD").strip()
    (Path.cwd() / "pipeline.yaml").write_text("another: 1\n")
    git("commit", "-qam", "two")
    assert handoff.main(["restore"]) == 0
    assert git("rev-parse", "HEAD").strip() == first
    assert first[:12] in capfd.readouterr().out
    assert workspace.SETTINGS.exists()


def test_a_hand_over_of_another_form_is_read_by_the_commit_that_wrote_it(packed, capfd):
    """The branch's newest code may know another form; what counts is that the packed commit's own code is asked."""
    git("commit", "-q", "--allow-empty", "-m", "two")
    change(files="another form")
    assert handoff.main(["restore"]) == 2  # said by the code of commit one, after the checkout
    assert git("log", "-1", "--format=%s").strip() == "one"
    assert "files" in capfd.readouterr().err


def test_uncommitted_changes_are_named_because_they_stay_behind(packed, monkeypatch, capfd):
    monkeypatch.chdir(packed)
    Path("pipeline.yaml").write_text("# changed\n")
    assert handoff.main(["pack"]) == 0
    assert "not committed stay behind: pipeline.yaml" in capfd.readouterr().out


@pytest.mark.parametrize("missing", HANDED_OVER, ids=lambda path: path.name)
def test_a_pod_that_has_not_run_its_stages_packs_nothing(packed, monkeypatch, capfd, missing):
    monkeypatch.chdir(packed)
    workspace.HANDOFF.unlink()
    missing.unlink()
    assert handoff.main(["pack"]) == 2
    said = capfd.readouterr().err
    assert f"{missing} is missing: run `python -m scripts." in said
    assert not workspace.HANDOFF.exists()


def test_a_file_that_its_reader_would_refuse_is_not_packed(packed, monkeypatch, capfd):
    monkeypatch.chdir(packed)
    workspace.LOCK.write_text("[]\n")
    assert handoff.main(["pack"]) == 2
    assert "dvc.lock: not the lock file of DVC" in capfd.readouterr().err


def test_without_a_commit_there_is_nothing_to_work_on(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert handoff.main(["pack"]) == 2
    assert "need a commit to work on: not in a Git repository" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("build/champion.json", "[]", "build/handoff.json: build/champion.json: "),
        ("build/champion.json", '{"digest": "sha256:1"}', "digest: String should match pattern"),
        ("build/prior.json", '{"digest": "sha256:1"}', "build/handoff.json: build/prior.json: "),
        ("build/settings.yaml", "seed: x\n", "build/handoff.json: build/settings.yaml:1: "),
        ("build/source.json", "{", "build/handoff.json: build/source.json:1: not JSON"),
        ("build/overrides.json", "{}", "build/handoff.json: build/overrides.json: "),
        ("build/agent.json", "3", "build/handoff.json: build/agent.json: "),
        ("dvc.lock", "<<<<<<< ours\n", "build/handoff.json: dvc.lock: not the lock file of DVC"),
        ("../outside", "x", "files.../outside: no such file is handed over; those that are: build/settings.yaml, "),
        ("/etc/passwd", "x", "files./etc/passwd: no such file is handed over"),
        ("build/../build/source.json", "null", "no such file is handed over"),
    ],
)
def test_a_text_that_is_not_as_its_stage_writes_it_leaves_every_file_alone(packed, capfd, name, text, said):
    change(files={**files(), name: text})
    assert said in refused(capfd)


@pytest.mark.parametrize("path", HANDED_OVER, ids=lambda path: path.name)
def test_a_text_that_is_missing_leaves_every_file_alone(packed, capfd, path):
    change(files={name: text for name, text in files().items() if name != str(path)})
    assert f"files.{path} is missing" in refused(capfd)


@pytest.mark.parametrize(
    ("commit", "said"),
    [
        ("HEAD", "commit: 'HEAD' is not the digest of a commit in full"),
        ("--force", "'--force' is not the digest"),
        (7, "commit: expected the digest of a commit"),
        ("a" * 40, "commit aaaaaaaaaaaa cannot be checked out: git: "),
    ],
)
def test_a_commit_that_is_none_or_not_in_this_clone_leaves_every_file_alone(packed, capfd, commit, said):
    change(commit=commit)
    assert said in refused(capfd)


def test_changes_in_the_way_of_the_commit_are_not_thrown_away(packed, capfd):
    Path("pipeline.yaml").write_text("two: 2\n")
    git("commit", "-qam", "two")
    Path("pipeline.yaml").write_text("mine: 3\n")
    assert "cannot be checked out: git: error: Your local changes" in refused(capfd)
    assert Path("pipeline.yaml").read_text() == "mine: 3\n"


def test_without_a_hand_over_its_command_is_named(packed, capfd):
    workspace.HANDOFF.unlink()
    assert handoff.main(["restore"]) == 2
    assert "build/handoff.json is missing: run `python -m scripts.handoff pack` first" in capfd.readouterr().err
