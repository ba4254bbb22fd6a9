"""A quarter lived with the real commands, killed several times: the same result as without a kill.

`make test-long` runs it; it takes about ten minutes on two cores.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ci.results.year import YEAR
from tests.pods import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.long]

COMMAND = [sys.executable, "-m", "benchmarks.year", "--quick", "--task", "benchmarks/series"]
PATIENCE = 1800
"""Longest wait for a quarter, in seconds."""
KILLED_AFTER = ("loop: first release", "loop 2013-04-15", "retrain --start", "monthly 2013-05-13")
"""What the console or the loop's log has said when the year is killed."""


@pytest.fixture
def tree(tmp_path):
    """A clone of the committed tree."""
    subprocess.run(["git", "clone", "--quiet", "--", REPOSITORY, tmp_path / "tree"], check=True)
    return tmp_path / "tree"


def start(tree: Path, said: Path) -> subprocess.Popen[bytes]:
    with said.open("ab") as file:
        return subprocess.Popen([*COMMAND, "--folder", "year"], cwd=tree, stdout=file, stderr=file)


def without_seconds(year):
    """What must be the same however often it was killed."""
    if isinstance(year, dict):
        left = {"seconds", "building", "watching", "first_build"}
        return {key: without_seconds(value) for key, value in year.items() if key not in left}
    return [without_seconds(each) for each in year] if isinstance(year, list) else year


@pytest.mark.timeout(3 * PATIENCE)
def test_a_quarter_that_was_killed_several_times_ends_as_one_that_was_not(tree, tmp_path):
    said, log = tmp_path / "said.log", tree / "year/loop.log"
    for word in KILLED_AFTER:
        process = start(tree, said)
        until = time.monotonic() + PATIENCE
        while word not in said.read_text() + (log.read_text() if log.exists() else ""):
            assert process.poll() is None, said.read_text()[-3000:]
            assert time.monotonic() < until
            time.sleep(0.2)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert start(tree, said).wait(PATIENCE) == 0, said.read_text()[-3000:]
    killed = json.loads((tree / YEAR.path).read_text())
    assert killed["weeks"] == 13
    loop = killed["policies"][-1]
    assert loop["name"] == "loop"
    assert 0 < loop["trainings"] <= 6, "no storm"
    assert 'id="year"' in (tree / "build/report/index.html").read_text()
    undisturbed = subprocess.run(
        [*COMMAND, "--folder", "again"], cwd=tree, capture_output=True, text=True, timeout=PATIENCE
    )
    assert undisturbed.returncode == 0, undisturbed.stdout[-3000:]
    assert without_seconds(json.loads((tree / YEAR.path).read_text())) == without_seconds(killed)
