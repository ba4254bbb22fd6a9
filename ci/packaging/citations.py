"""The task's words for the model card: Markdown in which `{{ cite(…) }}` stands for a value of the build.

Nothing else is allowed between braces, so the text cannot run code or grow: a citation is a file and keys.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ci.errors import InputError

MOST = 1 << 18
"""Size of the task's words at most; bytes."""
_CITATIONS = 1000
"""Citations in them at most."""
_STRING = r"""(?:"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')"""
_VALUE = rf"(?:{_STRING}|-?[0-9]{{1,9}}(?![0-9]))"
_CITE = re.compile(
    rf"\{{\{{\s*cite\s*\(\s*(?P<values>{_VALUE}(?:\s*,\s*{_VALUE})*)"
    rf"(?:\s*,\s*form\s*=\s*(?P<form>{_STRING}))?\s*,?\s*\)\s*\}}\}}"
)
_BEGIN = re.compile(r"\{[{%#]")
_HOW = 'write {{ cite("FILE", "KEY") }}, or {{ cite("FILE", "KEY", form="{:.2f}") }}'


@dataclass(frozen=True)
class Citation:
    """What the task's words cite."""

    file: str
    keys: tuple[str | int, ...]
    form: str
    line: int
    """Where it stands, counted from 1."""
    lines: int
    """Line ends in it."""


def parse(text: str, name: str) -> Iterator[str | Citation]:
    """Yield the parts of a text in order: Markdown as it is, and citations. A comment, `{# … #}`, is left out.

    Args:
        text: the task's words.
        name: the file that they came from, for messages.

    Raises:
        InputError: braces hold no citation, or there are too many; names file and line.
    """
    at = count = 0
    while found := _BEGIN.search(text, at):
        yield text[at : found.start()]
        line = text.count("\n", 0, found.start()) + 1
        if found[0] == "{#":
            end = text.find("#}", found.end())
            if end < 0:
                raise InputError(f"{name}:{line}: this comment has no end: write `#}}` behind it")
            at = end + 2
            yield "\n" * text.count("\n", found.start(), at)
            continue
        cited = _CITE.match(text, found.start())
        if not cited:
            shown = ascii(" ".join(text[found.start() : found.start() + 60].split()))
            raise InputError(f"{name}:{line}: {shown} is no citation, the only thing that braces may hold: {_HOW}")
        count += 1
        if count > _CITATIONS:
            raise InputError(f"{name}:{line}: it has more than {_CITATIONS:,} citations")
        file, *keys = (_value(value) for value in re.findall(_VALUE, cited["values"]))
        if not isinstance(file, str):
            raise InputError(f"{name}:{line}: cite({file}, …) names no file: {_HOW}")
        form = str(_value(cited["form"])) if cited["form"] else "{}"
        yield Citation(file, tuple(keys), form, line, cited[0].count("\n"))
        at = cited.end()
    yield text[at:]


def _value(text: str) -> str | int:
    """Return a text in quotes, in which a backslash stands before a quote or a backslash, or a whole number."""
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[0] in "\"'" else int(text)
