"""The pictures of a report, with a text for readers who cannot see them; only changed pictures are drawn again."""

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ci import reading, workspace
from ci.errors import InputError
from ci.report import drawing, pictures
from ci.report import timeline as rollouts
from ci.report import year as years
from ci.report.build import Build
from ci.results.evaluation import Interval
from ci.results.report import PICTURES, Record
from ci.rollout import timeline

_ROWS = 40
"""Columns, or classes, that a picture shows at most."""


@dataclass(frozen=True)
class Picture:
    """A picture: `file` if a stage has drawn it, else the report draws it from `data`."""

    name: str
    alt: str
    caption: str
    data: Any = None
    file: Path | None = None

    @property
    def digest(self) -> str:
        """A digest of all that determines the picture's bytes."""
        code = b"".join(Path(str(each.__file__)).read_bytes() for each in (drawing, pictures, rollouts, years))
        source = reading.content(self.file) if self.file else importlib.metadata.version("matplotlib").encode()
        text = json.dumps([self.name, self.data], sort_keys=True, default=str).encode()
        return hashlib.sha256(b"\0".join((code, source, text))).hexdigest()

    def render(self) -> str:
        """Return the picture as SVG."""
        if self.file:
            return drawing.plain(reading.text(self.file))
        own = {"timeline": rollouts.timeline, "year": years.year}
        draw = own.get(self.name) or getattr(pictures, self.name.partition("-")[0])
        return drawing.render(draw, self.data)


@dataclass(frozen=True)
class Shown:
    """A picture as the page shows it: its file and its size in CSS pixels, None if the file does not say."""

    src: str
    alt: str
    caption: str
    width: int | None
    height: int | None


def draw(build: Build, records: list[Record], folder: Path) -> dict[str, Shown]:
    """Write a build's pictures into `folder`; those whose data have not changed are copied from the last report."""
    before = _drawn()
    digests, shown = {}, {}
    for picture in (*_of_stages(), *_own(build, records)):
        file = f"{picture.name}.svg"
        digests[file] = picture.digest
        old = workspace.REPORT / file
        known = before.get(file) == digests[file] and old.exists()
        text = reading.text(old) if known else picture.render()
        workspace.write_text(folder / file, text)
        shown[picture.name] = Shown(file, picture.alt, picture.caption, *_size(text))
    PICTURES.write(digests, folder)
    return shown


def _drawn() -> dict[str, str]:
    """Return the digests of the last report's pictures; none, with a word about it, if they cannot be read."""
    try:
        return PICTURES.read_if_there() or {}
    except InputError as error:
        print(f"report: every picture is drawn again: {error}")
        return {}


def _size(svg: str) -> tuple[int | None, int | None]:
    found = re.search(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"', svg)
    # A viewBox of matplotlib is in points, of which there are 72 an inch; only the proportions matter to the page.
    return (round(float(found[1]) * 4 / 3), round(float(found[2]) * 4 / 3)) if found else (None, None)


def _of_stages() -> Iterator[Picture]:
    """Yield the pictures that stages have drawn themselves."""
    plan = workspace.PLACEMENT / "plan.svg"
    if plan.exists():
        caption = (
            "A bar for each node: grey runs already, a group's shade is planned, pale is free, white takes no pods."
        )
        yield Picture("placement", "What runs and what is planned on each node", caption, file=plan)
    for path in sorted(workspace.TUNING.glob("*.svg")):
        words = path.stem.replace("_", " ").replace("-", " ")
        yield Picture(f"tuning-{path.stem}", f"Tuning: {words}", words.capitalize(), file=path)


def _own(build: Build, records: list[Record]) -> Iterator[Picture]:
    """Yield the pictures that are drawn from what the stages left."""
    if build.steps and build.rollout:
        spans = ", ".join(f"{step.step} {step.seconds:.1f} s" for step in build.steps)
        caption = (
            "The rollout's steps by time, and what took clients' requests meanwhile and, on the right, since; "
            "hatched is what failed or was undone, dotted is waiting."
        )
        steps, summary = [step.model_dump(mode="json") for step in build.steps], build.rollout.model_dump(mode="json")
        alt = f"Steps of the rollout: {spans}; the table has the numbers"
        yield Picture("timeline", alt, caption, asdict(timeline.describe(steps, summary)))
    if (data := build.data) and data.windows:
        ordered = sorted(data.windows, key=lambda window: window[1].first)
        named = [[name, str(window.first), str(window.end)] for name, window in ordered]
        spans = "; ".join(f"{name} {window}" for name, window in ordered)
        values: dict[str, Any] = {"windows": named, "as_of": str(data.as_of)}
        yield Picture("windows", f"Days by use: {spans}", "Which days are for what.", values)
    if build.schema and (gaps := {n: c.missing for n, c in build.schema.columns.items() if c.missing}):
        gaps = dict(sorted(gaps.items(), key=lambda gap: (-(gap[1] or 0), gap[0])))
        worst = ", ".join(f"{name} {share:.1%}" for name, share in list(gaps.items())[:3])
        yield Picture(
            "missing", f"Missing values by column: {worst}", "Columns with missing values, before as_of.", gaps
        )
    if build.trials and build.best and build.settings:
        objective = build.settings.tuning.objective
        ended = [trial for trial in build.trials if trial.objective is not None]
        values = {"values": [trial.objective for trial in ended], "stopped": [trial.stopped for trial in ended]}
        alt = f"{objective.name} of {len(ended)} trials; the best, {build.best.objective:.4f}, is marked"
        yield Picture("tuning", alt, "Every trial, and the best so far.", {**values, **objective.model_dump()})
    if build.fit and build.settings:
        values = {"lines": [line.model_dump() for line in build.fit], "name": build.settings.tuning.objective.name}
        most = max(build.fit, key=lambda line: line.importance)
        alt = f"Fitted {values['name']} along {len(build.fit)} hyperparameters; {most.name} matters most"
        caption = (
            "What matters: the fitted mean through the best trial, a deviation around it, and the trials; "
            "beside each name its share in the variance of the mean, with interactions (the sum can exceed 100 %)."
        )
        yield Picture("hyperparameters", alt, caption, values)
    if build.training:
        values = {**build.training.model_dump(include={"history", "best_epoch"}), "binary": _binary(build)}
        alt = f"Training curves by epoch; the weights of epoch {build.training.best_epoch} are kept"
        yield Picture("training", alt, "Training and validation rows by epoch; the kept epoch is dotted.", values)
    if build.evaluation:
        yield from _of_evaluation(build)
    if build.monitoring and build.settings:
        limits = build.settings.monitoring
        told = build.monitoring.predictions or [build.monitoring.prediction]
        columns = [*sorted(build.monitoring.features, key=lambda column: -column.psi)]
        values = {
            "columns": [column.model_dump() for column in [*told, *columns][:_ROWS]],
            "warn": limits.psi_warn,
            "drift": limits.psi_drift,
        }
        drifted = [column.name for column in columns if column.verdict == "drifted"]
        alt = f"Population stability index by column; drifted: {', '.join(drifted) or 'none'}"
        yield Picture("drift", alt, "How far each column has moved, the prediction first.", values)
    if build.year:
        means = "; ".join(
            f"{policy.name} {policy.means[metric]:.4f} with {policy.trainings} trainings"
            for policy in build.year.policies
            if (metric := build.year.metrics[0]) and policy.means.get(metric) is not None
        )
        caption = (
            "Above the answers of each week by policy; below the builds by verdict at the end of their weeks, and what "
            "the monitor saw; at the bottom what it took."
        )
        yield Picture("year", f"A year of weeks: {means}", caption, build.year.model_dump(mode="json"))
    if records:
        builds = [
            {"as_of": str(r.as_of), "verdict": r.verdict, **r.metrics[r.primary].model_dump()}
            for r in records
            if r.primary == records[-1].primary and _whole(r.metrics[r.primary])
        ]
        alt = f"{records[-1].primary} of the last {len(builds)} builds with intervals, marked by verdict"
        values = {"builds": builds, "metric": records[-1].primary}
        if builds:
            yield Picture("trend", alt, "The last builds; each on its own holdout.", values)


def _of_evaluation(build: Build) -> Iterator[Picture]:
    evaluation = build.evaluation
    assert evaluation is not None  # noqa: S101 - the caller has looked
    for place, (output, counts) in enumerate(evaluation.confusion.items(), 1):
        names = [score.name for score in evaluation.classes.get(output, [])]
        if len(names) == len(counts) <= _ROWS:
            right = sum(counts[k][k] for k in range(len(counts)))
            alt = f"Confusion of {output}: {right} of {sum(map(sum, counts))} rows are on the diagonal"
            caption = f"{output}: rows of each class, by what was answered; shares of a row as shades."
            yield Picture(f"confusion-{place}", alt, caption, {"counts": counts, "names": names})
    file = workspace.EVALUATION / "predictions.parquet"
    # No metric can be computed where predictions are no numbers, and none of these pictures drawn.
    if file.exists() and evaluation.target and any(_whole(metric) for metric in evaluation.metrics.values()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        values = {"file": str(file), "digest": content, "target": evaluation.target, "binary": _binary(build)}
        against = " and champion" if evaluation.comparison else ""
        if not _binary(build):
            yield Picture(
                "residuals", f"Errors of challenger{against} on the holdout", "Errors on the holdout.", values
            )
        elif (area := evaluation.metrics["auc"].value) is not None:
            alt = f"ROC curve of challenger{against}; the challenger's area is {area:.3f}"
            yield Picture("roc", alt, "ROC curve on the holdout.", values)
        alt = f"Mean outcome against mean prediction of challenger{against} in ten bins of equal size"
        yield Picture(
            "calibration", alt, "Calibration: bins of a tenth of the rows each; the diagonal is perfect.", values
        )
    rows = [
        {
            **part.model_dump(include={"value", "low", "high", "rows", "gain", "worse"}),
            "name": f"{part.column} {part.slice}",
        }
        for part in evaluation.slices
        if _whole(part)
    ]
    if rows and build.settings:
        values = {
            "slices": rows,
            "overall": evaluation.metrics[evaluation.primary].value,
            "metric": evaluation.primary,
            "margin": build.settings.gates.slice_margin,
        }
        alt = f"{evaluation.primary} with interval of {len(rows)} slices against all rows; the table has the numbers"
        yield Picture("slices", alt, "Slices of useful size; in brackets their rows, dashed all rows together.", values)


def _whole(measured: Interval) -> bool:
    return None not in (measured.value, measured.low, measured.high)


def _binary(build: Build) -> bool:
    return build.evaluation is None or "auc" in build.evaluation.metrics
