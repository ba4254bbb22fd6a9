"""Configuration as Code as its plugin reads it: a folder of files, merged, with variables, held to a schema."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import yaml

SCHEMA = Path(__file__).with_name("casc.schema.json")


def load(folder: Path, value: Callable[[str], str | None]) -> dict[str, Any]:
    """Return the configuration of a folder.

    Args:
        folder: whose files ending in .yml or .yaml are read, in order; hidden ones are not, as those that Kubernetes
            mounts beside.
        value: of a variable; None if there is none, of which Jenkins would make an empty text, with a warning.

    Raises:
        ValueError: a variable has no value, or a file is not YAML.
        jsonschema.ValidationError: a key that Jenkins does not know, or a wrong value.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".yml", ".yaml") and path.is_file())
    found: dict[str, Any] = {}
    for path in files:
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            merge(found, yaml.safe_load(path.read_text(encoding="utf-8")))
    expanded = _expand(found, value)
    jsonschema.validate(expanded, json.loads(SCHEMA.read_text(encoding="utf-8")))
    return expanded


def merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    """Merge as the plugin does: mappings by key, lists one after the other; two values for a key are a conflict."""
    for key, each in more.items():
        if key not in into:
            into[key] = each
        elif isinstance(each, dict) and isinstance(into[key], dict):
            merge(into[key], each)
        elif isinstance(each, list) and isinstance(into[key], list):
            into[key] += each
        else:
            raise ValueError(f"two files have the key {key}")


def _expand(node: Any, value: Callable[[str], str | None]) -> Any:
    if isinstance(node, dict):
        return {key: _expand(each, value) for key, each in node.items()}
    if isinstance(node, list):
        return [_expand(each, value) for each in node]
    if not isinstance(node, str):
        return node

    def known(match: re.Match[str]) -> str:
        found = value(match[1])
        if found is None:
            raise ValueError(f"${{{match[1]}}} has no value: Jenkins would take an empty one")
        return found

    return re.sub(r"(?<!\^)\$\{(\w+)\}", known, node)
