"""The model card: the task's own text and the build's evidence. Every number names the file that it came from.

Both the task's `model/card.md` and the template beside this file cite: `{{ cite(FILE, KEY, ...) }}` stands for a value
in a stage's JSON result or for a text that occurs in a file of the task. A cited value is marked while the card is
rendered; a number that is not marked has no source, and there is no card. The template is ours; the task's words are
not one, see `ci.packaging.citations`.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ci import lineage, reading, stages
from ci.errors import InputError
from ci.packaging import citations

TEMPLATE = Path(__file__).parent / "templates" / "card.md"
HEADINGS = ("## Intended use", "## Limits")
"""What the task's text must have."""
_OPEN, _CLOSE = "\ue000", "\ue001"
_CITED = re.compile(f"{_OPEN}(.*?){_CLOSE}", re.DOTALL)
_NUMBER = re.compile(r"(?<!\w)\d[\d.,]*")
_PLACE = r"\{(?:key)?(?::[-+ ]?,?(?:\.[0-9]{1,2})?[deEfFgG%]?)?\}"
"""The places for the value in a form: sign, thousands and decimals may be given, but no width and no attribute."""
_FORM = re.compile(rf"(?:[^{{}}]|{_PLACE})*")
_LONGEST = 10_000
"""Length of a cited text at most; characters."""

_COLUMNS = 8
"""Columns of means and shares from which they are left out of the table of parts."""
_ROWS = 200
"""Classes from which no table has a row for each."""
_SAID = 400
"""Length of what is said of a citation at most; characters."""


@dataclass
class Evidence:
    """What may be cited: results of the stages, and files of the task."""

    where: Callable[[str], Path]
    """From a name such as `build/model/training.json` to where the file is now."""
    sources: list[str] = field(default_factory=list)
    """Files cited so far, in the order of their numbers."""
    _read: dict[str, Any] = field(default_factory=dict)
    """What the files hold."""

    def value(self, file: str, *keys: str | int) -> Any:
        """Return what a stage's JSON result has at these keys.

        Raises:
            InputError: there is no such key, or no such file.
        """
        if file not in self._read:
            self._read[file] = stages.read_json(self._path(file))
        found = self._read[file]
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

        Raises:
            InputError: there is no such value or text, or it cannot be shown in this form.
        """
        if not keys:
            raise InputError(f"cite({file!r}) names no value: add its key, or the text that occurs in the file")
        if file.endswith(".json"):
            text = _shown(file, keys, self.value(file, *keys), form)
        else:
            text = str(keys[0])
            if file not in self._read:
                self._read[file] = reading.text(stages.require(self._path(file)))
            if not re.search(rf"(?<![\w.,]){re.escape(text)}(?![\w]|[.,]\d)", self._read[file]):
                raise InputError(f"{text!r} does not occur in {file}, which the card cites for it")
        if file not in self.sources:
            self.sources.append(file)
        return f"{_OPEN}{self.sources.index(file)}{_OPEN}{text}{_CLOSE}"

    def _path(self, file: str) -> Path:
        if not file or "\0" in file or file.startswith("/") or ".." in PurePosixPath(file).parts:
            raise InputError(f"cite({file!r}, …): a card cites files of this folder only: results and the task's own")
        return self.where(file)


def _shown(file: str, keys: tuple[str | int, ...], value: Any, form: str) -> str:
    """Return a cited value as its form shows it, on one line.

    Raises:
        InputError: the form has a number of its own or more than places for the value, or the value does not fit.
    """
    if not _FORM.fullmatch(form):
        raise InputError(
            f"cite({file!r}, …, form={form!r}): a form shows the value as {{}} or with a format such as {{:,}}, "
            f"{{:.2f}}, {{:.1%}}, and the last key as {{key}}; braces have no other meaning"
        )
    if _has_number(re.sub(_PLACE, "", form)):
        raise InputError(f"cite({file!r}, …, form={form!r}): a form may have no number of its own")
    name = f"{file}: {'.'.join(map(str, keys))}"
    if isinstance(value, (dict, list)):
        raise InputError(f"{name} is no single value, which the card cites: add a key")
    try:
        text = form.format(value, key=keys[-1])
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{name} is {value!r:.50}, which the form {form!r} cannot show: {error}") from None
    if len(text) > _LONGEST or _OPEN in text or _CLOSE in text:
        raise InputError(f"{name} is longer than {_LONGEST:,} characters or has one that marks citations here")
    return "".join(" " if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character for character in text)


def checked(task_text: str, name: str) -> tuple[str, list[str | citations.Citation]]:
    """Return the task's words with line ends as they should be, and their parts.

    Args:
        task_text: what the task says about itself, with citations.
        name: the file it came from, for messages.

    Raises:
        InputError: a heading is missing, braces hold no citation, or a number has no source; names file and line.
    """
    if len(task_text.encode(errors="replace")) > citations.MOST:
        raise InputError(f"{name}: it has more than {citations.MOST:,} bytes")
    task_text = task_text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if missing := [heading for heading in HEADINGS if heading not in task_text]:
        raise InputError(f"{name}: it needs {' and '.join(missing)}: what the model is for, and not")
    if _OPEN in task_text or _CLOSE in task_text:
        raise InputError(f"{name}: it has a character of the private use area, which marks citations here: remove it")
    parts = list(citations.parse(task_text, name))
    for number, line in _unsourced("".join(part if isinstance(part, str) else "\n" * part.lines for part in parts)):
        raise InputError(
            f'{name}:{line}: the number {number} has no source: write it as {{{{ cite("FILE", "KEY") }}}}, or in words'
        )
    return task_text, parts


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

    task_text, parts = checked(task_text, name)
    evidence = Evidence(where)
    about = "".join(part if isinstance(part, str) else _cited(evidence, part, name) for part in parts)
    environment = jinja2.Environment(  # noqa: S701 - Markdown, from the template of this repository
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.globals.update(cite=evidence.cite, value=evidence.value, few_columns=_COLUMNS, few_rows=_ROWS)
    try:
        text = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(about=about)
    except (jinja2.TemplateError, TypeError, ValueError, LookupError) as error:
        raise InputError(
            f"the build's results do not fill the model card ({TEMPLATE.name}{_line(error)}): {error}"
        ) from None
    if joined := re.search(f"[\\w.,]{_OPEN}\\d+{_OPEN}\\d|\\d{_CLOSE}[\\w{_OPEN}]", text):
        shown = re.sub(f"{_OPEN}(\\d+{_OPEN})?|{_CLOSE}", "", text[max(0, joined.start() - 20) : joined.end() + 20])
        raise InputError(f"{name}: a cited number touches other text: put a space between: …{shown.strip()}…")
    for number, _ in _unsourced(_CITED.sub("", text)):
        raise InputError(f"{name}: the card shows the number {number}, which was computed and has no source: cite it")
    lines = [_with_sources(line) for line in text.splitlines()]
    notes = [f"[^{n}]: `{file}` {lineage.file_digest(where(file))}" for n, file in enumerate(evidence.sources, 1)]
    return "\n".join([*lines, *notes, ""])


def _cited(evidence: Evidence, citation: citations.Citation, name: str) -> str:
    try:
        return evidence.cite(citation.file, *citation.keys, form=citation.form)
    except (InputError, OSError) as error:
        said = "".join(character if character.isprintable() else "?" for character in str(error))
        if len(said) > _SAID:
            said = f"{said[: _SAID // 2]} … {said[-_SAID // 2 :]}"
        raise InputError(f"{name}:{citation.line}: {said}") from None


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
    escaped = (lambda text: text.replace("|", "\\|")) if line.startswith("|") else str
    plain = _CITED.sub(lambda found: escaped(found[1].split(_OPEN)[1]), line)
    return f"{plain[:-1].rstrip()} {notes} |" if plain.endswith("|") else f"{plain}{notes}"
