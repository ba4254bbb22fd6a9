"""Whether what the settings name to be dropped, or as bound to the season, fits what `model/` declares."""

import re
from pathlib import Path

from ci.errors import InputError
from ci.settings.watching import Monitoring
from ci.task import Task

_PART = re.compile(r" \([a-z ]+\)")
"""What a watched column is called after its field's name, such as ` (mean)`."""


def require(settings: Monitoring, wanted: Task, file: Path) -> None:
    """Check the names in the settings.

    Args:
        settings: what they are in.
        wanted: the task.
        file: of the settings, for messages.

    Raises:
        InputError: an output would be dropped, so that no answer could be judged; or no feature has a name.
    """
    outputs = {output.name for output in wanted.outputs}
    if taken := [name for name in settings.drop if name in outputs]:
        raise InputError(
            f"{file}: monitoring.drop: {taken[0]} is what the model predicts: without it no answer can be watched; "
            "remove it from the list"
        )
    known = [*wanted.features, *wanted.summaries]
    if odd := [name for name in settings.season if name not in known and _PART.sub("", name) not in known]:
        raise InputError(
            f"{file}: monitoring.season: {odd[0]} is no feature of the task in model/: name one of {', '.join(known)}"
        )
