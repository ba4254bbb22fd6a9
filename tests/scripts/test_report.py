"""The report command as a process."""

import json
import shutil
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


def test_in_a_pod_without_an_account_it_says_what_it_knows_from_the_champion(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    builds.leave()
    shutil.rmtree("build/rollout")
    settings = Path("build/settings.yaml")
    settings.write_text(settings.read_text().replace("context: null", "context: '-'"))
    command = [sys.executable, "-m", "scripts.report"]
    environment = {"PYTHONPATH": str(builds.REPOSITORY), "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "cannot be seen" not in done.stdout + done.stderr
    assert "this pod has no account of the cluster" in done.stdout
    serving = json.loads(Path("build/report/summary.json").read_text())["serving"]
    assert serving == "release 1 was the champion when this build began"
    assert serving[1:] in Path("build/report/index.html").read_text()
