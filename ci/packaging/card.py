"""The model card: the task's own words and the build's evidence, and no number without the file it came from.

Both the task's `model/card.md` and the template beside this file cite: `{{ cite(FILE, KEY, ...) }}` stands for a value
in a stage's JSON result or for a text that occurs in a file of the task. A cited value is marked while the card is
rendered; a number that is not marked has no source, and there is no card.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci import lineage, workspace
from ci.errors import InputError

TEMPLATE = Path(__file__).parent / "templates" / "card.md"
HEADINGS = ("## Intended use", "## Limits")
"""What the task's text must have."""
_OPEN, _CLOSE = "\ue000", "\ue001"
_CITED = re.compile(f"{_OPEN}(.*?){_CLOSE}", re.DOTALL)
_NUMBER = re.compile(r"(?<!\w)\d[\d.,]*")
_EXPRESSION = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)


@dataclass
class Evidence:
    """What may be cited: results of the stages, and files of the task."""

    where: Callable[[str], Path]
    """From a name such as `build/model/training.json` to where the file is now."""
    sources: list[str] = field(default_factory=list)
    """Files cited so far, in the order of their numbers."""
    issued: set[str] = field(default_factory=set)
    """Every citation as it was marked; what else bears marks was made from them, or by hand."""

    def value(self, file: str, *keys: str | int) -> Any:
        """Return what a stage's JSON result has at these keys.

        Raises:
            InputError: there is no such key, or no such file.
        """
        found = workspace.read_json(self.where(file))
        for depth, key in enumerate(keys):
            try:
                found = found[key]
            except (KeyError, IndexError, TypeError):
                raise InputError(
                    f"{file} has no {'.'.join(map(str, keys[: depth + 1]))}, which the card cites"
                ) from None
        return found

    def cite(self, file: str, *keys: str | int, form: str = "{}") -> str:
        """Return a value, or a text that occurs in a file that is not JSON, marked with the file it came from.

        `{}` in the form stands for the value, `{key}` for the last key.
        """
        if not keys:
            raise InputError(f"cite({file!r}) names no value: add its key, or the text that occurs in the file")
        if file.endswith(".json"):
            if _has_number(re.sub(r"\{[^{}]*\}", "", form)):
                raise InputError(f"cite({file!r}, …, form={form!r}): a form may have no number of its own")
            text = form.format(self.value(file, *keys), key=keys[-1])
        else:
            text = str(keys[0])
            content = workspace.require(self.where(file)).read_text(encoding="utf-8")
            if not re.search(rf"(?<![\w.,]){re.escape(text)}(?![\w]|[.,]\d)", content):
                raise InputError(f"{text!r} does not occur in {file}, which the card cites for it")
        if file not in self.sources:
            self.sources.append(file)
        self.issued.add(f"{self.sources.index(file)}{_OPEN}{text}")
        return f"{_OPEN}{self.sources.index(file)}{_OPEN}{text}{_CLOSE}"


def render(task_text: str, name: str, where: Callable[[str], Path]) -> str:
    """Return the card in Markdown.

    Args:
        task_text: what the task says about itself, with citations.
        name: the file it came from, for messages.
        where: from a cited file's name to where it is.

    Raises:
        InputError: a heading is missing, a citation finds nothing, or a number has no source; names file and line.
    """
    import jinja2

    if missing := [heading for heading in HEADINGS if heading not in task_text]:
        raise InputError(f"{name}: it needs {' and '.join(missing)}: what the model is for, and not")
    if _OPEN in task_text or _CLOSE in task_text:
        raise InputError(f"{name}: it has a character of the private use area, which marks citations here: remove it")
    for number, line in _unsourced(_EXPRESSION.sub(lambda found: "\n" * found[0].count("\n"), task_text)):
        raise InputError(
            f'{name}:{line}: the number {number} has no source: write it as {{{{ cite("FILE", "KEY") }}}}, or in words'
        )
    evidence = Evidence(where)
    environment = jinja2.Environment(  # noqa: S701 - Markdown, from files of this repository
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.globals.update(cite=evidence.cite, value=evidence.value)
    try:
        about = environment.from_string(task_text).render()
        text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(about=about)
    except InputError as error:
        raise InputError(f"{name}{_line(error)}: {error}") from None
    except (jinja2.TemplateError, ArithmeticError, TypeError, ValueError, LookupError, OSError) as error:
        raise InputError(f"{name}{_line(error)}: {error}") from None
    if forged := {found for found in _CITED.findall(text) if found not in evidence.issued}:
        raise InputError(f"{name}: a citation was changed after it was read: {sorted(forged)[0].split(_OPEN)[-1]}")
    if joined := re.search(f"[\\w.,]{_OPEN}\\d+{_OPEN}\\d|\\d{_CLOSE}[\\w{_OPEN}]", text):
        shown = re.sub(f"{_OPEN}(\\d+{_OPEN})?|{_CLOSE}", "", text[max(0, joined.start() - 20) : joined.end() + 20])
        raise InputError(f"{name}: a cited number touches other text: put a space between: …{shown.strip()}…")
    for number, _ in _unsourced(_CITED.sub("", text)):
        raise InputError(f"{name}: the card shows the number {number}, which was computed and has no source: cite it")
    lines = [_with_sources(line) for line in text.splitlines()]
    notes = [f"[^{n}]: `{file}` {lineage.file_digest(where(file))}" for n, file in enumerate(evidence.sources, 1)]
    return "\n".join([*lines, *notes, ""])


def _line(error: BaseException) -> str:
    """Return `:LINE` of the template where an error came from, or nothing if it is not known."""
    line, frame = getattr(error, "lineno", None), error.__traceback__
    while line is None and frame is not None:
        line = frame.tb_lineno if frame.tb_frame.f_code.co_filename == "<template>" else None
        frame = frame.tb_next
    return f":{line}" if line else ""


def _has_number(text: str) -> bool:
    return any(unicodedata.category(character).startswith("N") for character in text)


def _unsourced(text: str) -> Iterator[tuple[str, int]]:
    for line, content in enumerate(text.splitlines(), start=1):
        for found in _NUMBER.finditer(content):
            yield found[0].rstrip(".,"), line
        for character in content:  # fractions, superscripts, Roman numerals: numbers without digits
            if unicodedata.category(character) in ("No", "Nl"):
                yield character, line


def _with_sources(line: str) -> str:
    """Return a line with the notes of what it cites behind it, or in the last cell of its table row."""
    cited = [found.split(_OPEN) for found in _CITED.findall(line)]
    if not cited:
        return line
    notes = "".join(f"[^{int(index) + 1}]" for index in dict.fromkeys(index for index, _ in cited))
    plain = _CITED.sub(lambda found: found[1].split(_OPEN)[1], line)
    return f"{plain[:-1].rstrip()} {notes} |" if plain.endswith("|") else f"{plain}{notes}"
