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
from pathlib import Path
from typing import Any

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
        subprocess.run(["git", "clone", "--quiet", ".", str(options.folder)], check=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    try:
        results = [build(options.folder, port, as_of) for as_of in months(options.first, options.builds)]
    finally:
        subprocess.run([sys.executable, "-m", "scripts.stop"], cwd=options.folder, check=False)
    DOCUMENT.write_text(document(results), encoding="utf-8")
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
        kept.write_text(json.dumps(evaluation), encoding="utf-8")
    result: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    print(f"{as_of}: {result['verdict']}: {result['reason']}", flush=True)
    return result


def document(results: list[dict[str, Any]]) -> str:
    """Return the page: one row for each build."""
    return ""


if __name__ == "__main__":
    sys.exit(main())
