"""From one structure of pipeline.yaml to the next: `schema_version` counts them.

A step takes a file's text and not its values, so that comments and order stay. When a key gets another name or meaning,
raise `NEWEST`, add the step from the version before, and test it with a file of that version.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ci import reading_yaml
from ci.errors import InputError

NEWEST = 1
"""The structure that this code reads."""
Step = Callable[[str], str]
STEPS: dict[int, Step] = {}
"""By version, what makes a text of it one of the next version, but for `schema_version` itself."""
_VERSION = re.compile(r"(?m)^schema_version:[ \t]*(\d+)")


def problem(version: Any) -> str | None:
    """Return why settings of this version cannot be read; None if they can, or if it is no version at all."""
    if type(version) is not int or version == NEWEST:
        return None
    if 0 <= version < NEWEST:
        return f"{version} is of an older structure: `python -m scripts.configure --migrate` makes it {NEWEST}"
    return f"{version} is not known here, where the newest is {NEWEST}"


def migrate(text: str, path: Path, steps: Mapping[int, Step] = STEPS, newest: int = NEWEST) -> str:
    """Return a settings file's text in the newest structure.

    Raises:
        InputError: it is not YAML, has no `schema_version` in a line of its own, or one without a way to the newest.
    """
    reading_yaml.parse(text, path)
    found = _VERSION.search(text)
    if not found:
        raise InputError(f"{path}: schema_version: give it a line of its own, such as `schema_version: {newest}`")
    version = int(found[1])
    if not all(each in steps for each in range(version, newest)) or not 0 <= version <= newest:
        raise InputError(f"{path}: schema_version: there is no way from {version} to {newest}")
    for each in range(version, newest):
        text = _VERSION.sub(f"schema_version: {each + 1}", steps[each](text), count=1)
    return text


def difference(before: str, after: str, path: Path) -> str:
    """Return what changes in a file, as `diff -u` shows it."""
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), f"{path}", f"{path}, migrated")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
