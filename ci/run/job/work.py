"""What the pods of the Job work on: commit and texts of the build, on the DVC remote under their digest."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from ci import git, workspace
from ci.errors import StageError
from ci.run import dvc, handoff

CODE, TEXTS = "code.git", workspace.HANDOFF.name


def push() -> str:
    """Push the commit that is checked out and the hand-over, and return what DVC fetches them by: a `.dvc` file.

    The commit travels alone, without those before it, so that a shallow clone will do.

    Raises:
        InputError: there is no commit, or the hand-over lacks something.
        StageError: Git or DVC failed, or there is no remote.
    """
    handoff.pack()
    if not dvc.remote():
        raise StageError("the pods of the Job fetch code and data from a DVC remote, and none is set: core.remote")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _run("git", "clone", "--quiet", "--bare", "--depth=1", "--single-branch", "--no-tags", "--template=",
             "--config=pack.threads=1", "--", Path.cwd().as_uri(), str(root / "work" / CODE))  # fmt: skip
        shutil.copy(workspace.HANDOFF, root / "work" / TEXTS)
        _run(*dvc.COMMAND, "init", "--quiet", "--no-scm", within=root)
        for name in ("config", "config.local"):
            if (mine := Path(".dvc") / name).exists():
                shutil.copy(mine, root / ".dvc" / name)
        _run(*dvc.COMMAND, "config", "--quiet", "core.no_scm", "true", within=root)
        _run(*dvc.COMMAND, "add", "--quiet", "work", within=root)
        _run(*dvc.COMMAND, "push", "--quiet", "work.dvc", within=root)
        return (root / "work.dvc").read_text(encoding="utf-8")


def _run(*command: str, within: Path | None = None) -> None:
    done = subprocess.run(
        command, cwd=within, env=git.environment(), capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise StageError(f"the Job's code and texts cannot be pushed: {' '.join(command[-4:])}: {said[-500:]}")
