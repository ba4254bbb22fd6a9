"""Documents that were valid before somebody changed them."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import yaml
from hypothesis import strategies as st

Json = Any
TEXTS = (
    "", " ", "x", "0", "1e999", "-1", "null", "nan", "\0", "\x1b[2J", "\u202e", "\N{PILE OF POO}", "a/../../b",
    "../../escaped", "/etc/passwd", "--output=escaped", "-rf", "$(touch escaped)", "'; touch escaped;'", "{{ 7*7 }}",
    "%n%s%x", "x" * 300, "9" * 400, "2013-02-30", "0001-01-01", "9999-12-31", "sha256:" + "0" * 64, "sha256:../../x",
    "<script>", "]]>", "\r\n", "=1+1",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**400, 0.0, -0.5, 1e-320, 1e308, -1e308)
RAW = {
    "deep list": "[" * 30_000,
    "deep object": '{"a":' * 30_000,
    "deep whole": "[" * 300 + "]" * 300,
    "long number": "9" * 5000,
    "long float": "0." + "1" * 5000,
    "not a number": "NaN",
    "infinite": "-Infinity",
    "beyond": "1e999",
    "lone surrogate": '"\\ud800"',
    "swapped surrogates": '"\\udc00\\ud800"',
    "wide": "[" + "0," * 5000 + "0]",
    "long text": '"' + "x" * 10_000 + '"',
    "nothing": "",
}
"""Texts in the place of a JSON value, most of which no value is written as."""
_MARK = "raw value: "

odd = st.one_of(
    st.sampled_from(TEXTS),
    st.sampled_from(NUMBERS),
    st.sampled_from([None, True, False, [], {}, [[]], [None], {"": {}}, {"a": 1}, float("nan"), float("inf")]),
    st.sampled_from([_MARK + name for name in RAW]),
    st.text(max_size=20),
    st.integers(),
    st.floats(),
)
"""A value that is seldom right."""


def places(document: Json) -> Iterator[tuple[str, Any, Any]]:
    """Yield each place in a document: its path with `*` for the numbers of list entries, what holds it, and its key."""
    work: list[tuple[str, Any]] = [("", document)]
    while work:
        path, holder = work.pop()
        entries = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for key, value in entries:
            inner = f"{path}.{'*' if isinstance(holder, list) else key}"
            yield inner, holder, key
            if isinstance(value, dict | list):
                work.append((inner, value))


_CHANGES = ("borrow",) * 4 + ("same", "near") * 2 + ("other", "drop", "text", "wrap", "double", "empty", "new")
"""What is done with a value; the first ones often leave the document valid."""


@st.composite
def mutated(draw: st.DrawFn, document: Json) -> Json:
    """Return a JSON value after one to three changes: dropped and new keys, other values, types and lengths."""
    box = [copy.deepcopy(document)]
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        by_path: dict[str, list[tuple[Any, Any]]] = {}
        for path, holder, key in places(box):
            by_path.setdefault(path, []).append((holder, key))
        found = by_path[draw(st.sampled_from(sorted(by_path)))]
        holder, key = found[draw(st.integers(0, len(found) - 1))]
        value = holder[key]
        match draw(st.sampled_from(_CHANGES)):
            case "borrow":
                alike = [inner[place] for each in by_path.values() for inner, place in each]
                alike = [each for each in alike if type(each) is type(value)]
                holder[key] = copy.deepcopy(alike[draw(st.integers(0, len(alike) - 1))])
            case "same" if isinstance(value, bool):
                holder[key] = not value
            case "same" if isinstance(value, str):
                holder[key] = draw(st.sampled_from(TEXTS) | st.text(max_size=20))
            case "same" if isinstance(value, int | float):
                holder[key] = draw(st.sampled_from(NUMBERS) | st.integers(-9, 99) | st.floats(0, 1))
            case "same" if isinstance(value, list) and value:
                holder[key] = value[1:] if draw(st.booleans()) else value[::-1]
            case "drop":
                if holder is not box:
                    del holder[key]
            case "text":
                holder[key] = str(value)[:1000]
            case "wrap":
                holder[key] = draw(st.sampled_from([[value], {"a": value}, [[value]]]))
            case "double" if isinstance(value, list):
                holder[key] = value * draw(st.sampled_from([2, 3, 50]))
            case "empty" if isinstance(value, dict | list | str):
                holder[key] = type(value)()
            case "new" if isinstance(value, dict):
                value[draw(st.sampled_from(TEXTS))] = copy.deepcopy(draw(odd))
            case "new" if isinstance(value, list):
                value.insert(draw(st.integers(0, len(value))), copy.deepcopy(draw(odd)))
            case "near" if isinstance(value, int | float) and abs(value) < 1e300:
                holder[key] = draw(st.sampled_from([value + 1, value - 1, -value, value * 1000, value / 2]))
            case _:
                holder[key] = copy.deepcopy(draw(odd))
    return box[0]


@st.composite
def broken(draw: st.DrawFn, content: bytes) -> bytes:
    """Return bytes of which a part was cut off, changed, doubled or filled with chance; often none."""
    match draw(st.sampled_from(("whole",) * 6 + ("cut", "change", "insert", "double", "chance"))):
        case "cut":
            return content[: draw(st.integers(0, len(content)))]
        case "change" if content:
            place = draw(st.integers(0, len(content) - 1))
            return content[:place] + draw(st.binary(min_size=1, max_size=4)) + content[place + 1 :]
        case "insert":
            place = draw(st.integers(0, len(content)))
            return content[:place] + draw(st.binary(min_size=1, max_size=20)) + content[place:]
        case "double":
            return content * 2
        case "chance":
            return draw(st.binary(max_size=200))
    return content


def json_text(value: Json) -> bytes:
    """Return a mutated value as JSON, its raw values as they are."""
    text = json.dumps(value, ensure_ascii=False)
    for name, raw in RAW.items():
        text = text.replace(json.dumps(_MARK + name), raw)
    return text.encode(errors="surrogatepass")


def yaml_text(value: Json) -> bytes:
    """Return a mutated value as YAML, its raw values as they are."""
    try:
        text = yaml.safe_dump(_without_raw(value), allow_unicode=True, sort_keys=False, width=1000)
    except (yaml.YAMLError, ValueError):  # what YAML cannot write, JSON can, which is nearly YAML
        return json_text(value)
    for name, raw in RAW.items():
        text = text.replace(_MARK.replace(": ", "-") + name.replace(" ", "-"), raw)
    return text.encode(errors="surrogatepass")


def _without_raw(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _without_raw(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_raw(inner) for inner in value]
    if isinstance(value, str) and value.startswith(_MARK):
        return value.replace(": ", "-").replace(" ", "-")
    return value
