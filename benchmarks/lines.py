"""What every benchmark prints: lines of name, value, bound, holds."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Line:
    """One figure beside what it must reach."""

    name: str
    value: float
    bound: str
    """Such as `<= 0.12`; `printed` if nothing is asked of the figure."""
    holds: bool


def at_most(name: str, value: float, bound: float) -> Line:
    """Return the line of a figure that must not be above a bound."""
    return Line(name, float(value), f"<= {bound:g}", bool(value <= bound))


def table(lines: Sequence[Line]) -> list[str]:
    """Return the lines as rows of a table in Markdown."""
    rows = ["| requirement | value | bound | holds |", "|---|---|---|---|"]
    for line in lines:
        kept = "" if line.bound == "printed" else "yes" if line.holds else "**no**"
        rows.append(f"| {line.name} | {line.value:.4g} | {line.bound} | {kept} |")
    return rows


def arguments(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    found = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--quick", action="store_true", help="a smaller form of the same, in three minutes at most")
    found.add_argument("--json", type=Path, help="write the lines to this file too")
    return found


def finish(lines: Sequence[Line], file: Path | None) -> int:
    """Print the lines, write them to `file` if there is one, and return the exit code: 1 if one falls short."""
    width = max(len(line.name) for line in lines)
    for line in lines:
        print(f"{line.name:{width}}  {line.value:<10.4g}  {line.bound:<10}  {'holds' if line.holds else 'FALLS SHORT'}")
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n", encoding="utf-8")
    return int(not all(line.holds for line in lines))
