"""Writing the report: a page with style sheet and pictures, a summary in Markdown, and a summary in JSON."""

import html
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ci import git, reading, workspace
from ci.report import gallery, stages
from ci.report.build import Build
from ci.results.evaluation import Interval
from ci.results.report import SUMMARY, Record

TEMPLATES = Path(__file__).parent / "templates"
SHOWN = 12
"""Builds in the trend."""
LINE = 500
"""Characters of what Jenkins shows of a build in its lists."""
METRICS = {
    "auc": "AUC",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "f1": "F1",
    "exact_match": "exact match",
    "log_loss": "log-loss",
    "calibration_error": "calibration error",
    "rmse": "RMSE",
    "mae": "MAE",
    "bias": "bias",
}


def write(build: Build, records: list[Record], checkout: git.Checkout) -> dict[str, Any]:
    """Write `build/report/` and return the content of its `summary.json`.

    Args:
        build: what the stages left.
        records: the history, the newest last.
        checkout: what is checked out, or why that is not known.
    """
    existing = frozenset(stage.result for stage in stages.SHOWN if stage.result.exists())
    found = stages.standings(build, existing)
    headline = stages.headline(build, found)
    summary = {
        "headline": headline,
        "verdict": build.evaluation.verdict if build.evaluation and found["test"].current else None,
        "serving": stages.serving(build),
        "stages": {name: {"state": standing.state, "fact": standing.fact} for name, standing in found.items()},
    }
    explanation = workspace.PLACEMENT / "explanation.txt"
    card = workspace.PACKAGE / "card.md"
    context = {
        "card": card.exists(),
        "build": build,
        "stages": found,
        "headline": headline,
        "serving": summary["serving"],
        "records": records[-SHOWN:][::-1],
        "commit": checkout.commit,
        "no_commit": checkout.problem,
        "explanation": reading.text(explanation).splitlines() if explanation.exists() else [],
        "metrics": METRICS,
        "scores": _scores(build),
        "settings": list(_flat(build.settings.model_dump())) if build.settings else [],
    }
    with workspace.replacing(workspace.REPORT) as folder:
        shown = gallery.draw(build, records[-SHOWN:], folder)
        web, plain = _environment(autoescape=True), _environment(autoescape=False)
        workspace.write_text(folder / "index.html", web.get_template("index.html").render(context, pictures=shown))
        workspace.write_text(folder / "summary.md", plain.get_template("summary.md").render(context))
        workspace.write_text(folder / "name.txt", _line(name(build, found)))
        workspace.write_text(folder / "headline.txt", _line(headline))
        workspace.write_bytes(folder / "style.css", (TEMPLATES / "style.css").read_bytes())
        if card.exists():
            workspace.write_bytes(folder / "model-card.md", reading.content(card))
        SUMMARY.write(summary, folder)
    return summary


def name(build: Build, found: Mapping[str, stages.Standing]) -> str:
    """Return version, primary metric and verdict of a build, as far as there are any, for the list of builds."""
    said = []
    if build.package and found["package"].current:
        said.append(build.package.version)
    if build.evaluation and found["test"].current:
        primary = build.evaluation.primary
        said += [f"{METRICS.get(primary, primary)} {number(build.evaluation.metrics[primary].value)}"]
        said += [build.evaluation.verdict]
    return " ".join(said) or "no verdict"


def _line(text: str) -> str:
    """Return the beginning of a text on one line of printable characters, without an end of line."""
    line = "".join(each if each.isprintable() else " " for each in text)
    return line if len(line) <= LINE else f"{line[: LINE - 1]}…"


def _scores(build: Build) -> list[tuple[str, Interval]]:
    """Return the metrics, the primary one first."""
    if build.evaluation is None:
        return []
    primary = build.evaluation.primary
    return sorted(build.evaluation.metrics.items(), key=lambda metric: metric[0] != primary)


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys with their values."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _environment(*, autoescape: bool) -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=autoescape,  # noqa: S701 - off for Markdown only, which has the filter `md`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        number=number,
        signed=signed,
        interval=interval,
        percent=percent,
        count="{:,}".format,
        short=short,
        sentence=sentence,
        md=markdown,
    )
    return environment


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with fixed digits and a real minus sign; None means that it could not be computed."""
    return "cannot be computed" if value is None else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float | None, digits: int = 4) -> str:
    """Return a number that always has its sign; a dash means that it could not be computed."""
    return "–" if value is None else ("" if value < 0 else "+") + number(value, digits)


def interval(measured: Interval, digits: int = 4) -> str:
    """Return both ends of an interval, or why there is none."""
    if measured.value is None:
        return measured.problem or "no interval"
    return f"{number(measured.low, digits)} to {number(measured.high, digits)}"


def percent(value: float, digits: int = 1) -> str:
    """Return a share as a percentage."""
    return f"{number(100 * value, digits)} %"


def short(value: Any) -> str:
    """Return a digest or commit as its first twelve hexadecimal digits, a number in six digits, and anything else."""
    if isinstance(value, float):
        return f"{value:.6g}".replace("-", "\N{MINUS SIGN}")
    return re.sub(r"^(sha256:)?([0-9a-f]{12})[0-9a-f]{28,}$", r"\2", str(value))


def sentence(text: str) -> str:
    """Return a clause as a sentence: a capital letter or a metric's name in front, a full stop behind."""
    first, space, rest = text.partition(" ")
    text = METRICS.get(first, first) + space + rest
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"


def markdown(text: Any) -> str:
    """Return text on one line, with everything escaped that Markdown or HTML would interpret."""
    line = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", line)
