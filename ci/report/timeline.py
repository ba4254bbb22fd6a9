"""The picture of a rollout: its steps on one axis of time, what served meanwhile, and how the canary compared."""

import textwrap
from typing import Any

from ci.report.drawing import ACCENT, FAINT, INK, SOFT, WARM, WIDTH, literal
from ci.rollout.timeline import duration

_REASON = 300
"""Longest title; characters."""
_LETTER = 0.066
"""Width of a letter at most, on average; inches."""
_ROW = 0.24
"""Height of a row; inches."""
_AFTER = 0.2
"""Width of the block that shows what serves since the end; a share of the rollout's time."""
_FAR = 1.5
"""Where a measure is drawn that is further beyond its limit; limits."""
_LANE: dict[str, tuple[str, str]] = {
    "nothing": ("white", ""),
    "before": ("#c9d8ea", ""),
    "both": ("#c9d8ea", "///"),
    "new": (ACCENT, ""),
}
"""Colour and hatch by what takes requests."""
_STEPS: dict[str, tuple[str, str, str]] = {
    "done": (ACCENT, "", ""),
    "waited": ("white", "...", "waited "),
    "failed": ("white", "xxx", "\N{MULTIPLICATION SIGN} failed, "),
    "abort": ("white", "///", "undone in "),
}
"""Colour, hatch and words by how a step went."""
_MARKERS = {"pass": ("o", "\N{CHECK MARK}"), "fail": ("X", "\N{MULTIPLICATION SIGN}"), "wait": ("D", "?")}
_PERCENT, _MS = ("{:.2f} %", 100), ("{:.1f} ms", 1000)
_SHOWN = {"error rate": _PERCENT, "refused": _PERCENT, "latency p50": _MS, "latency p99": _MS}
"""How a measure's value is written, and its factor; others have three digits."""


def timeline(figure: Any, data: dict[str, Any]) -> None:
    """Draw a rollout; the data are the fields of a `ci.rollout.timeline.Timeline`."""
    rows, measures, title = data["rows"], data["measures"], _lines(data["title"])
    heights = [_ROW * (len(rows) + 1), _ROW * len(measures)][: 1 + bool(measures)]
    figure.set_size_inches(WIDTH, sum(heights) + 0.75 * len(heights) + 0.16 * len(title))
    panels = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False).ravel()
    figure.suptitle(literal("\n".join(title), len(data["title"]) + _REASON), x=0.01, ha="left", weight="bold", size=9.5)
    _steps(panels[0], data)
    if measures:
        _measures(panels[1], measures)


def _lines(title: str) -> list[str]:
    """Return a title in lines; of one that is too long the middle is left out, as its end says what serves."""
    if len(title) > _REASON:
        head, _, tail = title.rpartition("; ")
        title = f"{head[: _REASON - len(tail)]}\N{HORIZONTAL ELLIPSIS}; {tail}"
    return textwrap.wrap(title, 70)


def _steps(axes: Any, data: dict[str, Any]) -> None:
    rows, total = data["rows"], max(data["rows"][-1]["end"], 0.1)
    letter = _LETTER * (1 + _AFTER) * total / (WIDTH - 1.5)
    """In seconds, on an axis that leaves an inch and a half to the names."""
    labelled = set()
    for span in data["lane"]:
        width = span["end"] - span["begin"]
        fits = letter * len(span["words"]) < width
        label = None if fits or span["words"] in labelled else literal(span["words"])
        _block(axes, span["begin"], width, span["serving"], literal(span["words"]) if fits else "", label)
        labelled.add(span["words"])
    serving, words = data["after"] or ("nothing", "not seen")
    _block(axes, 1.02 * total, _AFTER * total, serving, literal(words), None)
    for place, row in enumerate(rows, 1):
        fill, hatch, said = _STEPS[row["kind"]]
        bad = row["kind"] in ("failed", "abort")
        width = max(row["end"] - row["begin"], 0.004 * total)
        edge = WARM if bad else INK
        axes.barh(place, width, left=row["begin"], height=0.66, color=fill, edgecolor=edge, hatch=hatch, lw=0.8)
        words = said + duration(row["end"] - row["begin"])
        after = row["begin"] + width + letter * len(words) < (1 + _AFTER) * total
        axes.annotate(
            words,
            (row["begin"] + width if after else row["begin"], place),
            (4 if after else -4, 0),
            textcoords="offset points",
            ha="left" if after else "right",
            va="center",
            weight="bold" if bad else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )
    axes.axvline(total, color=INK, ls="--", lw=1)
    axes.set_yticks(range(len(rows) + 1), ["requests to", *(literal(row["name"]) for row in rows)], color=INK)
    axes.set(xlim=(0, (1.02 + _AFTER) * total), ylim=(len(rows) + 0.6, -0.6))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"seconds since {data['began']}")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 0.02), framealpha=0.9, frameon=True, fontsize=7.5)


def _block(axes: Any, begin: float, width: float, serving: str, words: str, label: str | None) -> None:
    fill, hatch = _LANE[serving]
    axes.barh(0, width, left=begin, height=0.9, color=fill, edgecolor=INK, hatch=hatch, lw=0.8, label=label)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1} if serving == "both" and words else None
    colour = "white" if serving == "new" else INK
    axes.text(begin + width / 2, 0, words, ha="center", va="center", color=colour, bbox=box)


def _measures(axes: Any, measures: list[dict[str, Any]]) -> None:
    """Draw each measure of the canary: its interval against the limit, and in words."""
    for place, measure in enumerate(measures):
        failed = measure["verdict"] == "fail"
        marker, sign = _MARKERS[measure["verdict"]]
        if measure["value"] is not None:
            low, value, high = (
                _FAR if measure[key] is None else min(_FAR, _share(measure[key], measure["limit"]))
                for key in ("low", "value", "high")
            )
            colour = WARM if failed else INK
            axes.plot([low, high], [place, place], color=colour, lw=2.4)
            axes.plot(value, place, marker, color=colour, mfc="white", ms=6)
        form, factor = _SHOWN.get(measure["name"], ("{:.3g}", 1))
        found, bound = (
            "no value" if measure[key] is None else form.format(factor * measure[key]) for key in ("value", "limit")
        )
        words = f"{sign} {measure['verdict']}: {found}, limit {bound}"
        axes.text(1.1 * _FAR, place, words, va="center", weight="bold" if failed else "normal")
    axes.axvline(1, color=WARM, ls="--", lw=1.2)
    axes.set_yticks(range(len(measures)), [literal(measure["name"]) for measure in measures], color=INK)
    axes.set(xlim=(0, 3 * _FAR), ylim=(len(measures) - 0.4, -0.6), title="The canary against its limits")
    axes.set_xticks([0, 1], ["0", "limit"])
    axes.grid(visible=False)
    axes.axvline(0, color=FAINT, lw=1)
    axes.tick_params(axis="x", colors=SOFT)


def _share(value: float, limit: float) -> float:
    """Return a value in limits; where nothing is allowed, anything is far beyond."""
    return value / limit if limit else 2.0 * bool(value)
