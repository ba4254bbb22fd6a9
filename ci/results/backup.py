"""A backup: what was released in each place, with the evidence, and the history of builds."""

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Base64Bytes, Field, field_validator
from pydantic_core import PydanticCustomError

from ci.results.file import Digest, File, Many, Result
from ci.results.monitoring import Attempt, Labels, Watched
from ci.results.report import Record
from ci.results.rollout import Release
from ci.settings.kinds import EnvironmentName, Name

FileName = Annotated[str, Field(pattern=r"^\w[\w.-]{0,99}$")]
"""It is written below the folder of its image, and nowhere else."""


class Saved(Result):
    """The ledger of one place."""

    environment: EnvironmentName | None
    """None where there is one place only."""
    releases: Many[Release]
    evidence: dict[Digest, dict[FileName, str]]
    """By image, the text of each file."""

    @field_validator("releases")
    @classmethod
    def _in_order(cls, found: list[Release]) -> list[Release]:
        numbers = [0, *(each.release for each in found)]
        if any(after <= before for before, after in pairwise(numbers)):
            raise _wrong("their numbers are not in order")
        return found


DayFile = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\.parquet$")]
"""Requests of a day."""


class Remembered(Result):
    """What monitoring remembers: windows, retrainings that were asked for, labels, and requests with their outcomes."""

    watched: Many[Watched]
    retrainings: Many[Attempt]
    labels: Labels | None
    requests: dict[DayFile, Base64Bytes]


class Backup(Result):
    """All of it."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    model: Name
    time: datetime
    ledgers: Many[Saved]
    history: Many[Record]
    monitoring: Remembered | None = None
    """None in backups that were made before monitoring remembered anything."""

    @field_validator("ledgers")
    @classmethod
    def _once(cls, found: list[Saved]) -> list[Saved]:
        names = [each.environment for each in found]
        if len(set(names)) < len(names):
            raise _wrong(f"an environment is in it twice: {', '.join(map(str, names))}")
        return found


def _wrong(why: str) -> PydanticCustomError:
    return PydanticCustomError("value_error", "{why}", {"why": why})


def at(path: Path) -> File[Backup]:
    """Return the backup in a file of this name."""
    return File(path, Backup, most=2**30)
