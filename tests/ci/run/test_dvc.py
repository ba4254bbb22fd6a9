"""What a killed DVC leaves, what it reports, and what of its cache may go."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ci.command import run
from ci.errors import InputError
from ci.run import dvc
from scripts import configure, prune, report
from tests import repositories
from tests.builds import REPOSITORY
from tests.repositories import git, versions


@pytest.mark.parametrize("left", ["", "stages:\n  prepare: {cmd: [", "\x00", "[]", "7", "[" * 3000, "at: 2013-99-99"])
def test_a_lock_file_that_a_kill_left_unreadable_is_removed(tmp_path, left, capsys):
    path = tmp_path / "dvc.lock"
    path.write_text(left)
    dvc.clear_stale(path)
    assert not path.exists()
    assert "removed" in capsys.readouterr().out


def test_a_readable_lock_file_is_left_alone(tmp_path):
    path = tmp_path / "dvc.lock"
    path.write_text("schema: '2.0'\nstages: {}\n")
    dvc.clear_stale(path)
    dvc.clear_stale(tmp_path / "absent")
    assert path.exists()


@pytest.mark.parametrize("holder", [2**22 + 1, os.getpid()], ids=["ended", "another program"])
def test_locks_of_the_dead_and_of_other_programs_are_removed(tmp_path, holder):
    path = tmp_path / "rwlock"
    path.write_text(json.dumps({"build/data": {"write": {"pid": holder, "cmd": "dvc"}, "read": []}}))
    dvc.release(path)
    assert not path.exists()


def test_a_command_that_outlives_its_run_is_waited_for(tmp_path, capsys):
    path = tmp_path / "rwlock"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2)", "dvc"]) as orphan:
        path.write_text(json.dumps({"build/data": {"read": [{"pid": orphan.pid, "cmd": "dvc"}]}}))
        while b"dvc" not in Path(f"/proc/{orphan.pid}/cmdline").read_bytes():
            time.sleep(0.01)  # it is still a copy of this process
        dvc.release(path)
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
    assert list(dvc._changes(found)) == words


def test_dvc_tells_nobody_that_it_is_used():
    command = [sys.executable, "-m", "dvc", "config", "core.analytics"]
    assert subprocess.run(command, capture_output=True, check=True, cwd=REPOSITORY).stdout.strip() == b"false"


def test_a_lock_file_that_git_could_not_merge_is_not_removed(tmp_path):
    path = tmp_path / "dvc.lock"
    path.write_text("schema: '2.0'\nstages:\n<<<<<<< HEAD\n  a: {}\n=======\n  b: {}\n>>>>>>> other\n")
    with pytest.raises(InputError, match=r"dvc\.lock: Git could not merge it: take one version"):
        dvc.clear_stale(path)
    assert path.exists()


@pytest.mark.parametrize(
    "left",
    [
        "[]",
        "null",
        "7",
        "[" * 3000,
        '{"build/data": null}',
        '{"build/data": []}',
        '{"build/data": {"write": 7, "read": {}}}',
        '{"build/data": {"write": {"cmd": "dvc"}, "read": [null, 3, {"pid": "x"}, {"pid": [1]}, {"pid": -1}]}}',
    ],
)
def test_a_lock_of_any_other_form_holds_nothing_and_is_removed(tmp_path, left):
    path = tmp_path / "rwlock"
    path.write_text(left)
    dvc.release(path)
    assert not path.exists()


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A repository with two versions of its data, configured."""
    folder = tmp_path_factory.mktemp("tracked") / "repository"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("PIPELINE_SET", raising=False)
        repositories.two_versions()
        assert configure.main(["--file", str(REPOSITORY / "tests/pipeline.yaml")]) == 0
    return folder


@pytest.fixture
def repository(tracked, tmp_path, monkeypatch):
    """A copy of it as the current folder."""
    folder = tmp_path / "repository"
    shutil.copytree(tracked, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    return folder


def owned_by_another(monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")


def no_git(monkeypatch):
    monkeypatch.setenv("PATH", str(Path("build").absolute()))


def no_right_to_run_it(monkeypatch):
    program = Path("build/bin/git")
    program.parent.mkdir()
    program.write_text("")
    monkeypatch.setenv("PATH", str(program.parent.absolute()))


def lost_commit(_):
    first = git("rev-parse", "HEAD~1").strip()
    (Path(".git/objects") / first[:2] / first[2:]).unlink()


def lost_content(_):
    """As in a clone with `--filter=blob:none`, on which DVC waits for ever."""
    for revision in ("HEAD", "HEAD~1"):
        file = git("rev-parse", f"{revision}:data.csv.dvc").strip()
        (Path(".git/objects") / file[:2] / file[2:]).unlink()


def broken_reference(_):
    Path(".git/refs/heads/other").write_text("")


def broken_head(_):
    Path(".git/HEAD").write_text("")


def lost_worktree(_):
    shutil.rmtree(".git")
    Path(".git").write_text("gitdir: /nonexistent/.git/worktrees/repository\n")


def shallow(_):
    Path(".git/shallow").write_text(git("rev-parse", "HEAD"))


def no_commit_at_head(_):
    git("checkout", "-q", "--orphan", "new")


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (owned_by_another, "git failed: fatal: detected dubious ownership in repository"),
        (no_git, "git failed: git cannot be run: No such file or directory; is it installed and on the PATH?"),
        (no_right_to_run_it, "git failed: git cannot be run: Permission denied"),
        (lost_commit, "git failed: "),
        (lost_content, "the clone lacks content of its commits, such as "),
        (broken_reference, "git failed: "),
        (broken_head, "git failed: fatal: not a git repository"),
        (lost_worktree, "git failed: fatal: not a git repository: /nonexistent/.git/worktrees/repository"),
        (shallow, "the clone is shallow and lacks older commits: `git fetch --unshallow` fetches them"),
        (no_commit_at_head, "HEAD names no commit yet, though there are commits: check one out"),
    ],
)
@pytest.mark.parametrize("arguments", [[], ["--tips"]], ids=["all", "tips"])
def test_prune_keeps_every_version_where_git_does_not_name_each_commit(
    repository, monkeypatch, capfd, trouble, words, arguments
):
    trouble(monkeypatch)
    assert prune.main(arguments) == 0
    assert f"prune: DVC's cache: not touched: {words}" in capfd.readouterr().out
    assert versions() == 2


@pytest.mark.parametrize("where", ["stash", "worktree"])
def test_prune_keeps_versions_that_a_commit_beside_all_branches_names(repository, capfd, where):
    """DVC counts the commits of branches and tags alone."""
    if where == "worktree":
        git("worktree", "add", "-q", "--detach", "../other")
        os.chdir("../other")
    repositories.track("three")
    git("stash") if where == "stash" else git("commit", "-qam", "three")
    if where == "worktree":
        shutil.copytree(".dvc/cache", repository / ".dvc/cache", dirs_exist_ok=True)
        os.chdir(repository)
    assert versions() == 3
    assert prune.main([]) == 0
    said = capfd.readouterr().out
    assert "not touched: commit " in said
    assert " names data and is on no branch, as a stash is, so DVC would not count it" in said
    assert versions() == 3


def test_a_stash_of_other_things_keeps_nothing(repository, capfd):
    Path(".gitignore").write_text(Path(".gitignore").read_text() + "/more\n")
    git("stash")
    assert prune.main([]) == 0
    assert "freed" in capfd.readouterr().out


@pytest.mark.parametrize("git_dir", ["/nonexistent", "../elsewhere"])
def test_prune_keeps_every_version_in_a_hook_of_another_repository(repository, monkeypatch, capfd, git_dir):
    git("init", "-q", "--bare", "../elsewhere")
    monkeypatch.setenv("GIT_DIR", git_dir)
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent")
    assert prune.main([]) == 0
    assert "freed" in capfd.readouterr().out
    assert versions() == 2


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (owned_by_another, "git failed: fatal: detected dubious ownership in repository"),
        (no_git, "git failed: git cannot be run"),
        (broken_head, "git failed: fatal: not a git repository"),
        (no_commit_at_head, "HEAD names no commit yet"),
        (lambda _: shutil.rmtree(".git"), "not in a Git repository"),
    ],
)
def test_the_report_says_why_it_names_no_commit(repository, monkeypatch, trouble, words):
    trouble(monkeypatch)
    assert report.main([]) == 0
    assert f"<dt>Commit</dt><dd>{words}" in Path("build/report/index.html").read_text()


def test_in_a_hook_the_commit_is_that_of_the_folder(repository, monkeypatch):
    commit = git("rev-parse", "HEAD").strip()
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    assert report.main([]) == 0
    assert f"<dt>Commit</dt><dd><code>{commit}</code>" in Path("build/report/index.html").read_text()


def test_a_downloaded_archive_is_told_how_it_becomes_a_repository(repository, capfd):
    shutil.rmtree(".git")
    shutil.rmtree(".dvc/cache")
    assert run(dvc.make_ready) == 2
    assert capfd.readouterr().err == (
        "bad input: this folder is not in a Git repository (a downloaded archive is none), and DVC needs one: "
        "run `git init`\n"
    )
    assert prune.main([]) == 0
    assert "not touched: this folder is not in a Git repository" in capfd.readouterr().out
    git("init", "-q")
    assert run(dvc.make_ready) == 0
    assert prune.main([]) == 0
    assert "DVC's cache: 0.0 MB freed" in capfd.readouterr().out
