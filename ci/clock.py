"""The time: that of this machine's clock, or the one that a replay of the past names."""

import os
from datetime import UTC, datetime

from ci.errors import InputError

NOW = "PIPELINE_NOW"
"""Variable with the time that monitor, labels, retrain and report take for now; it moves nothing else."""


def now() -> datetime:
    """Return the time in whole seconds, in UTC.

    Raises:
        InputError: the variable holds no time with a zone.
    """
    text = os.environ.get(NOW)
    if not text:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        named = datetime.fromisoformat(text)
    except ValueError:
        named = None
    if named is None or named.tzinfo is None:
        raise InputError(f"{NOW}: {text[:50]} is no time with a zone: give one such as 2013-04-08T01:00:00+00:00")
    return named.astimezone(UTC).replace(microsecond=0)
