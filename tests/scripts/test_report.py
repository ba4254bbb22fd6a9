"""The report command as a process."""

import json
import subprocess
import sys
from pathlib import Path

from tests import builds


def test_the_command_says_what_was_decided_and_where_the_report_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    builds.leave()
    command = [sys.executable, "-m", "scripts.report"]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(builds.REPOSITORY)}, capture_output=True, text=True, check=True
    )
    headline = json.loads(Path("build/report/summary.json").read_text())["headline"]
    assert headline == "promote: auc 0.0200 better than the champion's; release 2 is serving"
    assert done.stdout == f"report: {headline} -> build/report/index.html\n"
    assert done.stderr == ""
