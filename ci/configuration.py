"""Reading settings: YAML with line numbers, overrides, and errors that name file, line, key and the fix."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ci import workspace
from ci.errors import InputError
from ci.settings import Settings

Key = tuple[str | int, ...]


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
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise InputError("\n".join(_explain_all(error.errors(), path, lines, given))) from None


def effective() -> Settings:
    """Return the settings that `scripts.configure` wrote, which every other stage reads."""
    return read(workspace.require(workspace.SETTINGS))


def dump(settings: Settings) -> str:
    """Return the effective settings as YAML that `read` accepts, every default written out."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class _Loader(yaml.CSafeLoader):
    """The safe loader; a repeated key is an error instead of the last one winning in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a name", key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} appears twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _parse(path: Path) -> tuple[dict[str, Any], dict[Key, int]]:
    """Return the file's values and the line, counted from 1, of every key and list entry in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run in the repository's folder, or name the file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        values = loader.construct_document(node) if node else {}
        lines = dict(_lines(node, ()))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InputError(f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}:1: expected keys such as `as_of: 2013-04-01`, found {type(values).__name__}")
    return values, lines


def _lines(node: yaml.Node | None, at: Key) -> Iterable[tuple[Key, int]]:
    if isinstance(node, yaml.MappingNode):
        for key_node, value in node.value:
            key = (*at, key_node.value)
            yield key, key_node.start_mark.line + 1
            yield from _lines(value, key)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*at, index), value.start_mark.line + 1
            yield from _lines(value, (*at, index))


def _override(text: str) -> tuple[Key, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InputError(f"--set {text}: expected key=value, such as --set tuning.max_trials=30")
    try:
        return tuple(name.strip().split(".")), yaml.load(value, _Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError) as error:
        problem = getattr(error, "problem", None) or error
        raise InputError(f"--set {text}: the value is not valid YAML: {problem}") from None


def _assign(values: dict[Any, Any], key: Key, value: Any, override: str) -> None:
    """Put a value at a dotted key, making sections on the way; the model judges whether they exist."""
    for part in key[:-1]:
        inner = values.setdefault(part, {})
        if inner is None:
            inner = values[part] = {}
        if not isinstance(inner, dict):
            raise InputError(f"--set {override}: {part} is a value, not a section")
        values = inner
    values[key[-1]] = value


def _explain_all(
    details: list[ErrorDetails], path: Path, lines: dict[Key, int], given: dict[Key, str]
) -> Iterator[str]:
    """Yield a sentence for each wrong key: where, which key, what is wrong, what would be right."""
    problems: dict[Key, list[str]] = {}
    for detail in details:
        location = detail["loc"]
        if detail["type"] not in ("missing", "extra_forbidden"):
            # Union members and constraint names end a location in words that are no keys.
            location = _prefix_in(location, lines) or _prefix_in(location, given) or location
        problems.setdefault(location, []).append(_problem(detail))
    for key, found in problems.items():
        override = next((text for by, text in given.items() if by[: len(key)] == key or key[: len(by)] == by), None)
        where = f"--set {override}" if override else f"{path}:{lines.get(_prefix_in(key, lines) or (), 1)}"
        yield f"{where}: {_dotted(key)}: {' or '.join(found)}"


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
    return f"{message[0].lower()}{message[1:]}, found {detail['input']!r}"


def nearest(key: Key) -> str:
    """Return the known key that is spelled most like `key`, sisters of the misspelled key before others."""
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
