"""Results about the build as a whole: what it is made from, what it is compared with, and which stages ran."""

from typing import Annotated

from pydantic import Field, JsonValue

from ci import workspace
from ci.results.file import Count, Day, Digest, File, Many, Result, Version


class Source(Result):
    """The data source: its path and a digest of its content; None for the data that the task ships with.

    And the digest of pretrained weights; None if there are none.
    """

    source: str | None
    digest: str | None
    weights: str | None = None


class Champion(Result):
    """What served before this build."""

    digest: Digest
    version: Version
    as_of: Day
    release: Count


Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
"""What names a commit: its digest in full, by SHA-1 or SHA-256."""


class Cached(Result):
    """Commit and settings of the last build whose cached stages ended well."""

    commit: Commit | None
    settings: dict[str, JsonValue]


class Handoff(Result):
    """What a pod gets of the pods before it as text: data, models and images travel by other ways."""

    commit: Commit
    files: dict[str, str]
    """By path in the repository's folder, the text of a file."""


SOURCE: File[Source] = File(workspace.SOURCE, Source)
OVERRIDES: File[list[str]] = File(workspace.OVERRIDES, Many[str])
RUNS: File[dict[str, str]] = File(workspace.RUNS, dict[str, str])
"""Why each cached stage was run in this build, or was not."""
CHAMPION: File[Champion | None] = File(workspace.CHAMPION, Champion | None)
"""The champion; None if nothing served."""
AGENT: File[dict[str, JsonValue]] = File(workspace.AGENT, dict[str, JsonValue])
"""The pod that trains, as Kubernetes understands it."""
TUNING_JOB: File[dict[str, JsonValue]] = File(workspace.TUNING_JOB, dict[str, JsonValue])
"""The Job that tunes on a cluster, all but its name and what it works on."""
HANDOFF: File[Handoff] = File(workspace.HANDOFF, Handoff)
CACHED: File[Cached] = File(workspace.STATE / "cached.json", Cached)
