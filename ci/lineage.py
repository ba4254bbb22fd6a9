"""What determines a build: digests of the code and the settings that `dvc.yaml` declares as its stages' inputs."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ci import reading, reading_yaml, stages, workspace
from ci.errors import InputError

GRAPH = Path("dvc.yaml")


_FORM = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Stage(BaseModel):
    """The parts of a stage in `dvc.yaml` that determine its result; each may be missing or empty."""

    model_config = _FORM

    cmd: str | list[str]
    deps: list[str] | None = None
    params: list[str | dict[str, list[str] | None]] | None = None


class _Graph(BaseModel):
    """`dvc.yaml`; `foreach` and `matrix` are not supported."""

    model_config = _FORM

    stages: dict[str, _Stage]


def inputs_digest() -> str:
    """Return one digest of everything outside `build/` that can change a build's model: code, settings, data source."""
    return _digest([code_digest(), settings_digest()])


def code_digest() -> str:
    """Return a digest of every file outside `build/` that a stage depends on: names and content."""
    files = sorted(
        {file for name, stage in _stages() for path in stage.deps or [] for file in _files(_inside(name, "deps", path))}
    )
    return _digest([[file.as_posix(), file_digest(file)] for file in files])


def settings_digest() -> str:
    """Return a digest of every settings section that a stage declares: a rollout setting does not change it."""
    declared = {
        (_inside(name, "params", file), key)
        for name, stage in _stages()
        for entry in stage.params or []
        for file, keys in (entry.items() if isinstance(entry, dict) else [("params.yaml", [entry])])
        for key in keys or [""]
    }
    values = {file: reading_yaml.read(stages.require(file)) for file, _ in declared}
    return _digest([[file.as_posix(), key, _value(values[file], key)] for file, key in sorted(declared)])


def source(path: Path | None, key: str = "data.source") -> dict[str, str | None]:
    """Return the path of the data source, or of what else a setting names, and a digest of its content.

    A source that DVC tracks is known by its `.dvc` file, so the data themselves need not be here.

    Raises:
        InputError: neither the source nor its `.dvc` file exists; it cannot be read; it is neither file nor folder (a
            device or a pipe may have no end); or the repository itself lies in it.
    """
    if path is None:
        return {"source": None, "digest": None}
    tracked = Path(f"{path}.dvc")
    try:
        there, known = path.exists(), tracked.is_file()
    except OSError as error:
        raise InputError(f"{key}: {path} cannot be read: {error.strerror}") from None
    if there:
        if not (path.is_file() or path.is_dir()):
            raise InputError(f"{key}: {path} is neither a file nor a folder")
        if Path.cwd().is_relative_to(path.resolve()):
            raise InputError(f"{key}: {path} holds this repository itself: name a folder with nothing but data")
    if known:
        digest = file_digest(tracked)
    elif there:
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        digest = _digest([[file.relative_to(path).as_posix(), file_digest(file)] for file in files])
    else:
        raise InputError(f"{key}: {path} does not exist, nor does {tracked}, by which DVC would track it")
    return {"source": path.as_posix(), "digest": digest}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content as `sha256:…`."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _stages() -> list[tuple[str, _Stage]]:
    """Return the stages by name, in the order of the file.

    Raises:
        InputError: the graph is missing or has another form.
    """
    if not GRAPH.exists():
        raise InputError(f"{GRAPH} is missing: run in the repository's folder")
    values, lines = reading_yaml.parse_with_lines(reading.text(GRAPH), GRAPH)
    try:
        return list(_Graph.model_validate(values).stages.items())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = [part for part in first["loc"] if not (isinstance(part, str) and part.endswith("]"))]
        line = next((lines[tuple(key[:n])] for n in range(len(key), 0, -1) if tuple(key[:n]) in lines), 1)
        message = re.sub(r" or instance of \w+", "", first["msg"])
        raise InputError(
            f"{GRAPH}:{line}: {'.'.join(map(str, key)) or 'the graph'}: {message}: "
            "expected stages with cmd, deps (paths), params and outs, each written out"
        ) from None


def _inside(stage: str, what: str, name: str) -> Path:
    """Return a path that a stage declares.

    Raises:
        InputError: it leads out of the repository, or is all of it.
    """
    path = Path(name)
    try:
        real, here = path.resolve(), Path.cwd()
        if real != here and real.is_relative_to(here):
            path.exists()  # a name that is too long is told here
            return path
    except (OSError, ValueError, RuntimeError) as error:  # a null character, links in a circle
        raise InputError(f"{GRAPH}: stages.{stage}.{what}: {name[:80]!r} is no path: {error}") from None
    raise InputError(
        f"{GRAPH}: stages.{stage}.{what}: {name} is not inside the repository: name files and folders in it"
    )


def _files(path: Path) -> Iterator[Path]:
    """Yield the files of a dependency, without compiled Python and without what stages write."""
    if path.parts[:1] == (workspace.BUILD.name,) and path != workspace.SOURCE:
        return
    if path.is_dir():
        yield from (file for file in path.rglob("*") if file.is_file() and not _ignored(file))
    elif path.is_file():
        yield path
    else:
        raise InputError(f"{path} is missing, and {GRAPH} names it as a dependency")


def _ignored(file: Path) -> bool:
    """Return whether `.dvcignore` excludes a file of a folder from the inputs."""
    words = file.parts[0] == "model" and file.suffix == ".md"  # the card's words reach their stage as build/card.md
    return words or "__pycache__" in file.parts or file.suffix == ".pyc"


def _value(values: Any, key: str) -> Any:
    for part in key.split(".") if key else []:
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _digest(value: Any) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(value, default=str, sort_keys=True).encode()).hexdigest()}"
