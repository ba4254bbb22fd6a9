"""What `benchmarks.serving --tune` proposes, and when it proposes nothing."""

import os
import subprocess
import sys

import pytest

from benchmarks.load import Load
from benchmarks.tuned import config, proposed
from tests.pods import REPOSITORY


def seen(one: float, p99: float, rate: float) -> tuple[Load, Load]:
    return Load(one, one, 1000 / one), Load(p99, p99, rate)


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ({(64, 0): seen(1, 50, 900), (256, 0): seen(1, 60, 1500)}, (256, 0)),
        ({(64, 0): seen(1, 50, 900), (256, 0): seen(1, 160, 1500)}, (64, 0)),
        ({(256, 0): seen(1, 50, 1480), (256, 2000): seen(3, 60, 1500)}, (256, 0)),
        ({(256, 0): seen(1, 50, 1000), (256, 2000): seen(3, 60, 1500)}, (256, 2000)),
        ({(256, 500): seen(1, 50, 1500), (256, 0): seen(1, 50, 1500)}, (256, 0)),
        ({(256, 0): seen(1, 50, 1500), (2048, 0): seen(1, 50, 1500)}, (2048, 0)),
        ({(256, 0): seen(1, 150, 1500)}, None),
        ({}, None),
    ],
    ids=["most", "in time", "a lone client", "much more", "shortest wait", "largest batch", "none", "nothing"],
)
def test_the_candidate_that_answers_most_in_time_is_proposed(found, chosen):
    assert proposed(found, 0.1) == chosen


def test_what_is_proposed_can_be_pasted():
    shipped = (REPOSITORY / "k8s/server/batching.config").read_text().splitlines()
    numbers = [line for line in shipped if not line.startswith("#")]
    assert config((2048, 0), 1).splitlines() == numbers


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ("stand-in", "reads no batching.config"),
        ("tensorflow-serving", "numbers are measured on TensorFlow Serving itself"),
    ],
)
def test_without_tensorflow_serving_nothing_is_proposed(tmp_path, server, why):
    text = (REPOSITORY / "tests/pipeline.yaml").read_text()
    (tmp_path / "pipeline.yaml").write_text(text.replace("  server: tensorflow-serving\n", f"  server: {server}\n", 1))
    for name in ("ci", "k8s"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    path = {"PATH": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}  # no Docker there
    command = [sys.executable, "-m", "benchmarks.serving", "--tune"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **path}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2, done.stderr
    assert why in done.stderr
    assert "Traceback" not in done.stderr
