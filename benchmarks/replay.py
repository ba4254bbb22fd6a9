"""Replay a year: one build on the first of each month, each against the champion that the builds before it left.

Every build is the whole pipeline, from data to deployment, in a clone of the committed tree with a server of its own.
Months that were replayed before are not replayed again. Writes docs/replay.md; takes about two minutes a month.
"""

import argparse
import json
import socket
import subprocess
import sys
from datetime import date
from math import log
from pathlib import Path
from typing import Any

from ci.configuration import read

STAGES = ("configure", "champion", "prepare", "tune", "train", "test", "package", "place", "deploy")
DOCUMENT = Path("docs/replay.md")
CHOSEN_ON = ("2013-04-01", "2013-05-01", "2013-06-01")
"""The builds that thresholds may be chosen on; the later ones are only reported."""


def main(argv: list[str] | None = None) -> int:
    """Replay the months, write the table, and return the exit code."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    arguments.add_argument("--first", type=date.fromisoformat, default=date(2013, 4, 1), help="first build's as_of")
    arguments.add_argument("--builds", type=int, default=9, help="how many months (9)")
    arguments.add_argument("--folder", type=Path, default=Path("build/replay"), help="where the clone goes")
    options = arguments.parse_args(argv)
    if not (options.folder / ".git").exists():
        subprocess.run(["git", "clone", "--quiet", "--", ".", str(options.folder)], check=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    try:
        results = [build(options.folder, port, as_of) for as_of in months(options.first, options.builds)]
    finally:
        subprocess.run([sys.executable, "-m", "scripts.stop"], cwd=options.folder, check=False)
    limits = {name: limit.model_dump() for name, limit in read(Path("pipeline.yaml")).gates.limits.items()}
    DOCUMENT.write_text(document(results, limits), encoding="utf-8")
    print(f"replay: {len(results)} builds -> {DOCUMENT}")
    return 0


def months(first: date, count: int) -> list[date]:
    """Return the same day of `count` consecutive months."""
    return [
        first.replace(year=first.year + (first.month - 1 + n) // 12, month=(first.month - 1 + n) % 12 + 1)
        for n in range(count)
    ]


def build(folder: Path, port: int, as_of: date) -> dict[str, Any]:
    """Return the evaluation of the build of one day, which is run unless it was before."""
    kept, said = folder / f"replayed/{as_of}.json", folder / f"replayed/{as_of}.log"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "scripts.pipeline", *STAGES]
        overrides = [f"--set=as_of={as_of}", f"--set=serving.port={port}"]
        with said.open("w", encoding="utf-8") as log:
            code = subprocess.run([*command, *overrides], cwd=folder, stdout=log, stderr=log, check=False).returncode
        written = folder / "build/evaluation/evaluation.json"
        evaluation = json.loads(written.read_text(encoding="utf-8")) if written.exists() else {}
        # Only a blocked build ends badly, and each does.
        if evaluation.get("as_of") != str(as_of) or bool(code) != (evaluation["verdict"] == "block"):
            raise SystemExit(f"replay: the build of {as_of} ended with exit code {code}: see {said}")
        summary = json.loads((folder / "build/data/summary.json").read_text(encoding="utf-8"))
        kept.write_text(json.dumps({**evaluation, "mean_target": summary["target"]["holdout"]}), encoding="utf-8")
    result: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    print(f"{as_of}: {result['verdict']}: {result['reason']}", flush=True)
    return result


def document(results: list[dict[str, Any]], limits: dict[str, Any]) -> str:
    """Return the page: a row for each build, and what the thresholds rest on."""
    rows = [_row(result) for result in results]
    verdicts = [result["verdict"] for result in results]
    counts = ", ".join(f"{verdicts.count(word)} {word}" for word in ("promote", "keep", "block"))
    chosen = [result for result in results if result["as_of"] in CHOSEN_ON]
    gates = "\n".join(
        f"| {name} | {_worst(chosen, name, gate)} | {side} {gate[side]:g} | {_worst(results, name, gate)} |"
        for name, gate in limits.items()
        for side in ("min", "max")
        if gate.get(side) is not None
    )
    never = "\n".join(f"- `{word}` did not occur. {WHY[word]}" for word in WHY if word not in verdicts)
    return f"""# A year replayed

Written by `python -m benchmarks.replay`: the whole pipeline on the first of each month, with the settings of
`pipeline.yaml`, each build against the champion that the builds before it left. Intervals: 95 %, days resampled.
Log-loss of the mean is what a model would have that always answers the holdout's mean; it cannot be known beforehand.

| as of | AUC | log-loss | of the mean | calibration error | champion | AUC difference | better in | verdict |
|---|---|---:|---:|---:|---|---|---:|---|
{chr(10).join(rows)}

{counts}. The reasons, as each build's report gives them:

{chr(10).join(f"- {result['as_of']}: {result['verdict']}: {result['reason']}." for result in results)}
{never}

## What the thresholds rest on

Absolute gates stop models that are broken, not seasons that are hard. They were set before the builds of May and June
were known and left as they were: nothing was adjusted to what came out.

| Gate | worst, April to June | required | worst, all |
|---|---:|---:|---:|
{gates}

How often the level of 0.9 lets an equally good model pass, or one that is better by 0.02 AUC: [gates.md](gates.md).
"""


WHY = {
    "promote": "No challenger was better than its champion in the required share of resampled days.",
    "keep": "Every challenger that passed its gates was better in the required share of resampled days.",
    "block": "Every build passed the absolute gates and the behaviour checks that block: nothing was broken.",
}


def _row(result: dict[str, Any]) -> str:
    metrics, versus, p = result["metrics"], result["comparison"], result["mean_target"]
    auc = metrics["auc"]
    entropy = -(p * log(p) + (1 - p) * log(1 - p))
    cells = [
        result["as_of"],
        f"{auc['value']:.4f} [{auc['low']:.4f}, {auc['high']:.4f}]",
        f"{metrics['log_loss']['value']:.4f}",
        f"{entropy:.4f}",
        f"{metrics['calibration_error']['value']:.4f}",
        result["champion"]["as_of"] if result["champion"] else "none",
        f"{versus['gain']:+.4f} [{versus['low']:+.4f}, {versus['high']:+.4f}]" if versus else "",
        f"{versus['share_better']:.1%}" if versus else "",
        f"**{result['verdict']}**",
    ]
    return f"| {' | '.join(cells)} |"


def _worst(results: list[dict[str, Any]], name: str, gate: dict[str, Any]) -> str:
    values = [(result["metrics"][name]["value"], result["as_of"]) for result in results]
    value, when = (min if gate.get("min") is not None else max)(values)
    return f"{value:.4f} ({when[:7]})"


if __name__ == "__main__":
    sys.exit(main())
