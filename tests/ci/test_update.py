"""A newer version of the template is merged into a fork, whose own files stay as they are."""

from pathlib import Path

import pytest

from scripts import update
from tests.repositories import git

TEMPLATE = {
    "README.md": "template",
    "ci/a.py": "one\n\n\n\n\n\ntwo\n",
    "examples/a/model/data.py": "text = 'an example that becomes the model of the fork'\n" * 5,
    "model/data.py": "arrivals\n",
    "model/gone.py": "only for arrivals\n",
    "pipeline.yaml": "name: arrivals\n",
    "scripts/fork.py": "fork\n",
}


def write(files: dict[str, str], message: str) -> None:
    for path, text in files.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    git("add", "-A")
    git("commit", "-qm", message)


@pytest.fixture
def fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fork on the branch `main`, and on `newer` what has happened upstream since."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "2")
    for number, (key, value) in enumerate((("user.name", "t"), ("user.email", "t@example.org"))):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", key)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    git("init", "-q")
    write(TEMPLATE, "release")
    git("checkout", "-qb", "newer")
    newer = {"model/data.py": "later arrivals\n", "model/gone.py": "more\n", "model/training.py": "new\n"}
    newer |= {"pipeline.yaml": "name: later\n", "README.md": "new", "examples/b/model/data.py": "new\n"}
    newer |= {"examples/a/model/data.py": TEMPLATE["examples/a/model/data.py"] + "more\n", "scripts/fork.py": "new\n"}
    write(newer | {"ci/a.py": "one\n\n\n\n\n\nmended\n", "ci/b.py": "new\n"}, "newer")
    git("checkout", "-q", "main")
    git("rm", "-rq", "examples", "scripts", "model/gone.py")
    own = {"model/data.py": TEMPLATE["examples/a/model/data.py"], "model/own.py": "mine\n"}
    write(own | {"ci/own.py": "mine\n", "pipeline.yaml": "name: shop\n", "README.md": "mine"}, "fork")
    return tmp_path


def content() -> dict[str, str]:
    return {path: Path(path).read_text() for path in git("ls-files").split()}


def test_what_is_the_forks_stays_what_it_took_away_stays_away_and_all_else_is_new(
    fork: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content()
    assert update.main(["--from=newer"]) == 0
    assert "update: newer is merged, not committed; next: " in capsys.readouterr().out
    assert content() == {**before, "ci/a.py": "one\n\n\n\n\n\nmended\n", "ci/b.py": "new\n"}
    assert git("ls-files", "-o") == git("diff", "--name-only") == ""
    git("commit", "-qm", "update")
    assert update.main(["--from=newer"]) == 0
    assert capsys.readouterr().out == "update: nothing to do: this fork has all of newer\n"


def test_a_copy_without_history_names_once_what_it_was_copied_from(fork: Path) -> None:
    release = git("rev-parse", "main~1").strip()
    git("checkout", "-q", "--orphan", "copy")
    git("commit", "-qm", "a copy")
    before = content()
    assert update.main(["--from=newer"]) == 2
    git("merge", "-q", "--allow-unrelated-histories", "--strategy=ours", "-m", "origin", release)
    assert content() == before
    assert update.main(["--from=newer"]) == 0
    assert content() == {**before, "ci/a.py": "one\n\n\n\n\n\nmended\n", "ci/b.py": "new\n"}


def test_what_both_changed_is_named_and_git_can_undo_it(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write({"ci/a.py": "one\n\n\n\n\n\nmine\n"}, "own mend")
    before = content()
    assert update.main(["--from=newer"]) == 1
    assert capsys.readouterr().err.startswith("failed: both changed ci/a.py: mend and `git add` them, then")
    assert Path("model/data.py").read_text() == before["model/data.py"]
    git("merge", "--abort")
    assert content() == before


def test_what_cannot_be_merged_is_told_and_changes_nothing(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content()
    git("checkout", "-q", "--orphan", "other")
    git("commit", "-qm", "no history")
    git("checkout", "-q", "main")
    for revision, said in (
        ("nowhere", "--from nowhere: there is no such commit here: `git remote add upstream URL` and `git fetch up"),
        ("--output=x", "--from --output=x: there is no such commit here: "),
        ("other", "other and this repository have no common commit: `git fetch --unshallow` if it is"),
    ):
        assert update.main([f"--from={revision}"]) == 2
        assert said in capsys.readouterr().err
    Path("notes").write_text("mine")
    assert update.main(["--from=newer"]) == 2
    assert "1 files are not as committed, such as notes: commit or stash them first" in capsys.readouterr().err
    Path("notes").unlink()
    assert content() == before
    assert git("status", "--porcelain") == ""
