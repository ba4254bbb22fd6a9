"""The task's words can cite, and nothing else: no code runs, nothing grows, and what is wrong is told by line."""

import contextlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.errors import InputError
from ci.packaging import card
from tests import builds

HOLDOUT = '{{ cite("build/data/summary.json", "rows", "holdout") }}'
WORDS = f"## Intended use\n\nTo know {HOLDOUT} things.\n\n## Limits\n\nNone.\n"
NOTHING = "is no citation, the only thing that braces may hold"
POWERLESS = dict.fromkeys(
    [
        "{{ 90 + 3 }}", "{{ 1 / 0 }}", "{{ b }}", "{{ }}", "{{", "{{ cite( }}", "{{ cite() }}", "{{ cite }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ cite.__globals__ }}",
        "{{ self._TemplateReference__context }}",
        "{{ cite.__func__.__globals__['__builtins__']['open']('pwned', 'w').write('x') }}",
        "{{ lipsum.__globals__.os.system('touch pwned') }}", "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ 'a' * 10**9 }}", "{{ 10**10**10 }}", "{{ range(10**9)|list }}", "{{ 'a'.__mul__(10**9) }}",
        "{% for a in range(10**9) %}{% endfor %}", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% include 'pipeline.yaml' %}", "{% extends 'x' %}", "{% set a = [1] * 10**9 %}", "{% if %}", "{%",
        "{{ value('build/data/summary.json') }}", '{{ cite("a.json", "b") | replace("1", "9") }}',
        '{{ cite("a.json", cite("b.json", "c")) }}', '{{ cite("a.json", ["b"]) }}', '{{ cite("a.json", *"b") }}',
        '{{ cite("a.json", "b", form=1) }}', '{{ cite("a.json", "b", from="{}") }}', '{{ cite("a.json", key="b") }}',
        '{{ cite("a.json" "b") }}', '{{ cite("a.json", "b" }}', '{{ cite("a.json", "b) }}', '{{ cite("a.json", b) }}',
        '{{ cite("a.json", "b") + cite("a.json", "b") }}', '{{ cite("a.json", f"{x}") }}', '{{ Cite("a.json", "b") }}',
        '{{ cite("a.json", 1.5) }}', '{{ cite("a.json", 99999999999999999999) }}', '{{ {{ cite("a.json", "b") }} }}',
        "{{ " + "(" * 5000 + ")" * 5000 + " }}", "{{ " + "[" * 100_000, "{{ cite(" + "-" * 10_000 + "1) }}",
        "{{ a" + ".b" * 50_000 + " }}", "{" * 100_000, '{{ cite("a.json", "' + "\\" * 9999 + " }}",
    ],
    NOTHING,
)  # fmt: skip
POWERLESS = {code: f"{' '.join(code[:60].split())!a} {NOTHING}" for code in POWERLESS}
POWERLESS["{{ cite(1) }}"] = POWERLESS["{{ cite(1, 2) }}"] = "cite(1, …) names no file"
POWERLESS["{# no end"] = "this comment has no end"
for _file in ("/etc/passwd", "../x.json", "build/../../x.json", "a/../b", "", "\0"):
    POWERLESS[f'{{{{ cite("{_file}", "b") }}}}'] = f"cite({_file!r}, …): a card cites files of this folder only"
POWERLESS['{{ cite("build", "b") }}'] = "build: this is no plain file"
POWERLESS['{{ cite("pipe", "b") }}'] = "pipe: this is no plain file"
POWERLESS['{{ cite("latin.txt", "b") }}'] = "latin.txt:2: not UTF-8 text"
POWERLESS['{{ cite("huge.txt", "b") }}'] = "huge.txt: it has more than"
_FORM = "a form shows the value as {}"
FORMS = {
    HOLDOUT.replace(")", f", form='{form}')"): f"cite('build/data/summary.json', …, form={form!r}): {said}"
    for form, said in {
        "{0}": _FORM,
        "{:999999999}": _FORM,
        "{:>{}}": _FORM,
        "{:{key}}": _FORM,
        "{:.999}": _FORM,
        "{.__class__}": _FORM,
        "{key.__class__}": _FORM,
        "{key[0]}": _FORM,
        "{!r}": _FORM,
        "{{}}": _FORM,
        "{": _FORM,
        "}": _FORM,
        "{other}": _FORM,
        "{}" * 20 + "7": "a form may have no number of its own",
    }.items()
}


@pytest.fixture(scope="module", autouse=True)
def _build(tmp_path_factory):
    with contextlib.chdir(tmp_path_factory.mktemp("build")):
        builds.leave()
        os.mkfifo("pipe")
        Path("latin.txt").write_bytes(b"a\ncaf\xe9\n")
        with Path("huge.txt").open("wb") as file:
            file.truncate(1 << 30)
        yield


def render(words: str) -> str:
    return card.render(words, "model/card.md", Path)


@pytest.mark.parametrize(("code", "message"), [*POWERLESS.items(), *FORMS.items()])
def test_words_can_do_nothing_but_cite(code, message):
    began = time.process_time()
    with pytest.raises(InputError) as error:
        render(WORDS.replace("None.", code))
    assert str(error.value).startswith(f"model/card.md:7: {message}")
    assert len(str(error.value)) < 600
    assert time.process_time() - began < 5
    assert not Path("pwned").exists()


MEAN = """{{ }} {% %} {# #} cite ( ) " ' , form= {:,} \\ 1 build/data/summary.json rows holdout é [ ] | + __class__"""
WORD = st.sampled_from([*MEAN.split(), " ", "\n"])


@settings(max_examples=100, deadline=1000)
@given(st.lists(WORD, max_size=40).map("".join))
def test_any_words_give_a_card_or_an_error_that_names_the_file(words):
    try:
        assert "## Limits" in render(WORDS.replace("None.", words))
    except InputError as error:
        assert "model/card.md" in str(error)  # noqa: PT017 - either is right
