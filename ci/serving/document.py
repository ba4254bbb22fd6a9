"""JSON as TensorFlow Serving reads and prints it: RapidJSON with the server's flags.

Python's own parser reads what both accept, and is fast. Where it refuses, or could differ, the parser below decides: it
nests without limit, takes `Inf` and `-NaN`, refuses numbers that no double holds, and says what is wrong, mostly in
RapidJSON's words (https://rapidjson.org/md_doc_dom.html#ParseError). Both stop where the document ends.
"""

import json
import math
import re
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

_SHOWN = 256
"""Bytes after which a value in a message is cut."""
_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:NaN|Inf(?:inity)?|(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?)")
_UNSURE = re.compile(r"\d{200}|[eE]\+?\d{3}|\\u[dD][89a-fA-F]")
"""Text that may be a number too large for a double, or half of a surrogate pair."""
_ESCAPE = re.compile(r"\\(?:u([dD][89abAB]..)\\u[dD][c-fC-F]..|u([dD][89a-fA-F]..)|.)", re.DOTALL)
"""An escape in a string: a whole pair of surrogates, one alone, or any other."""
_WORDS = {"null": None, "true": True, "false": False}
_COMMA = {dict: "Missing a comma or } after an object member.", list: "Missing a comma or ] after an array element."}


class Malformed(Exception):  # noqa: N818 - the request's state, not a fault of ours
    """The text is no JSON document; the message says what is wrong and at which character."""


def parse(text: str) -> Any:
    """Return the first JSON value of a text; what follows it does not matter.

    Raises:
        Malformed: there is none.
    """
    if not text:
        raise Malformed("The document is empty")
    if not _UNSURE.search(text):
        try:
            return json.JSONDecoder(object_pairs_hook=_first).raw_decode(text, _after_space(text, 0))[0]
        except (ValueError, RecursionError):
            pass
    return _Parser(text).value()


def shown(value: Any) -> str:
    """Return a value as messages show it: objects indented, arrays on one line, broken off after some 256 bytes."""
    parts: list[str] = []
    length, level, work = 0, 0, [("value", value)]
    while work and length < _SHOWN:
        kind, item = work.pop()
        if kind == "text":
            part = item
        elif kind == "level":
            level += item
            continue
        elif kind == "line":
            part = item + "\n" + "    " * level
        elif isinstance(item, dict) and item:
            part = "{"
            work.append(("text", "}"))
            work += [("line", ""), ("level", -1)]
            for number, (key, each) in reversed(list(enumerate(item.items()))):
                opened = ("line", "," if number else "")
                work += [("value", each), ("text", f"{json.dumps(key, ensure_ascii=False)}: "), opened]
            work.append(("level", 1))
        elif isinstance(item, list) and item:
            part = "["
            work += [("text", "]"), ("level", -1)]
            for number, each in reversed(list(enumerate(item))):
                work.append(("value", each))
                if number:
                    work.append(("text", ", "))
            work.append(("level", 1))
        elif isinstance(item, float) and not math.isfinite(item):
            break  # RapidJSON's writer refuses it, and so writes nothing more
        else:
            part = json.dumps(item, ensure_ascii=False)
        parts.append(part)
        length += len(part.encode(errors="surrogateescape"))
    return "".join(parts)


def _first(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; of two members with one name the server finds the first."""
    found = dict(members)
    if len(found) < len(members):
        found = {}
        for key, value in members:
            found.setdefault(key, value)
    return found


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


class _Parser:
    """One pass over a text, with the open objects and arrays in a list instead of on Python's stack."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, _after_space(text, 0)

    def value(self) -> Any:
        """Return the document."""
        if self.at == len(self.text):
            raise self._wrong("The document is empty.")
        root: list[Any] = []
        open_: list[Any] = [root]
        keys: list[str] = []
        while True:
            value = self._begin()
            into = open_[-1]
            if isinstance(into, dict):
                into.setdefault(keys.pop(), value)  # of two members with one name the server finds the first
            else:
                into.append(value)
            if isinstance(value, dict | list) and not self._closes(value):
                open_.append(value)
            else:
                while len(open_) > 1 and self._ends(open_[-1]):
                    open_.pop()
            if len(open_) == 1:
                return root[0]
            if isinstance(open_[-1], dict):
                keys.append(self._key())

    def _begin(self) -> Any:
        """Return the scalar that begins here, or a new object or array."""
        self.at = _after_space(self.text, self.at)
        first = self.text[self.at : self.at + 1]
        if first in ("{", "["):
            self.at += 1
            return {} if first == "{" else []
        if first == '"':
            return self._string()
        for word, value in _WORDS.items():
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return value
        match = _NUMBER.match(self.text, self.at)
        if match is None:
            raise self._wrong("Invalid value.")
        self.at = match.end()
        return self._number(match)

    def _number(self, match: re.Match[str]) -> float | int:
        text = match[0]
        if match[1] or match[2] or not text.lstrip("-").isdecimal():
            value = float(text)
            if math.isinf(value) and text[-1].isdecimal():
                raise self._wrong("Number too big to be stored in double.", match.start())
            return value
        if len(text) > 400 or math.isinf(float(text)):
            raise self._wrong("Number too big to be stored in double.", match.start())
        return int(text)

    def _string(self) -> str:
        begin = self.at
        try:
            value, self.at = scanstring(self.text, begin + 1, True)
        except json.JSONDecodeError as error:
            raise self._wrong("Invalid string.", error.pos) from None
        for escape in _ESCAPE.finditer(self.text, begin, self.at):
            if escape[2]:
                raise self._wrong("The surrogate pair in string is invalid.", escape.start())
        return str(value)

    def _key(self) -> str:
        """Return the name of the next member and pass its colon."""
        self.at = _after_space(self.text, self.at)
        if self.text[self.at : self.at + 1] != '"':
            raise self._wrong("Missing a name for object member.")
        key = self._string()
        self.at = _after_space(self.text, self.at)
        if self.text[self.at : self.at + 1] != ":":
            raise self._wrong("Missing a colon after a name of object member.")
        self.at += 1
        return key

    def _closes(self, value: dict[str, Any] | list[Any]) -> bool:
        """Whether an object or array that was just opened is empty; its end is passed."""
        self.at = _after_space(self.text, self.at)
        if self.text[self.at : self.at + 1] != ("}" if isinstance(value, dict) else "]"):
            if isinstance(value, dict) and self.text[self.at : self.at + 1] != '"':
                raise self._wrong("Missing a name for object member.")
            return False
        self.at += 1
        return True

    def _ends(self, value: dict[str, Any] | list[Any]) -> bool:
        """Whether an object or array ends after the member just read; its end or the comma is passed."""
        self.at = _after_space(self.text, self.at)
        found = self.text[self.at : self.at + 1]
        if found not in (",", "}" if isinstance(value, dict) else "]"):
            raise self._wrong(_COMMA[type(value)])
        self.at += 1
        return found != ","

    def _wrong(self, what: str, at: int | None = None) -> Malformed:
        return Malformed(f"{what} at offset: {self.at if at is None else at}")
