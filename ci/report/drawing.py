"""How the report draws: with matplotlib, the same data giving the same bytes.

Everything differs by marker, line style or hatch, never by colour alone. Text becomes outlines, so that a picture
looks the same on every machine, and styles become attributes, because Jenkins' Content-Security-Policy forbids the
others.
"""

import io
import re
from collections.abc import Callable
from typing import Any

INK, SOFT, FAINT, ACCENT, WARM = "#1d2530", "#5b6675", "#d5dae1", "#1f4e8c", "#b4531a"
WIDTH = 5.4
"""Inches; 96 CSS pixels an inch."""
LABEL = 28
"""Longest label of a row; characters."""
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": SOFT,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "report",
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
}
ABOVE = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 3, "borderaxespad": 0.2, "columnspacing": 1.2}


def render(draw: Callable[[Any, Any], None], data: Any) -> str:
    """Return a picture as SVG.

    Args:
        draw: a function of `ci.report.pictures` or `ci.report.timeline`; gets an empty figure and the data.
        data: what it draws.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
        figure = Figure(figsize=(WIDTH, 3.2))
        draw(figure, data)
        file = io.BytesIO()
        FigureCanvasSVG(figure).print_svg(file, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return plain(file.getvalue().decode())


def plain(svg: str) -> str:
    """Return an SVG without document type, style sheets and style attributes, which become attributes of their own."""
    svg = re.sub(
        r"<\?xml[^>]*>\s*|<!DOCTYPE[^>]*>\s*|<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, flags=re.DOTALL
    )
    svg = re.sub(r"\sstyle=\"([^\"]*)\"", lambda found: _attributes(found[1]), svg)
    return svg.replace("<svg ", '<svg stroke-linejoin="round" stroke-linecap="butt" ', 1)


def _attributes(style: str) -> str:
    pairs = (part.partition(":") for part in style.split(";") if part.strip())
    return "".join(f' {name.strip()}="{value.strip()}"' for name, _, value in pairs)


def dates(axes: Any) -> None:
    """Give an axis of days few and short labels."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def literal(text: str, most: int = LABEL) -> str:
    """Return a label, shortened if it is long, and escaped because matplotlib reads `$` as mathematics."""
    return (text if len(text) <= most else f"{text[: most - 1]}…").replace("$", r"\$")
