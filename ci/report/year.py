"""The picture of a year that was lived: each policy's weeks, what was seen and built below them, and what it cost."""

from typing import Any

import numpy as np

from ci.report.drawing import ABOVE, ACCENT, FAINT, INK, SOFT, WARM, WIDTH, dates, literal

_LINES = ((SOFT, ":"), (WARM, "--"), (ACCENT, "-"))
"""Colour and style of each policy, the last one being the loop."""
_VERDICTS = {"promote": ("^", INK), "keep": ("o", "white"), "block": ("X", INK)}
_SEEN = {"too few rows": "white", "stable": "white", "shifted": FAINT, "drifted": SOFT, "broken": INK}
_HATCHES = {"too few rows": "...", "broken": "xxx"}
_WEEK = np.timedelta64(7, "D")


def year(figure: Any, data: dict[str, Any]) -> None:
    """Draw a year; the data are those of `ci.results.year.Year` as JSON values."""
    policies, metric = data["policies"], data["metrics"][0]
    figure.set_size_inches(2 * WIDTH, 5.6)
    above, below, cost = figure.subplots(3, 1, height_ratios=[3.2, 1.3, 0.9])
    below.sharex(above)
    for place, (policy, (colour, style)) in enumerate(zip(policies, _styles(policies), strict=True)):
        days = np.array([week["first"] for week in policy["weeks"]], dtype="datetime64[D]")
        values = [np.nan if (value := week["metrics"][metric]) is None else value for week in policy["weeks"]]
        mean = policy["means"].get(metric)
        label = f"{policy['name']}" + ("" if mean is None else f": mean {mean:.4f}")
        above.plot(
            days, values, style, color=colour, label=literal(label), lw=2.0 if place == len(policies) - 1 else 1.4
        )
        _builds(below, place, policy["weeks"])
    _watched(below, len(policies), policies[-1]["weeks"])
    judged = np.datetime64(data["judged_from"])
    if judged > days[0]:
        above.axvline(judged, color=INK, ls="-.", lw=1)
        above.annotate("judged from here", (judged, above.get_ylim()[0]), (4, 4), textcoords="offset points", color=INK)
    above.set_ylabel(f"{metric} of the week's answers")
    above.legend(**ABOVE)
    above.tick_params(labelbottom=False)
    rows = [*(policy["name"] for policy in policies), f"{policies[-1]['name']} saw"]
    below.set_yticks(range(len(rows)), [literal(row) for row in rows], color=INK)
    below.set_ylim(len(rows) - 0.4, -0.6)
    below.grid(axis="y", visible=False)
    dates(below)
    _legend(below, policies)
    _cost(cost, policies)


def _styles(policies: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [*_LINES[: len(policies) - 1], _LINES[-1]]


def _builds(axes: Any, row: int, weeks: list[dict[str, Any]]) -> None:
    """Draw a policy's builds at the ends of their weeks; a line leads from each release to the next."""
    begin = np.datetime64(weeks[0]["first"])
    axes.plot([begin, np.datetime64(weeks[-1]["first"]) + _WEEK], [row, row], color=FAINT, zorder=1)
    for week in weeks:
        if verdict := week.get("verdict"):
            marker, filled = _VERDICTS[verdict]
            axes.plot(np.datetime64(week["first"]) + _WEEK, row, marker, color=INK, mfc=filled, ms=7, zorder=3)


def _watched(axes: Any, row: int, weeks: list[dict[str, Any]]) -> None:
    for week in weeks:
        seen = week.get("seen")
        if seen:
            first = np.datetime64(week["first"])
            axes.barh(row, _WEEK, left=first, height=0.6, color=_SEEN[seen], hatch=_HATCHES.get(seen, ""),
                      edgecolor=INK, lw=0.6)  # fmt: skip
        if week.get("performance") == "drift":
            axes.plot(np.datetime64(week["first"]) + _WEEK / 2, row, "v", color=WARM, ms=5, zorder=3)


def _legend(axes: Any, policies: list[dict[str, Any]]) -> None:
    """Name the marks that occur."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    weeks = [week for policy in policies for week in policy["weeks"]]
    made: list[Any] = [
        Line2D([], [], marker=marker, color=INK, mfc=filled, ls="none", label=verdict)
        for verdict, (marker, filled) in _VERDICTS.items()
        if any(week.get("verdict") == verdict for week in weeks)
    ]
    made += [
        Patch(facecolor=colour, hatch=_HATCHES.get(word, ""), edgecolor=INK, lw=0.6, label=word)
        for word, colour in _SEEN.items()
        if any(week.get("seen") == word for week in weeks)
    ]
    if any(week.get("performance") == "drift" for week in weeks):
        made.append(Line2D([], [], marker="v", color=WARM, ls="none", label="performance fell"))
    axes.legend(handles=made, **{**ABOVE, "ncols": 9})


def _cost(axes: Any, policies: list[dict[str, Any]]) -> None:
    """Draw the CPU minutes that each policy took."""
    names = [literal(policy["name"]) for policy in policies]
    building = np.array([policy["building"] for policy in policies]) / 60
    watching = np.array([policy["watching"] for policy in policies]) / 60
    axes.barh(names, building, color="#9db7d9", edgecolor=INK, lw=0.7, label="builds")
    axes.barh(names, watching, left=building, color="white", hatch="////", edgecolor=INK, lw=0.7, label="watching")
    for row, policy in enumerate(policies):
        said = f"{policy['trainings']} trainings, {policy['promoted']} promoted"
        axes.annotate(said, (building[row] + watching[row], row), (6, 0), textcoords="offset points", va="center")
    axes.invert_yaxis()
    axes.margins(x=0.25)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("CPU minutes after the first build")
    axes.legend(**ABOVE)
