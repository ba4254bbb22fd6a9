"""A backup: what was released in each place, with the evidence, and the history of builds."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ci.results.file import Digest, File, Many, Result
from ci.results.report import Record
from ci.results.rollout import Release
from ci.settings import EnvironmentName, Name


class Saved(Result):
    """The ledger of one place."""

    environment: EnvironmentName | None
    """None where there is one place only."""
    releases: Many[Release]
    evidence: dict[Digest, dict[str, str]]
    """By image, the text of each file."""


class Backup(Result):
    """All of it."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    model: Name
    time: datetime
    ledgers: Many[Saved]
    history: Many[Record]


def at(path: Path) -> File[Backup]:
    """Return the backup in a file of this name."""
    return File(path, Backup, most=2**30)
