"""The picture of a rollout: the same every time, legible without colour, whatever a server said."""

import re
from dataclasses import asdict
from typing import Any

import matplotlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from ci.report import drawing
from ci.report import timeline as picture
from ci.rollout import timeline
from tests.ci.rollout import journals

ROLLOUTS = {
    "first": journals.first_on_this_machine(),
    "good": journals.good_on_a_cluster(),
    "long": journals.good_on_a_cluster(600.0),
    "smoke": journals.smoke_failed(),
    "analysis": journals.analysis_failed(),
}


def drawn(steps: list[Any], summary: dict[str, Any]) -> Figure:
    figure = Figure()
    picture.timeline(figure, asdict(timeline.describe(steps, summary)))
    return figure


def words(figure: Figure) -> list[str]:
    """Return all that can be read, in the order in which it was drawn."""
    figure.draw_without_rendering()
    found = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    return [text for text in found if text]


@pytest.mark.parametrize("name", ["good", "analysis"])
def test_it_is_the_same_every_time_and_has_no_style(name: str) -> None:
    data = asdict(timeline.describe(*ROLLOUTS[name]))
    text = drawing.render(picture.timeline, data)
    assert drawing.render(picture.timeline, data) == text
    assert not re.search(r"<style|style=|<script", text)


@pytest.mark.parametrize("name", ROLLOUTS)
def test_all_that_is_said_is_within_the_frame(name: str) -> None:
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **drawing.STYLE}):
        figure = drawn(*ROLLOUTS[name])
        figure.draw_without_rendering()
        ticks = [label for axes in figure.axes for label in axes.get_xticklabels()]  # some are beyond the end
        for text in figure.findobj(matplotlib.text.Text):
            if text.get_text() and text not in ticks:
                box = text.get_window_extent()
                assert figure.bbox.padded(2).fully_containsx(box.x0), text.get_text()
                assert figure.bbox.padded(2).fully_containsx(box.x1), text.get_text()


@pytest.mark.parametrize("name", ROLLOUTS)
def test_every_step_is_named_and_says_how_long_it_took(name: str) -> None:
    steps, summary = ROLLOUTS[name]
    said = words(drawn(steps, summary))
    for row in timeline.describe(steps, summary).rows:
        assert row.name in said
        assert any(text.endswith(timeline.duration(row.end - row.begin)) for text in said)


def test_what_failed_is_said_in_words_and_hatched() -> None:
    figure = drawn(*ROLLOUTS["analysis"])
    said = words(figure)
    assert "\N{MULTIPLICATION SIGN} failed, 12 s" in said
    assert "\N{MULTIPLICATION SIGN} fail: 310.0 ms, limit 28.6 ms" in said
    assert "? wait: no value, limit 0.25" in said
    hatches = {patch.get_hatch() for patch in figure.findobj(matplotlib.patches.Rectangle)}
    assert {"...", "xxx", "///"} <= hatches


@settings(max_examples=30, deadline=None)
@given(reason=st.text(max_size=2000))
def test_whatever_the_reason_is_the_title_is_short_and_ends_with_what_serves(reason: str) -> None:
    steps, summary = journals.smoke_failed()
    steps[-1]["reason"] = reason
    figure = drawn(steps, summary)
    title = " ".join(figure.get_suptitle().replace(r"\$", "$").split())
    assert title.endswith("release 1 serves.")
    assert len(title) <= picture._REASON + 20
