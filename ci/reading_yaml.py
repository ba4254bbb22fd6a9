"""Reading YAML: values without tags, with keys that are names, and bounded before anything is built of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ci import reading
from ci.reading import ReadError

MOST = 2**20
"""Bytes that a document may have."""
DEEPEST = 64
"""Depth of nested lists and sections that a document may have."""
VALUES = 100_000
"""Values that a document may have; an alias counts as many as it expands to."""
NUMBER = 100
"""Characters that a number may have: Python refuses to write down whole numbers of more than 4,300 digits."""
Key = tuple[str | int, ...]


def read(path: Path) -> Any:
    """Return what a YAML file holds, None if it is empty; raises as `reading.content` and `parse` do."""
    return parse(reading.text(path, MOST), path)


def parse(text: str, place: Path | str) -> Any:
    """Return what a YAML text holds, None if it is empty; raises as `parse_with_lines` does."""
    return parse_with_lines(text, place)[0]


def parse_with_lines(text: str, place: Path | str) -> tuple[Any, dict[Key, int]]:
    """Return what a YAML text holds, and the line, counted from 1, of every key and list entry in it.

    Raises:
        ReadError: it is no YAML, has more than one document, a tag, a key twice or a key that is no name, is too deep
            or too large, or an alias contains itself.
    """
    try:
        check(text)
        loader = Loader(text)
        node = loader.get_single_node()
        values = loader.construct_document(node) if node else None
        return values, dict(_lines(node, ()))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ReadError(place, f"not valid YAML: {error.problem}", mark.line + 1 if mark else 1) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ReadError(place, f"not valid YAML: {' '.join(str(error).split())}") from None


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


def check(text: str) -> None:
    """Check the size of a document before it is built: a small text with nested aliases can expand without limit.

    Raises:
        yaml.MarkedYAMLError: it is no YAML, is too deep or too large, has a tag, or an alias contains itself.
    """
    sizes, names = [0], [""]  # of the lists and sections that are open: values so far, and the anchor if it has one
    known: dict[str, int] = {}
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            name = event.anchor or ""
            if name in names:
                raise _error(event, f"the alias {name} contains itself")
            sizes[-1] += known.get(name, 1)
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            if event.tag is not None:
                raise _error(event, f"it has a tag ({event.tag}): write the value without it")
            sizes[-1] += 1
            if isinstance(event, yaml.ScalarEvent):
                known |= {event.anchor: 1} if event.anchor else {}
            else:
                sizes.append(0)
                names.append(event.anchor or "")
        elif isinstance(event, yaml.CollectionEndEvent):
            size, name = sizes.pop(), names.pop()
            sizes[-1] += size
            known |= {name: size + 1} if name else {}
        if len(sizes) > DEEPEST:
            raise _error(event, f"it is nested more than {DEEPEST} deep")
        if sum(sizes) > VALUES:
            raise _error(event, f"it has more than {VALUES:,} values, aliases counted as what they stand for")


def _error(event: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


class Loader(yaml.CSafeLoader):
    """The safe loader, but a repeated key or a huge number is an error; PyYAML takes the last of equal keys."""

    def __init__(self, text: str):
        super().__init__(text)
        self._looked_at: set[yaml.MappingNode] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put merged keys (`<<`) before a section's own keys, and refuse a repeated key."""
        if node in self._looked_at:
            return  # by then it holds what it merges, which gives way to its own keys
        self._looked_at.add(node)
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a name", key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {node_text(key_node)} appears twice", key_node.start_mark
                )
            seen.add(key)
        super().flatten_mapping(node)

    def construct_time(self, node: yaml.ScalarNode) -> Any:
        """Return a date or a time, as the safe loader reads it."""
        try:
            return self.construct_yaml_timestamp(node)
        except (ValueError, OverflowError) as error:
            problem = f"{node_text(node)} is no date ({error})"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        """Return a number, as the safe loader reads it."""
        if len(node.value) > NUMBER:
            problem = f"a number has {len(node.value):,} characters, {NUMBER} are read"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        is_int = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if is_int else self.construct_yaml_float(node)


def node_text(node: yaml.ScalarNode) -> str:
    """Return the beginning of a scalar as it was written."""
    return node.value if len(node.value) <= NUMBER else f"{node.value[:NUMBER]}…"


for _tag in ("int", "float"):
    Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", Loader.construct_number)
Loader.add_constructor("tag:yaml.org,2002:timestamp", Loader.construct_time)
