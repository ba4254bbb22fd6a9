"""Training-serving skew: does a version serve what its packaged SavedModel answers?

Golden predictions are a few rows that we chose. What clients sent goes through everything that stands between them and
the model: the gateway, the server's reading of JSON in either format, its batching, its build of TensorFlow. So a
sample of captured requests is answered once more, by the SavedModel out of the package, and must give the same.
"""

import json
import math
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ci
from ci import workspace
from ci.errors import StageError
from ci.registry import layout as image
from ci.results.rollout import SKEW
from ci.serving import document
from ci.serving.offline import Answer

SAMPLE = 500
"""Captured requests that are looked at in a rollout, at most."""
_KEPT = 10
"""Different answers that are written to the file."""
_TIMEOUT = 300.0
"""Longest wait for the SavedModel's answers; seconds."""
_LOSSY = "\ufffd"
"""What a gateway puts in the place of bytes that are no text."""
Entry = Mapping[str, Any]
Score = Callable[[list[str]], list[Answer]]


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        compared: number of requests.
        largest: largest difference of two numbers; a share of the offline one where that is beyond 1.
        passed_over: number of captured requests that were not compared, by reason.
        different: requests with another answer, `problem` being the first difference in words.
    """

    compared: int
    largest: float
    passed_over: dict[str, int]
    different: list[dict[str, Any]]


def check(
    captured: Mapping[str, Sequence[Entry]], manifest: Mapping[str, Any], layout: Path, tolerance: float
) -> dict[str, Any]:
    """Compare what a version served with its packaged SavedModel, and return what was measured.

    Args:
        captured: what gateways captured of the version, by pod.
        manifest: the package's.
        layout: the package's image.
        tolerance: largest difference allowed, as in `compare`.

    Raises:
        StageError: an answer differs, or the SavedModel cannot be asked.
    """
    if "model" not in manifest["digests"]:
        return {"compared": 0, "reason": "the package's manifest names no SavedModel"}
    entries = sample(captured)
    found = compare(entries, lambda requests: score(manifest, layout, requests), manifest, tolerance)
    if found.different:
        SKEW.write(found.different[:_KEPT])
        raise StageError(
            f"training-serving skew: {len(found.different)} of {found.compared} captured requests were not answered as "
            f"the packaged SavedModel answers them; {found.different[0]['problem']} ({SKEW.path} has both answers)"
        )
    measured = {"compared": found.compared, "largest_difference": found.largest, "passed_over": found.passed_over}
    return measured if entries else {**measured, "reason": "no request was captured yet"}


def sample(captured: Mapping[str, Sequence[Entry]]) -> list[Entry]:
    """Return the newest entries, equally many of each pod, with the pod's name."""
    share = -(-SAMPLE // max(1, len(captured)))
    return [{"pod": pod, **entry} for pod, entries in captured.items() for entry in entries[-share:]]


def compare(entries: Sequence[Entry], score: Score, manifest: Mapping[str, Any], tolerance: float) -> Comparison:
    """Compare each answer that was served with what the SavedModel says to the same request.

    Only answered predictions count: a request that was refused, that asks for something else, or that was not captured
    as it was sent tells nothing about the model. What the SavedModel refuses must not have been answered.

    Args:
        entries: captured requests: `pod`, `number`, `time`, `path`, `status`, `request` and `response`.
        score: answers requests by the SavedModel.
        manifest: names model and version.
        tolerance: largest difference allowed between two numbers, times the offline one where that is beyond 1. It
            cannot be 0: a server puts several requests into one batch, and sums in another order round otherwise.
            Integers, texts, shapes and what is not finite must be equal.
    """
    reasons = [_passed_over(entry, manifest) for entry in entries]
    asked = [entry for entry, reason in zip(entries, reasons, strict=True) if reason is None]
    answers = score([entry["request"] for entry in asked]) if asked else []
    largest, different = 0.0, []
    for entry, answer in zip(asked, answers, strict=True):
        if answer["response"] is None:
            problem: str | None = f"it was answered, but the SavedModel refuses it: {answer['error']}"
        else:
            apart, problem = _difference(entry["response"], answer["response"], tolerance)
            largest = max(largest, apart)
        if problem:
            name = f"request {entry['number']} of pod {entry['pod']} at {entry['time']}"
            different.append({**entry, "offline": answer["response"], "problem": f"{name}: {problem}"})
    passed_over = Counter(reason for reason in reasons if reason)
    return Comparison(len(asked), largest, dict(sorted(passed_over.items())), different)


def distance(served: Any, offline: Any) -> float:
    """Return the distance of two JSON values: of numbers relative to the offline one, of other values 0 or infinity."""
    if type(served) is type(offline) and served == offline:
        return 0.0
    kinds = {type(served), type(offline)}
    if not kinds <= {int, float} or kinds == {int}:
        return math.inf
    if math.isnan(served) and math.isnan(offline):
        return 0.0
    apart = abs(served - offline) / max(1.0, abs(offline))
    return apart if math.isfinite(apart) else math.inf


def score(manifest: Mapping[str, Any], layout: Path, requests: list[str]) -> list[Answer]:
    """Return what the SavedModel in a package's image says to the bodies of predict requests.

    Raises:
        StageError: the image was changed, or its model cannot be loaded or run.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image.extract(image.verify(layout, manifest["image"]["digest"]), folder)
        model = folder / "models" / manifest["model"] / manifest["version"]
        asked, answered = folder / "requests.json", folder / "answers.json"
        workspace.write_json(asked, requests)
        command = [sys.executable, "-m", "ci.serving.offline", model, asked, answered]
        root = Path(ci.__file__).resolve().parents[1]
        try:
            done = subprocess.run(
                command,
                cwd=root,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                timeout=_TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            raise StageError(f"the packaged SavedModel did not answer in {_TIMEOUT:g} s") from None
        if done.returncode:
            said = done.stderr.strip().splitlines()
            why = said[-1] if said and done.returncode > 0 else f"exit code {done.returncode}"
            raise StageError(f"the packaged SavedModel cannot be asked: {why}")
        answers: list[Answer] = json.loads(answered.read_bytes())
    return answers


def _passed_over(entry: Entry, manifest: Mapping[str, Any]) -> str | None:
    """Return why an entry is not compared, None if it is."""
    path = re.fullmatch(r"(?i)/v1/models/[^/:]+(?:/versions/(\d+)|/labels/[^/:]+)?:predict", entry["path"])
    if entry["status"] != 200:
        return "refused or failed"
    if entry.get("dropped"):
        return "captured without the fields that are dropped"
    if path is None or (path[1] and int(path[1]) != int(manifest["version"])):
        return "no prediction of this version"
    return None if all(_whole(entry[key]) for key in ("request", "response")) else "not captured whole"


def _whole(text: str) -> bool:
    try:
        document.parse(text)
    except document.Malformed:
        return False
    return _LOSSY not in text


def _difference(served: str, offline: str, tolerance: float) -> tuple[float, str | None]:
    """Return the largest finite distance in two responses, and the first beyond the tolerance in words."""
    here, there = (dict(_leaves(document.parse(text))) for text in (served, offline))
    places = {place: distance(here.get(place), there.get(place)) for place in {**here, **there}}
    largest = max((apart for apart in places.values() if math.isfinite(apart)), default=0.0)
    for place, apart in places.items():
        if apart > tolerance:
            was, is_ = (_said(found.get(place)) for found in (here, there))
            return largest, f"{place} was served as {was}, offline it is {is_}"
    return largest, None


def _leaves(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield each value of a document, empty lists and objects too, with its place such as `predictions[3].late`."""
    work = [("", root)]
    while work:
        place, value = work.pop()
        if isinstance(value, dict) and value:
            work += [(f"{place}.{key}" if place else key, item) for key, item in reversed(value.items())]
        elif isinstance(value, list) and value:
            work += [(f"{place}[{index}]", item) for index, item in reversed([*enumerate(value)])]
        else:
            yield place, value


def _said(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)[:80]
