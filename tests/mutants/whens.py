"""Changes of the Jenkinsfile, which no tool makes: of each `when`, that is of whether a stage runs, one at a time.

A `when` and each of its conditions stand on lines of their own.
"""

import re
from collections.abc import Iterator

_BLOCK = re.compile(r"^( *)when \{\n(.*?)^\1\}\n", re.MULTILINE | re.DOTALL)
_ORDER = ("beforeOptions", "beforeAgent")
"""Not whether a stage runs, but whether it waits for its pod and its lock before that is known."""


def changed(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Yield each change as the line's number, the line, what replaces it, and the whole text with the change.

    Every `when` is taken away whole; each of its conditions is taken away, and turned round.
    """
    for block in _BLOCK.finditer(text):
        yield _replaced(text, block.start(), block.group(0), "")
        at = block.start(2)
        for line in block.group(2).splitlines(keepends=True):
            for other in ("", *_opposite(line.strip())):
                yield _replaced(text, at, line, line.replace(line.strip(), other) if other else "")
            at += len(line)


def _replaced(text: str, at: int, before: str, after: str) -> tuple[int, str, str, str]:
    whole = text[:at] + after + text[at + len(before) :]
    return text[:at].count("\n") + 1, before.strip().splitlines()[0], after.strip(), whole


def _opposite(condition: str) -> list[str]:
    if condition.startswith(_ORDER):
        return [condition.replace("true", "false")]
    if inner := re.fullmatch(r"not \{ (.*) \}", condition):
        return [inner.group(1)]
    return [f"not {{ {condition} }}"]
