"""Git repositories for tests, with data that DVC tracks."""

import hashlib
import subprocess
from pathlib import Path

CACHE = Path(".dvc/cache/files/md5")
AUTHOR = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")


def git(*arguments: str) -> str:
    """Run Git in the current folder and return what it prints."""
    return subprocess.run(["git", *AUTHOR, *arguments], check=True, capture_output=True, text=True).stdout


def track(text: str) -> None:
    """Write data.csv as `dvc add` does: the content into the cache, its name into data.csv.dvc."""
    digest = hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - as DVC names content
    cached = CACHE / digest[:2] / digest[2:]
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_text(text)
    Path("data.csv").write_text(text)
    out = f"{{md5: {digest}, size: {len(text)}, hash: md5, path: data.csv}}"
    Path("data.csv.dvc").write_text(f"outs: [{out}]\n")


def versions() -> int:
    """Return the files that are left in the cache."""
    return sum(file.is_file() for file in CACHE.rglob("*"))


def two_versions() -> None:
    """Make the current folder a repository with a commit for each of two versions of its data."""
    git("init", "-q")
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    analytics = false\n")
    Path(".gitignore").write_text("/data.csv\n/build\n/.dvc/cache\n/.dvc/tmp\n")
    for version in ("one", "two"):
        track(version)
        git("add", "-A")
        git("commit", "-qm", version)
