"""Results of the report: its summary, the digests of its pictures, and the history of builds."""

import hashlib
import json
from datetime import datetime
from typing import Literal

from pydantic import model_validator

from ci import workspace
from ci.results.evaluation import Interval, Measured
from ci.results.file import Count, Day, File, Result


class Standing(Result):
    """How a stage ended, in a word and a fact."""

    state: Literal["done", "attention", "failed", "stale", "missing"]
    fact: str


class Summary(Result):
    """What was decided, what serves, and how each stage ended."""

    headline: str
    verdict: Literal["promote", "keep", "block"] | None
    serving: str
    stages: dict[str, Standing]


class Record(Result):
    """A finished build: when, from what, how good, what was decided and why."""

    time: datetime
    commit: str | None
    as_of: Day
    model: str
    version: str
    digests: dict[str, str]
    primary: str
    metrics: dict[str, Interval]
    verdict: str
    reason: str
    gain: Measured
    release: Count | None

    @model_validator(mode="after")
    def _measured(self) -> "Record":
        if self.primary not in self.metrics:
            raise ValueError(f"metrics has no {self.primary}, which is the primary one")
        return self

    @property
    def identity(self) -> str:
        """A digest of what makes a build another one: commit, digests and verdict."""
        content = json.dumps([self.commit, self.digests, self.verdict], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


SUMMARY: File[Summary] = File(workspace.REPORT / "summary.json", Summary)
PICTURES: File[dict[str, str]] = File(workspace.REPORT / "pictures.json", dict[str, str])
"""By file name, the digest of all that determines a picture."""
