"""A folder for each surface, the bound on its memory, and the figures of all at the end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import harness
from tests.fuzz.harness import Surface


@pytest.fixture
def surface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Any) -> Iterator[Surface]:
    """Give a surface whose commands run in a new folder; its figures are told at the end."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("PIPELINE_SET", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    found = Surface(tmp_path)
    with harness.limited() as used:
        yield found
        peak = used()
    codes = ", ".join(f"{count} with {code}" for code, count in sorted(found.codes.items()))
    record_property(
        "fuzz", f"{found.inputs} inputs, {found.seconds:.1f} s, {peak / 2**20:.0f} MiB; {codes or 'no codes'}"
    )
    assert peak < harness.MEMORY, f"{peak / 2**20:.0f} MiB"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what was tried."""
    told = [
        f"{report.nodeid}: {value}"
        for report in terminalreporter.stats.get("", ())
        for name, value in getattr(report, "user_properties", ())
        if name == "fuzz" and report.when == "teardown"
    ]
    if told:
        terminalreporter.section("fuzzing")
        for line in told:
            terminalreporter.write_line(line)
