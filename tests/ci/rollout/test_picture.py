"""The picture of a rollout: whole, the same every time, legible without colour, whatever a server said."""

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.rollout import picture, timeline
from tests.ci.rollout import journals

SVG = "{http://www.w3.org/2000/svg}"
ROLLOUTS = {
    "first": journals.first_on_this_machine(),
    "good": journals.good_on_a_cluster(),
    "long": journals.good_on_a_cluster(600.0),
    "smoke": journals.smoke_failed(),
    "analysis": journals.analysis_failed(),
}


def drawn(steps: list[Any], summary: dict[str, Any]) -> tuple[str, ElementTree.Element]:
    text = picture.draw(timeline.describe(steps, summary))
    return text, ElementTree.fromstring(text)  # noqa: S314 - written by us


def words(root: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("name", ROLLOUTS)
def test_it_is_the_same_every_time_and_within_its_frame(name: str) -> None:
    text, root = drawn(*ROLLOUTS[name])
    assert drawn(*ROLLOUTS[name])[0] == text
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for element in [*root.iter(f"{SVG}text"), *root.iterfind(f"{SVG}rect")]:
        x, y = float(element.get("x", 0)), float(element.get("y", 0))
        assert 0 <= x <= x + float(element.get("width", 0)) <= width
        assert 0 <= y <= y + float(element.get("height", 0)) <= height
    defined = {element.get("id") for element in root.iter(f"{SVG}pattern")}
    assert set(re.findall(r"url\(#(\w+)\)", text)) <= defined


@pytest.mark.parametrize("name", ROLLOUTS)
def test_every_step_is_named_and_says_how_long_it_took(name: str) -> None:
    steps, summary = ROLLOUTS[name]
    said = words(drawn(steps, summary)[1])
    for row in timeline.describe(steps, summary).rows:
        assert row.name in said
        assert any(text.endswith(timeline.duration(row.end - row.begin)) for text in said)


def test_what_failed_is_said_in_words_and_hatched() -> None:
    text, root = drawn(*ROLLOUTS["analysis"])
    said = words(root)
    assert "\N{MULTIPLICATION SIGN} failed, 12 s" in said
    assert "\N{MULTIPLICATION SIGN} fail: 310.0 ms, limit 28.6 ms" in said
    assert "? wait: no value, limit 0.25" in said
    assert {"url(#crosses)", "url(#lines)", "url(#dots)", "url(#stripes)"} <= set(
        re.findall(r'fill="(url[^"]*)"', text)
    )


@given(reason=st.text(max_size=2000))
def test_whatever_the_reason_is_the_picture_is_whole_and_ends_its_title_with_what_serves(reason: str) -> None:
    steps, summary = journals.smoke_failed()
    steps[-1]["reason"] = reason
    _, root = drawn(steps, summary)
    said = words(root)
    title = " ".join(said[: said.index("requests to")])
    assert title.endswith("release 1 serves.")
    assert len(title) <= picture._REASON + 20
