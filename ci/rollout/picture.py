"""The picture of a rollout: its steps on one axis of time, what served meanwhile, and how the canary compared.

Everything is told apart by pattern, mark or word, never by colour alone; and drawn as text, as a deployment does not
wait for a plotting library.
"""

import math
import textwrap
from collections.abc import Iterator
from html import escape
from typing import Any

from ci.rollout.timeline import Kind, Row, Serving, Span, Timeline, duration

_INK, _SOFT, _FAINT, _ACCENT, _WARM = "#1d2530", "#5b6675", "#d5dae1", "#1f4e8c", "#b4531a"
_WIDTH, _ROW, _MARGIN, _AFTER = 450, 23, 8, 80
_LETTER = 7.2
"""Width of a letter at most, on average; the picture's fonts differ from machine to machine."""
_LIMIT = 52
"""From zero to a measure's limit; pixels."""
_REASON = 300
"""Longest title; characters."""
_FILLS: dict[Kind | Serving, str] = {
    "done": _ACCENT,
    "waited": "url(#dots)",
    "failed": "url(#crosses)",
    "abort": "url(#lines)",
    "nothing": "white",
    "before": "#c9d8ea",
    "both": "url(#stripes)",
    "new": _ACCENT,
}
_WORDS: dict[Kind, str] = {
    "done": "",
    "waited": "waited ",
    "failed": "\N{MULTIPLICATION SIGN} failed, ",
    "abort": "undone in ",
}
_MARKS = {"pass": "\N{CHECK MARK}", "fail": "\N{MULTIPLICATION SIGN}", "wait": "?"}
_PERCENT, _MS = ("{:.2f} %", 100), ("{:.1f} ms", 1000)
_SHOWN = {"error rate": _PERCENT, "refused": _PERCENT, "latency p50": _MS, "latency p99": _MS}
"""How a measure's value is written, and its factor; others in three digits."""


def draw(shown: Timeline) -> str:
    """Return an SVG; the same rollout gives the same text."""
    labels = ["requests to", *(row.name for row in shown.rows), *(measure["name"] for measure in shown.measures)]
    left = _MARGIN + 8 + _LETTER * max(map(len, labels))
    right = _WIDTH - _MARGIN - _AFTER
    scale = (right - left) / max(shown.rows[-1].end, 0.1)
    title = _lines(shown.title)
    parts = [_text(_MARGIN, 24 + 19 * n, line, size=14, bold=True) for n, line in enumerate(title)]
    top = 24 + 19 * len(title)
    legend = list(_legend(shown, left, scale, top + _ROW + 10))
    bottom = top + _ROW + 10 + (18 if legend else 0)
    parts += [*_lane(shown, left, right, scale, top), *legend]
    base = bottom + _ROW * len(shown.rows) + 4
    parts += _axis(shown.rows[-1].end, left, scale, top, bottom - 6, base)
    for n, row in enumerate(shown.rows):
        parts += _bar(row, left, scale, bottom + _ROW * n)
    parts.append(_text(left, base + 34, f"seconds since {shown.began}", fill=_SOFT))
    height = base + 46
    if shown.measures:
        parts += _measures(shown.measures, left, height)
        height += 24 + _ROW * len(shown.measures) + 20
    size = f'width="{_WIDTH}" height="{height:g}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" {size} '
        'font-family="DejaVu Sans, Verdana, sans-serif" font-size="12" role="img">'
    )
    whole = f'<rect {size} fill="white"/>'
    return "\n".join([head, f"<title>{escape(shown.title)}</title>", _patterns(), whole, *parts, "</svg>\n"])


def _lines(title: str) -> list[str]:
    """Return a title in lines; of one that is too long the middle is left out, as its end says what serves."""
    if len(title) > _REASON:
        head, _, tail = title.rpartition("; ")
        title = f"{head[: _REASON - len(tail)]}\N{HORIZONTAL ELLIPSIS}; {tail}"
    return textwrap.wrap(title, 49)


def _patterns() -> str:
    def pattern(name: str, size: int, fill: str, path: str, ink: str, width: float) -> str:
        return (
            f'<pattern id="{name}" width="{size}" height="{size}" patternUnits="userSpaceOnUse">'
            f'<rect width="{size}" height="{size}" fill="{fill}"/>'
            f'<path d="{path}" fill="none" stroke="{ink}" stroke-width="{width:g}"/></pattern>'
        )

    slash, back = "M-2 2 2 -2M0 8 8 0M6 10 10 6", "M-2 6 2 10M0 0 8 8M6 -2 10 2"
    return "".join(
        [
            "<defs>",
            pattern("dots", 6, "white", "M2 3H4", _SOFT, 2),
            pattern("lines", 8, "white", slash, _WARM, 2),
            pattern("crosses", 8, "white", slash + back, _WARM, 1.6),
            pattern("stripes", 8, "#c9d8ea", slash, _ACCENT, 3.4),
            "</defs>",
        ]
    )


def _lane(shown: Timeline, left: float, right: float, scale: float, top: float) -> Iterator[str]:
    """Yield what served meanwhile, and in a block of its own, behind the end, what serves since."""
    yield _text(left - 8, top + 16, "requests to", anchor="end")
    for span in shown.lane:
        yield _block(left + span.begin * scale, top, (span.end - span.begin) * scale, _ROW, _FILLS[span.serving])
        if _fits(span, scale):
            yield from _within(left + (span.begin + span.end) / 2 * scale, top + 16, span.words, span.serving)
    serving, words = shown.after or ("nothing", "not seen")
    yield _block(right + 8, top, _AFTER - 8, _ROW, _FILLS[serving])
    yield from _within(right + 4 + _AFTER / 2, top + 16, words, serving)


def _fits(span: Span, scale: float) -> bool:
    return _LETTER * len(span.words) + 8 < (span.end - span.begin) * scale


def _within(x: float, y: float, words: str, serving: Serving) -> Iterator[str]:
    if serving == "both":
        yield _block(x - len(words) * _LETTER / 2 - 2, y - 13, len(words) * _LETTER + 4, 17, "white", "none")
    yield _text(x, y, words, anchor="middle", fill="white" if serving == "new" else _INK)


def _legend(shown: Timeline, left: float, scale: float, top: float) -> Iterator[str]:
    """Yield swatches for what has no room for its words in the lane."""
    said = {shown.after and shown.after[0], *(span.serving for span in shown.lane if _fits(span, scale))}
    for span in shown.lane:
        if span.serving not in said:
            said.add(span.serving)
            yield _block(left, top - 5, 16, 11, _FILLS[span.serving])
            yield _text(left + 21, top + 5, span.words, fill=_SOFT)
            left += 38 + _LETTER * len(span.words)


def _axis(total: float, left: float, scale: float, lane: float, top: float, base: float) -> Iterator[str]:
    step = _step(total)
    for n in range(int(total / step + 1e-9) + 1):
        x = left + n * step * scale
        yield _line(x, top, x, base, _FAINT)
        yield _text(x, base + 16, f"{n * step:g}", anchor="middle", fill=_SOFT)
    yield _line(left, base, left + total * scale, base, _SOFT)
    x = left + total * scale
    yield _line(x, lane, x, base, _INK, dashes="4 3")


def _step(total: float) -> float:
    """Return the distance of ticks: 1, 2 or 5 times a power of ten, six of them at most."""
    power = 10.0 ** math.floor(math.log10(max(total, 0.1) / 6))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor * 6 >= total)


def _bar(row: Row, left: float, scale: float, top: float) -> Iterator[str]:
    """Yield a step's bar, and how long it took: behind it, or before or in it where there is no room."""
    x, width = left + row.begin * scale, max(2.0, (row.end - row.begin) * scale)
    yield _text(left - 8, top + 15, row.name, anchor="end", bold=row.kind in ("failed", "abort"))
    edge = _WARM if row.kind in ("failed", "abort") else _INK
    yield _block(x, top + 3, width, _ROW - 7, _FILLS[row.kind], edge)
    words = _WORDS[row.kind] + duration(row.end - row.begin)
    room = _LETTER * len(words) + 8
    beside = next((start for start in (x + width + 2, x - room - 2) if left <= start < _WIDTH - room), x + 4)
    yield _block(beside, top + 4, room, _ROW - 9, "white", "none")
    yield _text(beside + 4, top + 15, words, bold=row.kind == "failed")


def _measures(measures: list[Any], left: float, top: float) -> Iterator[str]:
    """Yield each measure of the canary: its interval against the limit, and in words."""
    limit, far = left + _LIMIT, left + 1.5 * _LIMIT
    yield _text(_MARGIN, top + 12, "The canary against its limits", bold=True)
    first, last = top + 20, top + 22 + _ROW * len(measures)
    yield _line(left, first, left, last, _FAINT)
    yield _line(limit, first, limit, last, _WARM, dashes="4 3")
    yield _text(limit, last + 13, "limit", anchor="middle", fill=_WARM)
    for n, measure in enumerate(measures):
        y = first + _ROW * n + 12
        yield _text(left - 8, y + 4, measure["name"], anchor="end", bold=measure["verdict"] == "fail")
        if measure["value"] is not None:
            low, value, high = (
                far if measure[key] is None else min(far, left + _LIMIT * _share(measure[key], measure["limit"]))
                for key in ("low", "value", "high")
            )
            colour = _WARM if measure["verdict"] == "fail" else _INK
            yield _line(low, y, high, y, colour, width=3)
            yield _mark(value, y, colour, measure["verdict"])
        form, factor = _SHOWN.get(measure["name"], ("{:.3g}", 1))
        found, bound = (
            "no value" if measure[key] is None else form.format(factor * measure[key]) for key in ("value", "limit")
        )
        words = f"{_MARKS[measure['verdict']]} {measure['verdict']}: {found}, limit {bound}"
        yield _text(far + 12, y + 4, words, bold=measure["verdict"] == "fail")


def _share(value: float, limit: float) -> float:
    """Return a value in limits; where nothing is allowed, anything is far beyond."""
    return value / limit if limit else 2.0 * bool(value)


def _mark(x: float, y: float, colour: str, verdict: str) -> str:
    """Return a circle for a pass, a diamond for an open question, and a cross for a failure."""
    shapes = {
        "pass": "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0",
        "wait": "m-6 0l6 6l6 -6l-6 -6z",
        "fail": "m-5 -5l10 10m0 -10l-10 10",
    }
    return f'<path d="M{x:.1f} {y:.1f}{shapes[verdict]}" fill="white" stroke="{colour}" stroke-width="2"/>'


def _block(x: float, y: float, width: float, height: float, fill: str, edge: str = _INK) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}"'
    return f'<rect {place} fill="{fill}" stroke="{edge}" stroke-width="0.9"/>'


def _line(x: float, y: float, to_x: float, to_y: float, ink: str, width: float = 1, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" stroke="{ink}" stroke-width="{width:g}"{dashed}/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", fill: str = _INK, size: float = 12, bold: bool = False
) -> str:
    more = f' text-anchor="{anchor}"' * (anchor != "start") + f' font-size="{size:g}"' * (size != 12)
    more += ' font-weight="bold"' * bold
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}"{more}>{escape(text)}</text>'
