"""JSON documents: what the fast parser and the thorough one read, and how values are shown."""

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ci.serving import document
from ci.serving.document import Malformed, parse, shown

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([None, 0, 3]))
def test_the_thorough_parser_reads_what_python_writes(value, indent):
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    assert document._Parser(text).value() == value
    assert parse(text) == value


@given(st.text(alphabet='[]{},:"\\eE.-+01234567NaInftyrulsd \n', max_size=30))
@example("7e777")
@example('{"a": 1, "a": 2}')
def test_both_parsers_agree_on_what_is_json(text):
    def read(how):
        try:
            return json.dumps(how(text))
        except Malformed:
            return None

    assert read(parse) == read(lambda text: document._Parser(text).value())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[Inf, -Inf, Infinity, -Infinity]", [math.inf, -math.inf, math.inf, -math.inf]),
        ("[1e5, -0.5E-2, 0, -0]", [1e5, -0.005, 0, 0]),
        ("[1] and more", [1]),
        ('  {"a": {}, "b": []}X', {"a": {}, "b": []}),
        ('{"a": Inf, "a": 2}', {"a": math.inf}),
        ('["\\u00fc\\n", "\\ud83d\\ude00"]', ["ü\n", "😀"]),
        ("[1e-400]", [0.0]),
    ],
)
def test_what_the_server_reads_is_read(text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "The document is empty"),
        ("  ", "The document is empty. at offset: 2"),
        ("x", "Invalid value. at offset: 0"),
        ("[1, x]", "Invalid value. at offset: 4"),
        ("[1 2]", "Missing a comma or ] after an array element. at offset: 3"),
        ("[1", "Missing a comma or ] after an array element. at offset: 2"),
        ("[1,]", "Invalid value. at offset: 3"),
        ('{"a": 1 "b": 2}', "Missing a comma or } after an object member. at offset: 8"),
        ('{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        ("{1: 2}", "Missing a name for object member. at offset: 1"),
        ('{"a": 1,}', "Missing a name for object member. at offset: 8"),
        ('["a', "Invalid string. at offset: "),
        ('["\\x"]', "Invalid string. at offset: "),
        ('["\\u12"]', "Invalid string. at offset: "),
        ('["\t"]', "Invalid string. at offset: "),
        ("[1e400]", "Number too big to be stored in double. at offset: 1"),
        ("1E310", "Number too big to be stored in double. at offset: 0"),
        ('{"x": -1.5E+0310}', "Number too big to be stored in double. at offset: 6"),
        ("[" + "1" * 250 + "e99]", "Number too big to be stored in double. at offset: 1"),
        ("[" + "9" * 5000 + "]", "Number too big to be stored in double. at offset: 1"),
        ("[01]", "Missing a comma or ] after an array element. at offset: 2"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, problem):
    with pytest.raises(Malformed) as error:
        parse(text)
    assert problem in str(error.value)


def test_nesting_has_no_limit():
    deep = "[" * 500_000 + "]" * 500_000
    assert parse(f'{{"a": 1, "b": {deep}}}')["a"] == 1
    assert shown(parse(deep)).startswith("[[[[")
    with pytest.raises(Malformed, match="Missing a comma or ]"):
        parse("[" * 500_000 + "1")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, "x"], "b": {}}, '{\n    "a": [1, 2.5, "x"],\n    "b": {}\n}'),
        ([{"a": None}, []], '[{\n        "a": null\n    }, []]'),
        (True, "true"),
        ("ü", '"ü"'),
        (math.nan, ""),
    ],
)
def test_values_are_shown_on_one_line_but_for_objects(value, text):
    assert shown(value) == text


def test_a_long_value_breaks_off():
    assert 256 <= len(shown(list(range(1000)))) < 270
