"""What determines a build: digests of the code and the settings that `dvc.yaml` declares as its stages' inputs."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ci import workspace
from ci.errors import InputError

GRAPH = Path("dvc.yaml")


def inputs_digest() -> str:
    """Return one digest of everything outside `build/` that can change a build's model: code, settings, data source."""
    return _digest([code_digest(), settings_digest()])


def code_digest() -> str:
    """Return a digest of every file outside `build/` that a stage depends on: names and content."""
    files = sorted({file for stage in _stages() for path in stage.get("deps", []) for file in _files(Path(path))})
    return _digest([[file.as_posix(), file_digest(file)] for file in files])


def settings_digest() -> str:
    """Return a digest of every settings section that a stage declares: a rollout setting does not change it."""
    declared = {
        (file, key)
        for stage in _stages()
        for entry in stage.get("params", [])
        for file, keys in (entry.items() if isinstance(entry, dict) else [("params.yaml", [entry])])
        for key in keys or [""]
    }
    values = {file: yaml.safe_load(workspace.require(Path(file)).read_text(encoding="utf-8")) for file, _ in declared}
    return _digest([[file, key, _value(values[file], key)] for file, key in sorted(declared)])


def source(path: Path | None) -> dict[str, str | None]:
    """Return what stands for the data source among the stages' inputs: its path and a digest of its content.

    A source that DVC tracks is known by its `.dvc` file, so the data themselves need not be here.

    Raises:
        InputError: there is neither the source nor its `.dvc` file.
    """
    if path is None:
        return {"source": None, "digest": None}
    tracked = Path(f"{path}.dvc")
    if tracked.is_file():
        digest = file_digest(tracked)
    elif path.exists():
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        digest = _digest([[file.relative_to(path).as_posix(), file_digest(file)] for file in files])
    else:
        raise InputError(f"data.source: {path} does not exist, nor does {tracked}, by which DVC would track it")
    return {"source": path.as_posix(), "digest": digest}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content as `sha256:…`."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _stages() -> list[dict[str, Any]]:
    try:
        graph = yaml.safe_load(GRAPH.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{GRAPH} is missing: run in the repository's folder") from None
    except yaml.YAMLError as error:
        raise InputError(f"{GRAPH}: not valid YAML: {error}") from None
    return list(graph["stages"].values())


def _files(path: Path) -> Iterator[Path]:
    """Yield the files that a dependency stands for; compiled Python and what stages write are no inputs."""
    if path.parts[:1] == (workspace.BUILD.name,) and path != workspace.SOURCE:
        return
    if path.is_dir():
        yield from (file for file in path.rglob("*") if file.is_file() and not _ignored(file))
    elif path.is_file():
        yield path
    else:
        raise InputError(f"{path} is missing, and {GRAPH} names it as a dependency")


def _ignored(file: Path) -> bool:
    """Return whether a file in a folder is no input, as `.dvcignore` says to DVC."""
    words = file.parts[0] == "model" and file.suffix == ".md"  # the card's words reach their stage as build/card.md
    return words or "__pycache__" in file.parts or file.suffix == ".pyc"


def _value(values: Any, key: str) -> Any:
    for part in key.split(".") if key else []:
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _digest(value: Any) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(value, default=str, sort_keys=True).encode()).hexdigest()}"
