"""A clone becomes somebody's own: what changes in it, as a function of its files, and Git's part of making it so.

What belongs to the template alone is dropped, this file included; the chosen example takes the place of `model/` and
`pipeline.yaml`; names take the place of the template's. All of it is one change of the index, which Git can undo.
"""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from ci import configuration, git, references
from ci.errors import InputError
from ci.settings import Settings
from ci.settings.building import Model

REGISTRY = "registry.example.com"
"""What stands for the fork's registry in the template."""
WORDS = ("flights", REGISTRY)
"""What nothing outside `model/` says afterwards, in whatever case: of the example that ships, and of no registry."""
DROPPED = (
    *("examples/", "ci/fork.py", "scripts/fork.py", "docs/report.png"),
    *("tests/ci/test_fork.py", "tests/e2e/test_examples.py", "tests/e2e/test_forks.py"),
)
"""What only the template needs; a path with `/` at its end is a folder."""
TASK = ("model/", "tests/model/")
"""What an example takes the place of."""
INTRODUCTION = """\
[model/README.md](model/README.md) says what this model predicts. What tunes, tests, ships and watches it is a CI/CD
template for TensorFlow models on Jenkins and Kubernetes. [docs/updating.md](docs/updating.md) says how its newer
versions get here.
"""
_OF_TEMPLATE = re.compile(r"<!-- template -->\n.*?<!-- /template -->\n+", re.DOTALL)
"""What README.md says of the template only."""
_FOR_EXAMPLE = "registry.company.org/team"
_SHOWN = 100
"""Characters of a name that are shown."""
Files = Mapping[str, bytes]


def check(name: str, registry: str, example: str | None, files: Files) -> None:
    """Check what was asked for.

    Raises:
        InputError: a name cannot be used, or there is no such example; says what to give.
    """
    if not name or not registry:
        raise InputError(f"give both names: `make fork NAME=digits REGISTRY={_FOR_EXAMPLE}`")
    try:
        Model(name=name)
    except ValidationError as error:
        raise InputError(f"--name {name[:_SHOWN]}: {error.errors()[0]['msg']}, such as digits") from None
    if problem := references.problem(f"{registry}/models/{name}"):
        raise InputError(f"--registry {registry[:_SHOWN]}: {problem}")
    host = registry.partition("/")[0]
    if REGISTRY in registry or (not {".", ":"} & {*host} and host != references.LOCAL):
        raise InputError(f"--registry {registry[:_SHOWN]}: name your own, HOST[:PORT][/PATH], such as {_FOR_EXAMPLE}")
    known = sorted({path.split("/")[1] for path in files if re.fullmatch(r"examples/[^/]+/pipeline\.yaml", path)})
    if not known:
        raise InputError("examples/ is not here: this is a fork already; edit pipeline.yaml and ci/images/images.yaml")
    if example is not None and example not in known:
        raise InputError(f"--example {example}: there is none; choose of {', '.join(known)}, or leave it out")


def plan(name: str, registry: str, example: str | None, files: Files) -> dict[str, bytes]:
    """Return the files of the fork.

    Args:
        name: of the model.
        registry: `HOST[:PORT][/PATH]`, of images.
        example: a folder of `examples/`; None keeps the task as it is.
        files: every file that Git tracks, by path.

    Raises:
        InputError: something cannot be used, or the template's own words are left somewhere; names it.
    """
    check(name, registry, example, files)
    gone = (*DROPPED, *(TASK if example else ()))
    kept = {path: content for path, content in files.items() if not path.startswith(gone)}
    if example:
        root = f"examples/{example}/"
        taken = {path.removeprefix(root): content for path, content in files.items() if path.startswith(root)}
        taken["model/README.md"] = taken.pop("README.md")
        kept |= taken
    kept["pipeline.yaml"] = _named(kept["pipeline.yaml"].decode(), name, registry).encode()
    kept["README.md"] = _readme(kept["README.md"].decode(), name).encode()
    kept = {path: content.replace(REGISTRY.encode(), registry.encode()) for path, content in kept.items()}
    if left := _left(kept, name):
        raise InputError(f"{', '.join(left)}: still of the template: take these words out, commit, and try again")
    return kept


def _named(text: str, name: str, registry: str) -> str:
    """Return settings with the fork's names in them."""
    found = re.sub(r"(?m)^(model:\n(?:  .*\n)*?  name:) \S+", rf"\1 {name}", text)
    found, replaced = re.subn(r"(?m)^(packaging:\n(?:  .*\n)*?  repository:) \S+", rf"\1 {registry}/models", found)
    if not replaced:
        found += f"\npackaging:\n  repository: {registry}/models\n"
    settings = _settings(found)
    if (settings.model.name, settings.packaging.repository) != (name, f"{registry}/models"):
        raise InputError("pipeline.yaml: give model.name and packaging.repository a line each")
    return found


def _settings(text: str) -> Settings:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        file.write_text(text, encoding="utf-8")
        return configuration.read(file)


def _readme(text: str, name: str) -> str:
    title, _, rest = _OF_TEMPLATE.sub("", text).partition("\n")
    if not title.startswith("# "):
        raise InputError("README.md: its first line is no heading")
    return f"# {name}\n\n{INTRODUCTION}{rest}".replace("/v1/models/flights", f"/v1/models/{name}")


def _left(files: Files, name: str) -> list[str]:
    """Return where outside the task the template's words are left, as `PATH says WORD`."""
    return [
        f"{path} says {word}"
        for path, content in sorted(files.items())
        if not path.startswith(TASK)
        for word in WORDS
        if word.encode() in content.lower().replace(name.encode(), b"")
    ]


def tracked() -> dict[str, bytes]:
    """Return the files of the commit that is checked out, by path.

    Raises:
        InputError: this is not the root of a repository with a commit, or something is not committed.
    """
    git.require_clean()
    names = filter(None, git.output("ls-files", "-z").split("\0"))
    return {name: Path(name).read_bytes() for name in names if not Path(name).is_symlink() and Path(name).is_file()}


def tree(before: Files, after: Files) -> str:
    """Write the fork's files as a tree of Git's, and return its name; working tree and index stay as they are."""
    modes = {}
    for line in filter(None, git.output("ls-files", "-s", "-z").split("\0")):
        described, _, path = line.partition("\t")
        modes[path] = described.split()[0]
    lines = [f"0 {'0' * 40}\t{path}" for path in sorted(before.keys() - after.keys())]
    for path, content in sorted(after.items()):
        if before.get(path) != content:
            blob = git.output("hash-object", "-w", "--stdin", given=content).strip()
            lines.append(f"{modes.get(path, '100644')} {blob}\t{path}")
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        git.output("read-tree", "HEAD", index=index)
        git.output(
            "update-index", "-z", "--index-info", given="".join(f"{line}\0" for line in lines).encode(), index=index
        )
        return git.output("write-tree", index=index).strip()


def difference(found: str) -> str:
    """Return the difference between what is committed and a tree, for people."""
    return git.output("diff", "--find-renames", "--no-ext-diff", "--no-color", "HEAD", found, "--")


def apply(found: str) -> int:
    """Make working tree and index a tree, all or nothing, and return how many files that changes.

    Raises:
        InputError: a file that Git does not track is in the way; it is named, and nothing was changed.
    """
    added = git.output("diff", "--name-only", "--no-renames", "--diff-filter=A", "-z", "HEAD", found, "--")
    for path in map(Path, filter(None, added.split("\0"))):
        for each in (path, *path.parents[:-1]):
            if each.is_symlink() or each.is_file() or (each == path and each.exists()):
                raise InputError(f"{each} is in the way, and Git does not track it: move it elsewhere")
    changed = git.output("diff", "--name-only", "-z", "HEAD", found, "--").count("\0")
    git.output("read-tree", "-m", "-u", "HEAD", found)
    return changed
