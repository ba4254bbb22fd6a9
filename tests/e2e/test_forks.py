"""Forks made from a fresh clone as README.md says: green without a further edit, and merged with what comes later.

`make test-forks` prints the minutes that each needed until it was green.
"""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.forks import PATIENCE
from tests.pods import REPOSITORY

pytestmark = pytest.mark.forks

FORKS = ("images", "groups", "text")
TESTED = "text"
"""The fork whose own tests are run."""
SMALL = "tuning.max_trials=2 tuning.epochs=2 gates.resamples=200"
TASK = REPOSITORY / "tests/e2e/fork"
AUTHOR = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")
RELEASE_BEFORE = 30
"""Commits back, where no tag names the release before."""


class Clone:
    """A clone of this repository's commit, and what a user does in it."""

    def __init__(self, folder: Path, port: int):
        self.folder = folder
        self.port = port
        self.run("git", "clone", "-q", REPOSITORY, folder, inside=folder.parent)
        (folder / ".venv").symlink_to((REPOSITORY / ".venv").resolve())
        (folder / ".git/info/exclude").write_text("/.venv\n")
        self.installed()

    def installed(self) -> None:
        """Let what is installed count as up to date, as `make setup` would bring the same again."""
        for name in ("requirements.txt", "requirements-dev.txt", "model/requirements.txt"):
            if (self.folder / name).exists():
                os.utime(self.folder / name, (0, 0))

    def run(self, *command: object, inside: Path | None = None, limit: float = PATIENCE) -> str:
        """Run a command, which must end well, and return what it says."""
        not_ours = ("PIPELINE_SET", "PYTHONPATH", "EXAMPLE", "DRY_RUN", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
        kept = {name: value for name, value in os.environ.items() if name not in not_ours}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        cache = {"DVC_SITE_CACHE_DIR": str(self.folder.with_suffix(".dvc-site"))}
        author = {f"GIT_{who}": "fork@example.org" for who in AUTHOR}
        done = subprocess.run(
            list(map(str, command)),
            cwd=inside or self.folder,
            env=kept | cache | author | {"PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
            check=False,
        )
        assert done.returncode == 0, f"{shlex.join(map(str, command))}\n{done.stdout[-8000:]}"
        return done.stdout

    def build(self) -> dict[str, object]:
        """Run the whole pipeline with a small budget, and return the evaluation."""
        said = self.run("make", "ci", "EXECUTOR=local", f"SET={SMALL} serving.port={self.port}")
        assert said.splitlines()[-1].endswith("report: build/report/index.html"), said[-3000:]
        found: dict[str, object] = json.loads((self.folder / "build/evaluation/evaluation.json").read_text())
        return found


@pytest.fixture
def clone(tmp_path: Path, free_port: int) -> Iterator[Clone]:
    made = Clone(tmp_path / "fork", free_port)
    try:
        yield made
    finally:
        made.run("make", "stop")


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("example", FORKS)
def test_a_fork_is_green_without_a_further_edit(clone: Clone, example: str, capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    clone.run("make", "fork", "NAME=mine", "REGISTRY=registry.company.org/team", f"EXAMPLE={example}")
    clone.run("git", "commit", "-qm", "Fork: mine")
    clone.installed()
    maker = clone.folder / "model/make_data.py"
    if maker.exists():  # as its README.md says
        clone.run(sys.executable, maker)
        clone.run("dvc", "add", "--quiet", "data/digits")
        clone.run("git", "add", "-A")
        clone.run("git", "commit", "-qm", "Data")
    clone.run("make", "check")
    evaluation = clone.build()
    assert evaluation["verdict"] == "promote", evaluation["reason"]
    green = (time.monotonic() - begun) / 60
    said = f"{example}: green after {green:.1f} minutes"
    if example == TESTED:
        begun = time.monotonic()
        summary = clone.run("make", "test", limit=1200).splitlines()[-1]
        said += f"; its own tests, {(time.monotonic() - begun) / 60:.1f} minutes: {summary.strip('= ')}"
    clone.run("git", "diff", "--exit-code")
    with capsys.disabled():
        print(f"\nfork of {said}")


def test_the_newest_version_is_merged_into_a_fork_of_the_release_before(clone: Clone) -> None:
    """The fork has its own task, settings and a file beside upstream's; upstream goes on, also with its own example."""
    newest = clone.run("git", "rev-parse", "HEAD").strip()
    tags = clone.run("git", "tag", "--merged", "HEAD~1", "--sort=-creatordate").split()
    history = clone.run("git", "rev-list", "--first-parent", "HEAD").split()
    release = tags[0] if tags else history[min(RELEASE_BEFORE, len(history) - 1)]
    clone.run("git", "checkout", "-qB", "main", release)
    shutil.rmtree(clone.folder / "model")
    shutil.copytree(TASK, clone.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (clone.folder / "ci/audit.py").write_text('"""Ours."""\n')
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "Our task")
    clone.run("git", "checkout", "-qB", "upstream", newest)
    for name in ("model/data.py", "model/training.py", "pipeline.yaml", "README.md", "docs/news.md"):
        with (clone.folder / name).open("a") as file:
            file.write("# upstream went on\n")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "Upstream went on")
    clone.run("git", "checkout", "-q", "main")
    update = [sys.executable, "-m", "scripts.update", "--from=upstream"]
    if not (clone.folder / "scripts/update.py").exists():  # a release that has no such command yet
        begin = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from scripts import update"
        update[1:3] = ["-c", f"{begin}; sys.exit(update.main(sys.argv[1:]))"]
    clone.run(*update)
    clone.run("git", "commit", "-qm", "Update")
    own = ("model", "pipeline.yaml", "README.md", "ci/audit.py")
    assert clone.run("git", "diff", "--name-only", "HEAD^1", "HEAD", "--", *own) == ""
    others = clone.run("git", "diff", "--name-only", "HEAD^2", "HEAD").split()
    assert {path for path in others if not path.startswith(("model/", "tests/model/"))} <= {
        "pipeline.yaml", "README.md", "ci/audit.py",
    }  # fmt: skip
    clone.installed()
    clone.run(sys.executable, "-m", "scripts.configure", "--migrate")
    clone.run("make", "check")
