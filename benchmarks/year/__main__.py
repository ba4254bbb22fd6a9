"""Live a year with the real commands, week by week, under three policies on the same traffic: build/year.json.

The first model is trained as of `as_of` of pipeline.yaml. Then each week's requests go through the served model, and
their outcomes become known after up to ten days (see benchmarks.year.traffic). `never` keeps the first model. `monthly`
builds one each month and deploys it, whatever its verdict on champion and limits would be. `loop` lets monitor, labels
and retrain decide each week, and the gates on each build. Each policy lives in a clone of the committed tree, with a
server and a history of its own; they share DVC's cache.

Killed at any moment it goes on when it is started again, with the same result. At the end it writes the year for the
report, and the report. In full it also writes docs/year.md (docs/year-NAME.md for a task in another folder). In full it
takes about 40 minutes on two cores, with --quick about 8.
"""

import argparse
import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.year import document, figures, life
from benchmarks.year.traffic import TASK
from ci.results.year import YEAR

QUARTER = 13
"""Weeks by which thresholds may be chosen, and all that --quick lives."""
QUICK = ("tuning.max_trials=2", "tuning.epochs=2", "training.epochs=4")
AUTHOR = ("-c", "user.name=year", "-c", "user.email=year@localhost")


def main(argv: list[str] | None = None) -> int:
    """Live what is left of the year, write its figures, and return the exit code."""
    arguments = argparse.ArgumentParser(
        prog="python -m benchmarks.year", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--quick", action="store_true", help="one quarter, and few trials")
    arguments.add_argument("--task", type=Path, help="folder with model/ and pipeline.yaml in place of this tree's")
    arguments.add_argument("--weeks", type=weeks_of, help="live so many weeks at most")
    arguments.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    arguments.add_argument("--folder", type=Path, help="where it lives (build/years/NAME)")
    arguments.add_argument("--figures", action="store_true", help="write the figures of what was lived; live nothing")
    options = arguments.parse_args(argv)
    name = "-".join([options.task.name if options.task else "year", *(["quick"] if options.quick else [])])
    root: Path = (options.folder or Path("build/years") / name).resolve()
    if refused := wrong(options.task, root, figures_only=options.figures):
        print(f"bad input: {refused}", file=sys.stderr)
        return 2
    root.mkdir(parents=True, exist_ok=True)
    overrides = [*(QUICK if options.quick else ()), *options.set]
    with alone(root):
        plan, task = begun(root, options.task, overrides)
        weeks = task["weeks"][: options.weeks or (QUARTER if options.quick else None)]
        if not weeks:
            print(
                "bad input: pipeline.yaml: as_of: the data have no whole week after it: name an earlier day",
                file=sys.stderr,
            )
            return 2
        plan["judged_from"] = weeks[QUARTER] if len(weeks) > QUARTER else weeks[0]
        if not options.figures:
            live(root, plan, task, [date.fromisoformat(each) for each in weeks])
        found = figures.year(root, plan, task, list(life.POLICIES))
    if not found["weeks"]:
        print(f"year: no week was lived by every policy yet, in {root}", file=sys.stderr)
        return 1
    YEAR.write(found)
    for line in document.told(found):
        print(line)
    if not options.quick and found["weeks"] == len(task["weeks"]):
        suffix = f"-{options.task.name}" if options.task else ""
        path = Path(f"docs/year{suffix}.md")
        others = sorted(each.name for each in path.parent.glob("year*.md") if each != path)
        path.write_text(document.page(found, others), encoding="utf-8")
        print(f"year: {path}")
    return subprocess.run([sys.executable, "-m", "scripts.report"], check=False).returncode


def weeks_of(text: str) -> int:
    """Return a command-line argument as a number of weeks."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of weeks: give 1 or more")
    return int(text)


def wrong(task: Path | None, root: Path, *, figures_only: bool) -> str | None:
    """Return what is wrong with the folders that were named, before anything is written; None if nothing is."""
    needed = [] if task is None else [task / "model/__init__.py", task / "pipeline.yaml"]
    if missing := [path for path in needed if not path.is_file()]:
        return f"--task {task}: {missing[0]} is missing: name a folder with model/ and pipeline.yaml"
    if figures_only and not (root / "plan.json").exists():
        return f"--figures: no year was begun in {root}: name its --folder, or live one without --figures"
    return None


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold a year, so that nobody else lives it meanwhile."""
    with (root / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"year: {root} is being lived by another process") from None
        yield


def begun(root: Path, task: Path | None, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a year was begun with and its task; begin it if it was not."""
    kept = root / "plan.json"
    if not kept.exists():
        base = root / "base"
        shutil.rmtree(base, ignore_errors=True)
        subprocess.run(["git", "clone", "--quiet", "--", ".", str(base)], check=True)
        if task is not None:
            swap(base, task)
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=base, check=True, capture_output=True, text=True
        ).stdout.strip()
        made = subprocess.run(
            [sys.executable, "-m", "benchmarks.year.traffic", str(root / "traffic")], cwd=base, check=False
        )
        if made.returncode:
            raise SystemExit(made.returncode)
        life.write(kept, {"commit": commit, "overrides": list(overrides)})
    plan: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    if plan["overrides"] != list(overrides):
        raise SystemExit(f"year: {root} was begun with {plan['overrides']}: give the same, or another --folder")
    return plan, json.loads((root / "traffic" / TASK).read_text(encoding="utf-8"))


def swap(base: Path, task: Path) -> None:
    """Commit another task in the place of a clone's own."""
    shutil.rmtree(base / "model")
    shutil.copytree(task / "model", base / "model", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(task / "pipeline.yaml", base / "pipeline.yaml")
    for command in (["add", "--all"], ["commit", "--quiet", "--message", "Another task"]):
        subprocess.run(["git", *AUTHOR, *command], cwd=base, check=True)


def live(root: Path, plan: dict[str, Any], task: dict[str, Any], weeks: Sequence[date]) -> None:
    """Live what is left of the weeks: the loop beside the others."""
    print(f"year: {len(weeks)} weeks from {weeks[0]}, commit {plan['commit'][:12]}, in {root}", flush=True)
    lives = {
        name: kind(
            name, root, task["model"], [*plan["overrides"], *life.WATCHING], lambda line: print(line, flush=True)
        )
        for name, kind in life.POLICIES.items()
    }
    for each in lives.values():  # one after the other: the second takes the build from the cache
        each.begin(date.fromisoformat(task["as_of"]))
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(each.live, weeks) for each in reversed(lives.values())]:
            done.result()


if __name__ == "__main__":
    sys.exit(main())
