"""The table of settings: key, unit, bounds, default and meaning, from the one declaration in `ci.settings`."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from ci.settings import Settings

UNITS = (
    "days",
    "seconds",
    "rows",
    "nats",
    "builds",
    "releases",
    "cores or millicores",
    "bytes with a Kubernetes suffix",
    "the metric's unit",
    "the primary metric's unit",
    "the prediction's unit",
)
"""Units that a description may end with, after a semicolon."""
_KINDS = {
    "array": "list",
    "boolean": "true, false",
    "integer": "whole",
    "null": "null",
    "number": "number",
    "object": "names with values",
    "string": "text",
}
_LIMITS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
_WIDTHS = (32, 10, 20, 16)
"""Characters of every column but the last."""
_LEAST = 40
"""Characters of the last column, however narrow the terminal is."""


@dataclass(frozen=True)
class Entry:
    """One key, as text for people."""

    key: str
    unit: str
    bounds: str
    default: str
    meaning: str


def entries() -> list[Entry]:
    """Return every key that holds a value, in the order of `ci.settings`."""
    schema = Settings.model_json_schema()
    return list(_entries(schema, schema["$defs"], "", {}))


def table(found: list[Entry], width: int) -> str:
    """Return entries as a table with a head, each text wrapped within its column; `width` is in characters."""
    names = max((len(entry.key) for entry in found), default=0)  # so that a key can be searched for
    before = (max(names, _WIDTHS[0]), *_WIDTHS[1:])
    widths = (*before, max(_LEAST, width - sum(before) - 2 * len(before)))
    rows = [("key", "unit", "bounds", "default", "meaning"), *map(astuple, found)]
    return "\n".join(line for row in rows for line in _lines(row, widths))


def _lines(row: tuple[str, ...], widths: tuple[int, ...]) -> Iterator[str]:
    cells = [textwrap.wrap(text, each) or [""] for text, each in zip(row, widths, strict=True)]
    for number in range(max(map(len, cells))):
        parts = [cell[number] if number < len(cell) else "" for cell in cells]
        yield "  ".join(part.ljust(each) for part, each in zip(parts, widths, strict=True)).rstrip()


def _entries(
    schema: Mapping[str, Any], parts: Mapping[str, Any], at: str, defaults: Mapping[str, Any]
) -> Iterator[Entry]:
    """Yield the entries of a section; `defaults` are those of the section, before those of its keys."""
    for name, field in schema["properties"].items():
        key, kind = f"{at}{name}", _kind(field, parts)
        default = defaults.get(name, field.get("default"))
        if "properties" in kind:
            yield from _entries(kind, parts, f"{key}.", default or {})
        elif named := _kind(kind.get("additionalProperties", {}), parts).get("properties"):
            yield from _entries({"properties": named}, parts, f"{key}.NAME.", {})
        elif listed := _kind(kind.get("items", {}), parts).get("properties"):
            yield from _entries({"properties": listed}, parts, f"{key}[].", {})
        else:
            meaning, unit = _unit(field.get("description", ""))
            given = name in defaults or "default" in field
            yield Entry(key, unit, _bounds(field, parts), _value(default) if given else "required", meaning)


def _kind(field: Mapping[str, Any], parts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a field holds, its reference followed."""
    reference = field.get("$ref")
    found: Mapping[str, Any] = parts[reference.rpartition("/")[2]] if reference else field
    return found


def _unit(description: str) -> tuple[str, str]:
    text = " ".join(description.split())
    meaning, _, unit = text.rstrip(".").rpartition("; ")
    return (f"{meaning}.", unit) if unit in UNITS else (text, "")


def _bounds(field: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    field = _kind(field, parts)
    if "anyOf" in field:
        return " or ".join(filter(None, (_bounds(each, parts) for each in field["anyOf"])))
    if "const" in field or "enum" in field:
        return ", ".join(map(_value, field.get("enum", [field.get("const")])))
    if field.get("type") not in ("integer", "number"):
        return "date" if field.get("format") == "date" else _KINDS.get(str(field.get("type")), "")
    limits = {word: field[name] for name, word in _LIMITS.items() if name in field}
    words = [f"{word} {limit:,.10g}" for word, limit in limits.items()]
    if limits.keys() == {"from", "to"}:
        words = [f"{limits['from']:,.10g} to {limits['to']:,.10g}"]
    return ", ".join([_KINDS[field["type"]], *words])


def _value(value: Any) -> str:
    """Return a value as YAML has it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
