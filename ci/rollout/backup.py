"""One file with all that is lost with a cluster or a disk: ledgers with their evidence, and the history of builds."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from ci import reading, workspace
from ci.errors import InputError, StageError
from ci.releases.ledger import Ledger, Release
from ci.results.backup import Remembered, at
from ci.results.file import Lines
from ci.results.report import Record
from ci.rollout import place as places
from ci.settings import Settings

Json = Mapping[str, Any]


def save(settings: Settings, time: datetime, path: Path, monitoring: Json) -> list[str]:
    """Write a backup and return in sentences what is in it, and what could not be had.

    Args:
        settings: the fork's.
        time: now.
        path: of the file.
        monitoring: what monitoring remembers, as `ci.monitoring.memory.saved` returns it.

    Raises:
        InputError: the file is there, and is no backup of this model.
        StageError: a ledger is damaged, or cannot be read; nothing is written.
    """
    _require_ours(settings, path)
    said, saved = [], []
    for each in everywhere(settings):
        place = places.look(each)
        place.require_agreement()  # a record that has lost its end is no backup
        releases, evidence = place.ledger.read(), {}
        for digest in dict.fromkeys(release["digest"] for release in releases):
            if files := _evidence(place.ledger, digest):
                evidence[digest] = files
        known = len({release["digest"] for release in releases})
        said.append(f"{place.name}: {len(releases)} releases, evidence of {len(evidence)} of {known} images")
        saved.append({"environment": each.environment, "releases": releases, "evidence": evidence})
    history = _history(settings).plain_all()
    value = {"schema": 1, "model": settings.model.name, "time": time.isoformat(timespec="seconds")}
    at(path).write({**value, "ledgers": saved, "history": history, "monitoring": monitoring})
    days = len(monitoring["requests"])
    return [*said, f"history: {len(history)} builds", f"monitoring: {len(monitoring['watched'])} windows, {days} days"]


def restore(settings: Settings, path: Path, remember: Callable[[Remembered], str], *, dry_run: bool) -> list[str]:
    """Put back what a backup holds and is not there any more, and return in sentences what that was.

    Everything is compared before anything is written.

    Args:
        settings: the fork's.
        path: of the backup.
        remember: puts back what monitoring remembers, unless it is only to be told, and returns it in words.
        dry_run: whether nothing is written.

    Raises:
        InputError: the file is no backup, or one of another model or of other environments.
        StageError: what is there is newer than the backup, or is another record; nothing was written.
    """
    backup = at(path).plain(path)
    if backup["model"] != settings.model.name:
        raise InputError(f"{path}: model: it is a backup of {backup['model']}, and this is {settings.model.name}")
    known = {each.environment: each for each in everywhere(settings)}
    for saved in backup["ledgers"]:
        if saved["environment"] not in known:
            what = f"environment {saved['environment']}" if saved["environment"] else "a single place"
            raise InputError(f"{path}: ledgers: it has {what}, which pipeline.yaml has not")
    said: list[str] = []
    with ExitStack() as held:
        todo: list[Callable[[], None]] = []
        for saved in backup["ledgers"]:
            each = known[saved["environment"]]
            place = places.look(each) if dry_run else held.enter_context(places.locked(each))
            there = _readable(place.ledger)
            said.append(f"{place.name}: {_decided(place.name, there, saved['releases'], 'release')}")
            if there != saved["releases"]:
                todo.append(_writer(place.ledger, saved))
        history = _history(settings)
        there = history.plain_all()
        said.append(f"history: {_decided('the history', there, backup['history'], 'build')}")
        if there != backup["history"]:
            todo.append(lambda: workspace.write_text(history.path, history.text(backup["history"])))
        if not dry_run:
            for write in todo:
                write()
        if monitoring := at(path).read(path).monitoring:
            said.append(f"monitoring: {remember(monitoring)}")
    return said


def _require_ours(settings: Settings, path: Path) -> None:
    """Make sure that a file that is there may be replaced.

    Raises:
        InputError: it is no backup, or one of another model.
    """
    if not path.exists():
        return
    try:
        model = at(path).plain(path)["model"]
    except (InputError, StageError) as error:
        raise InputError(
            f"{path} is there, and is no backup that could be replaced: name another file ({error})"
        ) from None
    if model != settings.model.name:
        raise InputError(f"{path} is a backup of {model}, and this is {settings.model.name}: name another file")


def everywhere(settings: Settings) -> list[Settings]:
    """Return the settings for each place where the model serves."""
    return [settings.at(name) for name in settings.environments] or [settings]


def newer(there: Sequence[Json], saved: Sequence[Json]) -> str | None:
    """Return why what is there must not be replaced, None if the backup has all of it.

    Args:
        there: releases or builds, the oldest first.
        saved: the same in the backup.
    """
    if not there:
        return None
    last, end = there[-1], saved[-1] if saved else None
    if end is None or last["time"] > end["time"]:
        ends = f"at {end['time']}" if end else "before it begins"
        return f"what is there goes on to {last['time']}, and the backup ends {ends}"
    first = saved[0]["time"]
    if lacking := [each for each in there if each["time"] >= first and each not in saved]:
        return f"what is there is another record: the backup does not have that of {lacking[0]['time']}"
    return None


def _decided(where: str, there: Sequence[Json], saved: Sequence[Json], what: str) -> str:
    if there == saved:
        return f"as in the backup: {len(saved)} {what}s"
    if why := newer(there, saved):
        raise StageError(f"nothing was restored: {where}: {why}")
    return f"{len(saved)} {what}s in the place of {len(there)}"


def _readable(ledger: Ledger) -> list[Release]:
    """Return what is recorded, nothing if the record is gone or damaged: it is what a backup is for."""
    try:
        return ledger.read()
    except StageError as error:
        print(f"restore: {error}")
        return []


def _writer(ledger: Ledger, saved: Json) -> Callable[[], None]:
    def write() -> None:
        for digest, files in saved["evidence"].items():
            ledger.keep(digest, files)
        ledger.restore(saved["releases"])

    return write


def _evidence(ledger: Ledger, digest: str) -> dict[str, str]:
    """Return the evidence of an image; nothing if it was deleted, as `scripts.prune` does in time."""
    try:
        folder = ledger.evidence(digest)
    except StageError:
        return {}
    return {path.name: reading.text(path) for path in sorted(folder.glob("*")) if path.is_file()}


def _history(settings: Settings) -> Lines[Record]:
    return Lines(Path(settings.history.folder) / "builds.jsonl", Record, most=64 * 2**20)
