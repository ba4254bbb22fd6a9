"""Reading settings: YAML with line numbers, overrides, and errors that name file, line, key and the fix."""

import difflib
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ci import migration, reading, reading_yaml, stages, workspace
from ci.errors import InputError
from ci.reading_yaml import Key
from ci.settings import Settings

_DEEPEST = 16
"""Parts that the key of an override may have; no setting has as many."""
_TOLD = 10
"""Wrong keys that messages name one by one; further ones are only counted."""
_SHOWN = 200
"""Characters that are shown of a key or a value."""
_REPR = reprlib.Repr()
"""Writes the beginning of a value, however large and deep the value is."""
_REPR.maxstring = _REPR.maxother = _SHOWN


def read(path: Path, overrides: Iterable[str] = ()) -> Settings:
    """Read settings from a YAML file and apply `key=value` overrides in order.

    Raises:
        InputError: the file is missing, is not YAML or has a wrong value, or an override has.
    """
    values, lines = _parse(path)
    given: dict[Key, str] = {}
    for override in overrides:
        key, value = _override(override)
        _assign(values, key, value, override)
        given[key] = override
    if problem := migration.problem(values.get("schema_version")):
        line = lines.get(("schema_version",), 1)
        place = given.get(("schema_version",))
        raise InputError(f"{f'--set {_short(place)}' if place else f'{path}:{line}'}: schema_version: {problem}")
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise InputError("\n".join(_explain_all(error.errors(), path, lines, given))) from None


def effective(environment: str | None = None) -> Settings:
    """Return the settings that `scripts.configure` wrote, which every other stage reads.

    Args:
        environment: which one of `environments` they are for; None: the first, which builds release to.

    Raises:
        InputError: there is no such environment.
    """
    settings = read(stages.require(workspace.SETTINGS))
    if environment is None:
        return settings.first()
    if environment not in settings.environments:
        known = (
            f"pipeline.yaml has {', '.join(settings.environments)}" if settings.environments else "there is only one"
        )
        raise InputError(f"--environment: there is no environment {_short(repr(environment))}: {known}")
    return settings.at(environment)


def dump(settings: Settings) -> str:
    """Return the effective settings as YAML that `read` accepts, every default written out."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _parse(path: Path) -> tuple[dict[Any, Any], dict[Key, int]]:
    """Return the file's values and the line, counted from 1, of every key and list entry in it."""
    if not path.exists():
        raise InputError(f"{path} is missing: run in the repository's folder, or name the file")
    values, lines = reading_yaml.parse_with_lines(reading.text(path, reading_yaml.MOST), path)
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise InputError(f"{path}:1: expected keys such as `as_of: 2013-04-01`, found {type(values).__name__}")
    return values, lines


def _override(text: str) -> tuple[Key, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InputError(f"--set {_short(text)}: expected key=value, such as --set tuning.max_trials=30")
    key = tuple(name.strip().split("."))
    if len(key) > _DEEPEST:
        raise InputError(f"--set {_short(text)}: no key has more than {_DEEPEST} parts")
    try:
        return key, reading_yaml.parse(value, f"--set {_short(text)}")
    except reading.ReadError as error:
        raise InputError(f"--set {_short(text)}: the value is {error.problem}") from None


def _assign(values: dict[Any, Any], key: Key, value: Any, override: str) -> None:
    """Put a value at a dotted key and make missing sections. Whether the keys exist is checked by the model, later."""
    for part in key[:-1]:
        inner = values.setdefault(part, {})
        if inner is None:
            inner = values[part] = {}
        if not isinstance(inner, dict):
            raise InputError(f"--set {_short(override)}: {part} is a value, not a section")
        values = inner
    values[key[-1]] = value


def _explain_all(
    details: list[ErrorDetails], path: Path, lines: dict[Key, int], given: dict[Key, str]
) -> Iterator[str]:
    """Yield a sentence for each wrong key: file, line, key, what is wrong, what is right. Very many are counted."""
    problems: dict[Key, list[ErrorDetails]] = {}
    for detail in details:
        location = detail["loc"]
        if detail["type"] not in ("missing", "extra_forbidden"):
            # Union members and constraint names end a location in words that are no keys.
            known = [_prefix_in(location, lines) or (), _prefix_in(location, given) or ()]
            location = max(known, key=len) or location
        problems.setdefault(location, []).append(detail)
    for key, found in islice(problems.items(), _TOLD):
        override = next((text for by, text in given.items() if by[: len(key)] == key or key[: len(by)] == by), None)
        where = f"--set {_short(override)}" if override else f"{path}:{lines.get(_prefix_in(key, lines) or (), 1)}"
        yield f"{where}: {_short(_dotted(key))}: {' or '.join(_problem(detail) for detail in found[:_TOLD])}"
    if len(problems) > _TOLD:
        yield f"and {len(problems) - _TOLD} keys more"


def _prefix_in(key: Key, known: Mapping[Key, object]) -> Key | None:
    """Return the longest leading part of `key` that is known."""
    return next((key[:n] for n in range(len(key), 0, -1) if key[:n] in known), None)


def _dotted(key: Key) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).lstrip(".")


def _problem(detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        return f"there is no such key; did you mean {nearest(detail['loc'])}?"
    if detail["type"] == "missing":
        return "this key is required"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]}, found {_short(_REPR.repr(detail['input']))}"


def _short(text: str) -> str:
    """Return the beginning of a text that may be very long."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def nearest(key: Key) -> str:
    """Return the known key that is spelled most like `key`; keys of the same section come first."""
    key = tuple(part if isinstance(part, int) else part[:_SHOWN] for part in key[:_DEEPEST])
    known = [
        _dotted(tuple(given if part == "*" else part for part, given in zip(k, key, strict=False))) for k in _known()
    ]
    sisters = [name for name in known if name.count(".") == len(key) - 1 and name.startswith(_dotted(key[:-1]))]
    for names, cutoff in ((sisters, 0.5), (known, 0.0)):
        if near := difflib.get_close_matches(_dotted(key), names, n=1, cutoff=cutoff):
            return near[0]
    return known[0]


@cache
def _known() -> tuple[Key, ...]:
    """Return every key of the settings as its parts; `*` stands for a name that the user chooses."""

    def walk(annotation: Any, key: Key) -> Iterator[Key]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            for name, field in annotation.model_fields.items():
                yield (*key, name)
                yield from walk(field.annotation, (*key, name))
        elif get_origin(annotation) is dict:
            yield from walk(get_args(annotation)[1], (*key, "*"))

    return tuple(walk(Settings, ()))
