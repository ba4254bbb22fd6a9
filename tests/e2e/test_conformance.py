"""The build of `make conformance`, as far as it needs no cluster: its model passes, whatever gates there are."""

import json
import os
import subprocess
import sys

import pytest

from tests.conformance.__main__ import SETTINGS, Build

pytestmark = pytest.mark.e2e


def test_its_model_is_promoted_whatever_this_repositorys_own_task_and_gates_are(tmp_path):
    build = Build(tmp_path / "repository")
    build.clone()
    lines = "\n".join([*SETTINGS, "tuning.workers=1"])
    stages = ("configure", "champion", "prepare", "tune", "train", "test")
    done = subprocess.run(
        [sys.executable, "-m", "scripts.pipeline", *stages],
        cwd=tmp_path / "repository",
        env={**os.environ, **build.environment, "PIPELINE_SET": lines},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "repository/build/evaluation/evaluation.json").read_text())
    assert (found["verdict"], found["gates"]) == ("promote", [])
