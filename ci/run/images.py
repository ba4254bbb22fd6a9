"""The images of ci/images for a cluster of Kind: built and pushed only when what they are made of has changed.

An image's tag is a digest of its Dockerfile and of every file that it copies, and its build can reach nothing else. So
where the registry has that tag there is nothing to do, and where Docker has it, it is only pushed.
"""

import hashlib
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ci import workspace
from ci.errors import InputError, StageError
from ci.registry import bases
from ci.registry.client import Repository, Unreachable
from ci.run import local_registry
from ci.run.programs import attempt, last_words, shortened

LOGS = workspace.STATE / "images"
"""What the last build of each image said."""
OURS = "model-pipeline"
"""Folder of the registry that our images are in."""
AGENTS = ("pipeline", "tools")
"""The images that agents run."""
_BUILD, _PUSH = 3600.0, 1800.0
"""Longest waits; seconds."""
Say = Callable[[str], None]


def wanted(server: str) -> tuple[str, ...]:
    """Return the images that a build on Kind needs.

    Args:
        server: `serving.server` of the settings.
    """
    return (*AGENTS, "stand-in") if server == "stand-in" else AGENTS


def ready(names: Sequence[str], say: Say) -> dict[str, str]:
    """Return what pods name each image by, `localhost:5001/model-pipeline/NAME:TAG@DIGEST`, once the registry has it.

    What is missing there is built and pushed. The images of others that pods run are pushed too if Docker has them.

    Args:
        names: of ci/images/images.yaml, each with a `dockerfile`.
        say: takes a line for people.

    Raises:
        InputError: there is no such image, or a file that it copies is missing.
        StageError: the build fails, with its last lines; or the registry is down, full or read-only.
    """
    listed = {entry.name: entry for entry in bases.read()}
    found, made = {}, []
    for name in names:
        if name not in listed or not (dockerfile := listed[name].dockerfile):
            raise InputError(f"{bases.LIST} has no image {name} with a dockerfile")
        repository, tag = f"{local_registry.HOST}/{OURS}/{name}", content(Path(dockerfile))
        digest = _digest(repository, tag)
        if digest is None:
            if not _here(f"{repository}:{tag}"):
                build(name, Path(dockerfile), f"{repository}:{tag}", say)
            _push(f"{repository}:{tag}", say)
            digest = _digest(repository, tag)
            made.append(name)
            if digest is None:
                raise StageError(f"{repository}:{tag} was pushed, but the registry does not have it: try again")
        found[name] = f"{repository}:{tag}@{digest}"
    for entry in listed.values():
        if entry.name == "gateway":
            _mirror(entry, say)
    if not made:
        say(f"images: unchanged: {', '.join(names)}")
    return found


def content(dockerfile: Path) -> str:
    """Return the tag of the image that a Dockerfile makes now: a digest of what it is made of.

    Raises:
        InputError: a file that it copies is missing.
    """
    total = hashlib.sha256()
    for path in (dockerfile, *inputs(dockerfile)):
        mode = "x" if path.stat().st_mode & 0o100 else "-"
        total.update(f"{path.as_posix()}\0{mode}{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def inputs(dockerfile: Path) -> list[Path]:
    """Return the files of the repository that a Dockerfile copies, in order of their names.

    Raises:
        InputError: one is missing, or lies outside.
    """
    found: set[Path] = set()
    for source in _copied(dockerfile):
        if "[" in source:  # a pattern: what may be missing
            found |= set(Path().glob(source))
            continue
        path = Path(source)
        if path.is_absolute() or ".." in path.parts or not path.exists():
            raise InputError(f"{dockerfile}: COPY {source}: there is no such file in the repository")
        files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
        found |= {each for each in files if "__pycache__" not in each.parts}
    return sorted(found)


def _copied(dockerfile: Path) -> Iterator[str]:
    """Yield the sources of each `COPY` from the repository."""
    text = dockerfile.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if re.match(r"(?i)\s*(COPY|ADD)\s", line):
            words = shlex.split(line, comments=True)[1:]
            if not any(word.startswith("--from=") for word in words):
                yield from [word for word in words if not word.startswith("--")][:-1]


def _digest(repository: str, tag: str) -> str | None:
    """Return the digest that the registry has for a tag; None if it has none.

    Raises:
        StageError: it does not answer.
    """
    try:
        return Repository(repository).digest(tag)
    except Unreachable as error:
        raise StageError(f"{error}; `make doctor` says what to do about the registry") from None
    except StageError:
        return None


def _here(reference: str) -> bool:
    """Tell whether Docker has an image, as after a cluster was deleted with its registry."""
    return attempt("docker", "image", "inspect", reference).returncode == 0


def build(name: str, dockerfile: Path, reference: str, say: Say) -> None:
    """Build an image in a folder that has nothing but what it copies, so that nothing else can get into it."""
    log = LOGS / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    say(f"images: building {name}, which may take minutes (log: {log})")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="image-") as context, log.open("wb") as said:
        for path in (dockerfile, *inputs(dockerfile)):
            (Path(context) / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, Path(context) / path)
        command = ["docker", "build", "-t", reference, "-f", str(Path(context) / dockerfile), context]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, timeout=_BUILD
            )
            code = done.returncode
        except subprocess.TimeoutExpired:
            raise StageError(f"the image {name} was not built in {_BUILD:g} s: see {log}") from None
    if code:
        end = shortened(log.read_text(encoding="utf-8", errors="replace").splitlines())
        raise StageError(f"the image {name} cannot be built from {dockerfile}: {end} (all of it: {log})")
    say(f"images: {name} built in {time.monotonic() - begun:.0f} s")


def _push(reference: str, say: Say) -> None:
    begun = time.monotonic()
    done = attempt("docker", "push", reference, timeout=_PUSH)
    if done.returncode:
        raise StageError(
            f"the registry does not take {reference}: {last_words(done)}; is its disk full, or is it read-only? "
            "`make cluster-delete` empties it, `make cluster` begins anew"
        )
    say(f"images: {reference} pushed in {time.monotonic() - begun:.0f} s")


def _mirror(entry: bases.Listed, say: Say) -> None:
    """Push an image of Docker Hub under its own path if Docker has it, so that no node fetches it from outside."""
    name = f"{entry.repository}:{entry.tag}"
    path = entry.repository.removeprefix("docker.io/")
    if _digest(f"{local_registry.HOST}/{path}", entry.tag) is None and _here(name):
        mirrored = f"{local_registry.HOST}/{path}:{entry.tag}"
        if not attempt("docker", "tag", name, mirrored).returncode:
            _push(mirrored, say)
