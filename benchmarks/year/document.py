"""The year in words: lines for the console, and the page of docs/."""

from collections.abc import Mapping, Sequence
from typing import Any

NAMES = {"auc": "AUC", "log_loss": "log-loss", "rmse": "RMSE", "mae": "MAE"}


def told(year: Mapping[str, Any]) -> list[str]:
    """Return the figures as lines."""
    lines = [f"year: {year['weeks']} weeks; judged from {year['judged_from']} on"]
    for each in year["policies"]:
        means = ", ".join(f"mean {NAMES.get(name, name)} {number(value)}" for name, value in each["means"].items())
        trained = f"{each['trainings']} trainings (within 28 days {each['most']} at most), {each['promoted']} promoted"
        spent = f"{each['building']:.0f} CPU s of builds, {each['watching']:.0f} of watching"
        lines.append(f"  {each['name']}: {means}; {trained}; {spent}")
    for each in year["differences"]:
        lines.append(f"  loop less {each['against']}: {NAMES.get(each['metric'], each['metric'])} {difference(each)}")
    return lines


def page(year: Mapping[str, Any], others: Sequence[str] = ()) -> str:
    """Return the page about a whole year.

    Args:
        year: the result.
        others: names of the pages about other tasks' years, beside it.
    """
    links = f"\nOther years: {', '.join(f'[{name}]({name})' for name in others)}.\n" if others else ""
    metrics = [NAMES.get(name, name) for name in year["metrics"]]
    first = year["policies"][0]["weeks"][0]["first"]
    rows = [
        [
            f"`{each['name']}`",
            *(number(each["means"][name]) for name in year["metrics"]),
            str(each["trainings"]),
            str(each["most"]),
            str(each["promoted"]),
            f"{each['building']:,.0f}",
            f"{each['watching']:,.0f}",
        ]
        for each in year["policies"]
    ]
    head = [
        "policy",
        *(f"mean {name}" for name in metrics),
        "trainings",
        "in 28 days",
        "promoted",
        "CPU s of builds",
        "of watching",
    ]
    gained = [
        [f"`{each['against']}`", NAMES.get(each["metric"], each["metric"]), difference(each)]
        for each in year["differences"]
    ]
    loop = year["policies"][-1]
    return f"""# A year lived

Written by `python -m benchmarks.year`: {year["weeks"]} weeks from {first} on, lived with the real commands by three
policies on the same traffic. Each week's requests go through the served model; outcomes become known after up to ten
days, the higher ones later; at the week's end labels, monitor and retrain run, and what they ask for.

- `never` keeps the first model.
- `monthly` builds a model each month and deploys it, compared with nothing and held back by no limit. (One that is no
  better than the mean of the holdout, or breaks a check of behaviour, is not deployed.)
- `loop` retrains when watching asks for it and no brake holds, and deploys what the gates let pass.

The means and differences are those of the weeks from {year["judged_from"]} on. [replay.md](replay.md) says what they
show, and what was changed after they had been seen.

{_table(head, rows)}

The first build, the same for all, took {year["first_build"]:,.0f} CPU seconds more.

What the loop gained by week, with 95 % intervals (weeks resampled; for a loss less is better; an interval that
holds 0 shows no difference):

{_table(["against", "metric", "difference"], gained)}

## What the loop did

{_table(["week from", "model as of", "seen", "decided", "build"], [_row(each) for each in loop["weeks"]])}

## Each week

{_table(["week from", *(f"`{each['name']}`" for each in year["policies"])], list(_weekly(year)))}

{metrics[0]} of each policy's answers, by week.
{links}"""


def _row(week: Mapping[str, Any]) -> list[str]:
    built = f"**{week['verdict']}**: {week['reason']}" if week.get("verdict") else ""
    seen = (week.get("seen") or "") + (f", performance {week['performance']}" if week.get("performance") else "")
    decided = ("retrain: " if week.get("retrain") else "not now: ") + week["why"]
    return [week["first"], week["as_of"], seen, decided, built]


def _weekly(year: Mapping[str, Any]) -> Sequence[list[str]]:
    primary = year["metrics"][0]
    return [
        [weeks[0]["first"], *(number(each["metrics"][primary]) for each in weeks)]
        for weeks in zip(*(each["weeks"] for each in year["policies"]), strict=True)
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def difference(found: Mapping[str, Any]) -> str:
    """Return a difference with its interval."""
    if found["low"] is None:
        return number(found["value"])
    return f"{found['value']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"


def number(value: float | None) -> str:
    """Return a metric; a dash where it cannot be computed."""
    return "–" if value is None else f"{value:.4f}"
