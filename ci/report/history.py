"""The history of builds: one line for each finished build, in a file that outlives `build/`'s stages."""

from datetime import datetime
from pathlib import Path

from ci import workspace
from ci.report.build import Build
from ci.results.file import Lines
from ci.results.report import Record
from ci.settings.watching import History


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
    return _file(settings).read_all()


def is_new(latest: Record, records: list[Record]) -> bool:
    """Tell whether a build differs from the last recorded build, in more than its time.

    One that is released now differs from one like it whose rollout failed.
    """
    if not records or latest.identity != records[-1].identity:
        return True
    return latest.release is not None and latest.release != records[-1].release


def append(latest: Record, records: list[Record], settings: History) -> list[Record]:
    """Write a record behind the others, of which the oldest go when there are more than are kept; return them all."""
    kept = [*records, latest][-settings.keep :]
    file = _file(settings)
    workspace.write_text(file.path, file.text(entry.model_dump(mode="json") for entry in kept))
    return kept


def _file(settings: History) -> Lines[Record]:
    return Lines(Path(settings.folder) / "builds.jsonl", Record, most=64 * 2**20)
