"""The shadow: a challenger that was kept for lack of evidence, asked what clients asked, and compared on their labels.

    adopt(settings, champion)               # after a build: its model becomes the champion's shadow
    look(settings, task, champion)          # once more days are mature: is it better?

It is asked afterwards, and by the monitor: the captured requests, of which the champion's answers are known too. So no
client waits for it, none is harmed by its failure or gets its answer, no pod runs, and nothing is sent anywhere. It
lies in `history.folder`, and goes when another release serves.
"""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ci import lineage, workspace
from ci.capture import records
from ci.errors import StageError
from ci.monitoring import cohorts, memory
from ci.packaging import package
from ci.quality import compare, metrics
from ci.quality.challenger import Model
from ci.registry import layout
from ci.results.build import CHAMPION
from ci.results.evaluation import EVALUATION, Evaluation
from ci.results.monitoring import Check, Shadow, Word
from ci.settings import Settings
from ci.settings.building import Gates
from ci.task import Task, columns
from ci.training.export import predictor

_MODEL = "model"
_NOT_HERE = (
    "the shadow waits for a monitor with TensorFlow, which is not here: it is compared by the next build, or by a "
    "CronJob monitor with the image of training pods"
)


def undecided(found: Evaluation) -> bool:
    """Tell whether a challenger was kept for lack of evidence: neither it nor the champion is surely better.

    One that is worse on a slice, or as of an earlier day, was kept for another reason.
    """
    if found.verdict != "keep" or found.champion is None or found.comparison is None:
        return False
    if found.as_of < found.champion.as_of or any(part.worse for part in found.slices):
        return False
    return 1 - found.level < found.comparison.share_better < found.level


def confidence(level: float, looks: int) -> float:
    """Return the level of one look, the first being number 1, so that all looks together err no more than one would.

    Of the share of errors that `level` leaves, look k gets 1 / (k (k + 1)): these shares sum to 1, however many looks.
    """
    return 1 - (1 - level) / (looks * (looks + 1))


def decide(share_better: float, gain: float, level: float, worse: list[str], where: str) -> tuple[Word, str]:
    """Return the verdict on a shadow, and the sentence: `watch` if it is better, and so worth somebody's look.

    Args:
        share_better: share of the resampled days in which it is better than the champion.
        gain: how much better it is.
        level: the share that is needed.
        worse: slices on which it is worse by more than the margin.
        where: the metric, and on what.
    """
    side = "better" if gain > 0 else "worse"
    said = f"{where} {abs(gain):.4f} {side} than the champion's, better in {share_better:.1%} of the resampled days"
    if share_better >= level and not worse:
        return "watch", f"the shadow is better: {said} ({level:.1%} are needed)"
    if worse:
        return "ok", f"the shadow is worse on {', '.join(worse)}; {said}"
    if share_better <= 1 - level and gain < 0:
        return "ok", f"the shadow is worse: {said}"
    return "ok", f"the shadow is not known to be better: {said} ({level:.1%} are needed)"


def gives_way(there: Shadow) -> bool:
    """Tell whether a new challenger may take a shadow's place: not before it was compared, and not if it is better."""
    return there.found is not None and there.found.verdict == "ok"


def adopt(settings: Settings, champion: str) -> str | None:
    """Let this build's challenger become the shadow of what serves, if that is due; return in a sentence what was done.

    A shadow of another champion, or one that the settings no longer want, is removed first.

    Args:
        settings: the fork's.
        champion: digest of the image that serves.
    """
    file = memory.shadow(settings.history)
    there, folder = file.read_if_there(), file.path.parent
    if there and (not settings.rollout.shadow or there.champion != champion):
        shutil.rmtree(folder)
        why = "another release serves" if settings.rollout.shadow else "rollout.shadow is off"
        return f"version {there.version} is no shadow any more: {why}"
    if not settings.rollout.shadow or not (
        EVALUATION.path.exists() and (workspace.PACKAGE / package.MANIFEST).exists()
    ):
        return None
    was, evaluation = CHAMPION.read_if_there(), EVALUATION.read()
    if was is None or was.digest != champion or not undecided(evaluation):
        return None
    manifest = package.verify(workspace.PACKAGE, settings.packaging.verify_key)
    digest = manifest["image"]["digest"]
    of_this_build = (manifest.get("digests") or {}).get("evaluation") == lineage.file_digest(EVALUATION.path)
    if not of_this_build or digest == champion or (there and (there.digest == digest or not gives_way(there))):
        return None
    with workspace.replacing(folder) as new:
        layout.extract(layout.verify(workspace.PACKAGE / package.IMAGE, digest), new / "image")
        (new / "image/models" / manifest["model"] / manifest["version"]).rename(new / _MODEL)
        shutil.rmtree(new / "image")
        made = {"digest": digest, "version": manifest["version"], "as_of": str(evaluation.as_of), "champion": champion}
        file.write(made, new)
    return f"version {manifest['version']} was kept for lack of evidence: it is the champion's shadow from now on"


def look(settings: Settings, wanted: Task, champion: str, version: str) -> list[Check]:
    """Return what is known of the shadow on mature days; they are compared once more if further days are mature since.

    Only a task with one number to predict is compared, on days that neither has learned from.

    Args:
        settings: the fork's.
        wanted: the task.
        champion: digest of the image that serves.
        version: its version.
    """
    file, labels = memory.shadow(settings.history), memory.labels(settings.history).read_if_there()
    there = file.read_if_there()
    if not settings.rollout.shadow or there is None or there.champion != champion:
        return []
    if labels is None or labels.watermark is None or len(wanted.outputs) > 1 or wanted.outputs[0].width is not None:
        return [_check(there.version, None, "ok", "the shadow waits for labels")]
    if there.until is not None and labels.watermark <= there.until and there.found:
        return [there.found]
    if importlib.util.find_spec("tensorflow") is None:  # as in the image `tools`
        return [there.found or _check(there.version, None, "ok", _NOT_HERE)]
    with memory.requests(settings.history) as days:
        table = cohorts.read(days, there.as_of)
    rows = _labelled(table, wanted, version, pd.Timestamp(labels.watermark))
    if len(rows) < settings.monitoring.min_rows or rows[records.TIME].dt.date.nunique() < 2:
        few = f"the shadow waits for labels: there are {len(rows)} of {settings.monitoring.min_rows}, on mature days"
        return [_check(there.version, None, "ok", few)]
    found = _compared(settings, wanted, rows, there, file.path.parent / _MODEL)
    done = {**there.model_dump(mode="json"), "looks": there.looks + 1, "until": str(labels.watermark)}
    file.write({**done, "found": found.model_dump(mode="json")})
    return [found]


def _labelled(table: pd.DataFrame, wanted: Task, version: str, until: pd.Timestamp) -> pd.DataFrame:
    """Return the requests of mature days that the champion has answered and that have a label."""
    needed = [*wanted.features, *wanted.targets, "prediction", records.TIME, records.VERSION]
    if any(name not in table for name in needed):
        return pd.DataFrame({records.TIME: pd.to_datetime([], utc=True)})
    mature = table[records.TIME].dt.tz_localize(None) < until
    kept: pd.DataFrame = table[mature & (table[records.VERSION] == version)]
    return kept.dropna(subset=[*wanted.targets, "prediction"]).reset_index(drop=True)


def _compared(settings: Settings, wanted: Task, rows: pd.DataFrame, there: Shadow, model: Path) -> Check:
    """Compare the shadow with the champion as the gate does, on the same rows, whole days resampled."""
    import tensorflow as tf

    output, gates, looks = wanted.outputs[0], settings.gates, there.looks + 1
    _, primary = metrics.named(wanted)[gates.primary]
    try:
        said = Model(predictor(model), wanted.features).answer(rows)
        answers = said[output.name] if output.name in said else next(iter(said.values()))
    except (ValueError, TypeError, LookupError, OSError, tf.errors.OpError) as error:
        why = str(error).splitlines()[0]
        raise StageError(f"{model.parent}: the shadow cannot be asked: {why}; remove that folder") from None
    days = np.unique(rows[records.TIME].dt.date, return_inverse=True)[1]
    targets = columns.outcomes(rows, output)
    scored = compare.Scored(targets, days, answers, rows["prediction"].to_numpy("float64"), None, wanted.metrics)
    for each in (scored.challenger, scored.champion):
        if each is not None and (problem := metrics.problem(primary, targets, each, None, wanted.metrics)):
            return _check(there.version, None, "ok", f"{gates.primary} cannot be computed yet: {problem}")
    level = confidence(gates.confidence, looks)
    strict: Gates = gates.model_copy(update={"confidence": level})
    counts = metrics.resamples(days, gates.resamples, settings.seed)
    slices = [name for name in wanted.slices if name in rows]
    parts = compare.slices(rows, slices, scored, strict, settings.seed, primary)
    worse = [f"{part['column']} {part['slice']}" for part in parts if part.get("worse")]
    found, numbers = compare.compare(scored, worse, strict, counts, primary)
    where = f"{gates.primary} on {len(rows)} requests of {int(days.max()) + 1} mature days:"
    word, sentence = decide(found.share_better, found.gain, level, worse, where)
    return _check(there.version, numbers, word, sentence, f"look {looks}, resampled days, as the gate does")


def _check(version: str, numbers: Any, word: Word, sentence: str, method: str = "labels of mature days") -> Check:
    gain = None if numbers is None else numbers["gain"]
    return Check(name=f"shadow {version}", kind="shadow", number=gain or 0.0, threshold=None, method=method,
                 verdict=word, sentence=sentence)  # fmt: skip
