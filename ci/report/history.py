"""The history of builds: one line for each finished build, in a file that outlives `build/`'s stages, and in MLflow."""

import hashlib
import json
from datetime import date, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ci import workspace
from ci.report.evidence import Build, Interval, parse
from ci.settings import History

FILE = "builds.jsonl"


class Record(BaseModel):
    """A finished build: when, from what, how good, what was decided and why."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    time: datetime
    commit: str | None
    as_of: date
    model: str
    version: str
    digests: dict[str, str]
    primary: str
    metrics: dict[str, Interval]
    verdict: str
    reason: str
    gain: float | None
    release: int | None

    @property
    def identity(self) -> str:
        """A digest of what makes a build another one: commit, digests and verdict."""
        content = json.dumps([self.commit, self.digests, self.verdict], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def record(build: Build, time: datetime, commit: str | None) -> Record | None:
    """Return a build's record, or None if it did not get as far as a packaged model and a verdict."""
    evaluation, package, rollout = build.evaluation, build.package, build.rollout
    if evaluation is None or package is None:
        return None
    return Record(
        time=time.replace(microsecond=0),
        commit=commit,
        as_of=evaluation.as_of,
        model=package.model,
        version=package.version,
        digests=package.digests,
        primary=evaluation.primary,
        metrics=evaluation.metrics,
        verdict=evaluation.verdict,
        reason=evaluation.reason,
        gain=evaluation.comparison.gain if evaluation.comparison else None,
        release=rollout.release if rollout and rollout.digest == package.image.digest else None,
    )


def read(settings: History) -> list[Record]:
    """Return every record that is kept, the oldest first.

    Raises:
        InputError: a line is no record; names file and line.
    """
    path = Path(settings.folder) / FILE
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [parse(path, line, Record, number) for number, line in enumerate(lines, 1)]


def is_new(latest: Record, records: list[Record]) -> bool:
    """Tell whether a build differs from the last one that was recorded, in more than its time."""
    return not records or latest.identity != records[-1].identity


def append(latest: Record, records: list[Record], settings: History) -> list[Record]:
    """Write a record behind the others, of which the oldest go when there are more than are kept; return them all."""
    kept = [*records, latest][-settings.keep :]
    lines = [json.dumps(entry.model_dump(mode="json"), sort_keys=True, ensure_ascii=False) + "\n" for entry in kept]
    workspace.write_text(Path(settings.folder) / FILE, "".join(lines))
    return kept
