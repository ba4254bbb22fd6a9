"""Where stages leave their results, and how: complete or not at all.

Every stage owns one folder under `build/`. A result is written under a temporary name beside its final one and
then renamed, so that whoever looks never sees half of one, and a killed stage can simply be run again.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ci.errors import InputError

BUILD = Path("build")
SETTINGS = BUILD / "settings.yaml"
SOURCE = BUILD / "source.json"
CHAMPION = BUILD / "champion.json"
AGENT = BUILD / "agent.json"
DATA = BUILD / "data"
TUNING = BUILD / "tuning"
MODEL = BUILD / "model"
EVALUATION = BUILD / "evaluation"
PACKAGE = BUILD / "package"
PLACEMENT = BUILD / "placement"
ROLLOUT = BUILD / "rollout"
MONITORING = BUILD / "monitoring"
RETRAINING = BUILD / "retraining"
REPORT = BUILD / "report"
STATE = BUILD / "state"
"""What outlives a build on a machine without a cluster: registry, releases, unfinished searches."""

_WRITTEN_BY = {
    SETTINGS: "configure",
    SOURCE: "configure",
    CHAMPION: "champion",
    AGENT: "agent",
    DATA: "prepare",
    TUNING: "tune",
    MODEL: "train",
    EVALUATION: "evaluate",
    PACKAGE: "package",
    PLACEMENT: "place",
    ROLLOUT: "deploy",
    MONITORING: "monitor",
    RETRAINING: "retrain",
}


def require(path: Path) -> Path:
    """Return `path` if it exists.

    Raises:
        InputError: it does not; the message names the command that writes it.
    """
    if path.exists():
        return path
    for place in (path, *path.parents):
        if place in _WRITTEN_BY:
            raise InputError(f"{path} is missing: run `python -m scripts.{_WRITTEN_BY[place]}` first")
    raise InputError(f"{path} is missing")


def read_json(path: Path) -> Any:
    """Read a stage's JSON result.

    Raises:
        InputError: it is missing (see `require`) or is not JSON.
    """
    text = require(path).read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON ({error.msg}): delete it and run its stage again") from None


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON with sorted keys and a final newline, so equal values are equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, its line ends as they are."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: temporary name, flush to disk, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give a new empty folder to fill, and put it in the place of `folder` when the block ends without an error.

    What a killed run left under the temporary name is removed first.
    """
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if folder.exists():
        shutil.rmtree(folder)
    temporary.rename(folder)
