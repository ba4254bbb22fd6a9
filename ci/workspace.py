"""Where stages leave their results, and how: complete or not at all.

Every stage owns one folder under `build/`. A result is written under a temporary name beside its final one and
then renamed, so that no reader ever sees half of one, and a killed stage can simply be run again.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

BUILD = Path("build")
SETTINGS = BUILD / "settings.yaml"
SOURCE = BUILD / "source.json"
OVERRIDES = BUILD / "overrides.json"
RUNS = BUILD / "runs.json"
"""Why each cached stage was run in this build, or was not."""
CARD = BUILD / "card.md"
"""A copy of the task's text for the model card. It is a copy because a change below `model/` would train again."""
CHAMPION = BUILD / "champion.json"
PRIOR = BUILD / "prior.json"
"""What the champion's search found: a new search begins there."""
AGENT = BUILD / "agent.json"
TUNING_JOB = BUILD / "tuning-job.json"
DOES = BUILD / "does.txt"
CANDIDATE = BUILD / "candidate.txt"
HANDOFF = BUILD / "handoff.json"
LOCK = Path("dvc.lock")
"""DVC's own record of what each cached stage read and wrote."""
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


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON; see `json_text`."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return `value` as JSON with sorted keys and a final newline, so that equal values give equal bytes.

    JSON has no NaN and no infinity: such a number is written as null, which means missing or not computable.
    """
    return json.dumps(_finite(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list | tuple) else value


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, its line ends as they are."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: temporary name, flush to disk, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; 0 if there is none."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file() or file.is_symlink())


def remove(path: Path) -> None:
    """Delete a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield a new empty folder, which replaces `folder` when the block ends without an error.

    What a killed run left under the temporary name is removed first.
    """
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if folder.exists():
            remove(folder)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
