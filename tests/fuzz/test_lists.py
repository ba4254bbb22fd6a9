"""YAML and text that a fork writes: the list of images, `dvc.yaml`, what DVC leaves, and the words of the card."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ci import lineage, workspace
from ci.packaging import card
from ci.registry import bases
from ci.run import dvc
from scripts import champion, configure
from tests import builds
from tests.fuzz.harness import Surface, examples
from tests.fuzz.mutations import TEXTS, broken, mutated, yaml_text
from tests.pods import REPOSITORY

pytestmark = pytest.mark.fuzz

IMAGES = yaml.safe_load((REPOSITORY / "ci/images/images.yaml").read_text())
GRAPH = {
    "stages": {
        "prepare": {
            "cmd": "python -m scripts.prepare",
            "deps": ["model", "build/source.json"],
            "params": [{"build/settings.yaml": ["as_of", "data.source"]}],
            "outs": ["build/data", {"build/other": {"cache": False}}],
        }
    }
}
LOCK = {"schema": "2.0", "stages": {"prepare": {"cmd": "x", "deps": [{"path": "a", "md5": "0" * 32, "size": 1}]}}}
RWLOCK = {"/a": {"read": [{"pid": 2**22 + 1, "cmd": "x"}], "write": {"pid": 2**22 + 1, "cmd": "x"}}}
CARD = (
    '## Intended use\n\nTo know {{ cite("build/data/summary.json", "rows", "holdout") }} things,\n'
    "## Limits\n\n{# none #} {{ cite('build/data/summary.json', 'target', 'train', 'late', form='{:.2f}') }} late.\n"
)
PIECES = (
    "{{", "}}", "{%", "%}", "{#", "#}", "{{ cite(", '"', "'", ")", ",", "form=", "[", "{{ [[[", "{{ 7*7 }}", "7", "½",
    "{{ ''.__class__ }}", '{{ cite("build/../../precious", "x") }}', '{{ cite("build/data/summary.json") }}',
    '{{ cite("build/data/summary.json", "rows", "train", form="{:>999999999}") }}', "{% for x in y %}", "\0", "\ue000",
    '{{ cite("build/data/summary.json", "rows", form="{0.__class__}") }}', "## Limits", "{{ cite('/dev/zero', 'x') }}",
    '{{ cite("model/card.md", "x") }}', '{{ cite("build/data/summary.json", "rows", "train", form="{:f}") }}',
)  # fmt: skip


def mutations(whole: Any) -> st.SearchStrategy[bytes]:
    return mutated(whole).flatmap(lambda value: broken(yaml_text(value)))


def test_images(surface: Surface) -> None:
    Path(bases.LIST).parent.mkdir(parents=True)

    Path(bases.LIST).write_bytes(yaml_text(IMAGES))
    assert bases.read()

    @given(mutations(IMAGES))
    @examples(100)
    def each(content: bytes) -> None:
        Path(bases.LIST).write_bytes(content)
        surface.read(bases.read)

    each()


def test_graphs(surface: Surface) -> None:
    assert configure.main(["--file", str(REPOSITORY / "tests/pipeline.yaml")]) == 0
    Path("model").mkdir()
    Path("model/data.py").write_text("one")

    Path(lineage.GRAPH).write_bytes(yaml_text(GRAPH))
    assert champion.main([]) == 0

    @given(mutations(GRAPH))
    @examples(150)
    def each(content: bytes) -> None:
        Path(lineage.GRAPH).write_bytes(content)
        surface.command(champion.main)

    each()


def test_what_dvc_leaves(surface: Surface) -> None:
    Path(".dvc/tmp").mkdir(parents=True)

    @given(mutations(LOCK), mutations(RWLOCK))
    @examples(75)
    def each(lock: bytes, held: bytes) -> None:
        workspace.LOCK.write_bytes(lock)
        dvc.RWLOCK.write_bytes(held.replace(str(os.getpid()).encode(), b"0"))
        surface.read(lambda: dvc.clear_stale(workspace.LOCK))
        surface.read(lambda: dvc.release(dvc.RWLOCK))

    each()


@st.composite
def words(draw: st.DrawFn) -> str:
    text = CARD
    for _ in range(draw(st.integers(1, 3))):
        piece = draw(st.sampled_from(PIECES) | st.sampled_from(TEXTS) | st.text(max_size=20))
        place = draw(st.integers(0, len(text)))
        text = text[:place] + piece * draw(st.sampled_from([1, 1, 1, 2, 300])) + text[place + draw(st.integers(0, 9)) :]
    return text


def test_cards(surface: Surface) -> None:
    builds.leave()
    workspace.write_text(Path("model/card.md"), CARD)

    assert "140 things" in card.render(CARD, "model/card.md", Path)

    @given(words())
    @examples(150)
    def each(text: str) -> None:
        surface.read(lambda: card.render(text, "model/card.md", Path))

    each()
