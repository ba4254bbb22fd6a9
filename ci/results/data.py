"""Results of the prepare stage."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ci import workspace
from ci.results.file import Count, Day, File, Many, Real, Result

Part = Literal["train", "validation", "holdout", "traffic"]
Share = Annotated[Real, Field(ge=0, le=1)]


class Window(Result):
    """Days from `first` up to but not including `end`."""

    first: Day
    end: Day

    def __str__(self) -> str:
        """Name the first and the last day."""
        return f"{self.first} to {self.end - timedelta(days=1)}" if self.end > self.first else "no days"


class Rows(Result):
    """What the data source holds; rows."""

    rows: Count
    unlabelled: Count


class Windows(Result):
    """Which days are for what."""

    training: Window
    holdout: Window
    traffic: Window


class Summary(Result):
    """The data by part: rows, days, rows without a label, and the mean of each target, or the share of each class.

    Windows and days are none where the task has no days; `split` says how its rows were divided then.
    """

    as_of: Day
    fingerprint: str
    windows: Windows | None
    rows: dict[Part, Count]
    days: dict[Part, Count]
    unlabelled: dict[Part, Count]
    target: dict[Part, dict[str, Real]]
    split: str = ""
    source: Rows
    notes: Many[str]


class Column(Result):
    """One column of the schema report; type and missing share are None if the data do not have it."""

    type: str | None
    missing: Share | None
    checks: Many[str]


class Violation(Result):
    """One check that does not hold; rows and share are None where it judges a column as a whole."""

    column: str | None
    check: str
    rows: Count | None
    share: Share | None
    fatal: bool
    examples: Many[str]


class Schema(Result):
    """What was checked of the data, and what was found."""

    rows: Count
    columns: dict[str, Column]
    changes: Many[str] = Field(default_factory=list)
    violations: Many[Violation]


class Distribution(Result):
    """How a column was distributed, in bins of numbers or by category; see `ci.data.reference`."""

    type: str = ""
    digits: Annotated[int, Field(ge=1, le=17)] = 17
    edges: list[Real] = Field(default_factory=list)
    values: list[Real] = Field(default_factory=list)
    categories: list[str] = Field(default_factory=list)
    rest: list[str] = Field(default_factory=lambda: ["other values"])
    seen: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{5462}==$")] = ""
    words: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{10923}=$")] = ""
    rows: Count
    shares: Many[Share]

    @model_validator(mode="after")
    def _fits(self) -> "Distribution":
        numbers = "edges" in self.model_fields_set
        if numbers is ("categories" in self.model_fields_set):
            raise ValueError("it must have either edges or categories")
        wanted = len(self.edges) + len(self.values) + 2 if numbers else len(self.categories) + len(self.rest)
        if len(self.shares) != wanted:
            raise ValueError(f"it has {len(self.shares)} shares for {wanted} bins")
        if len(set(self.categories)) < len(self.categories):
            raise ValueError("it names a category twice")
        if "seen" in self.model_fields_set and len(self.rest) < 3:
            raise ValueError("where it has seen, rest names three bins at least: rare values, new ones and missing")
        return self


SUMMARY: File[Summary] = File(workspace.DATA / "summary.json", Summary)
SCHEMA: File[Schema] = File(workspace.DATA / "schema.json", Schema)
REFERENCE: File[dict[str, Distribution]] = File(workspace.DATA / "reference.json", dict[str, Distribution])
"""Of the training rows, by feature."""
