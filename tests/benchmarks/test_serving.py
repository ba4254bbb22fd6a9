"""What `benchmarks.serving --tune` proposes, and when it proposes nothing."""

import os
import re
import subprocess
import sys

import pytest

from benchmarks.load import Load
from benchmarks.tuned import config, proposed
from ci import workspace
from tests.pods import REPOSITORY

DOUBLES = REPOSITORY / "tests/benchmarks/doubles.py"
VERSION = "TensorFlow ModelServer: 2.19.1-rc0+dev.sha.no_git\nTensorFlow Library: 2.19.1"
"""What the real server calls itself."""


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


@pytest.fixture
def tuned(tmp_path):
    """Run `--tune` in a folder with a build, where `docker` and `wrk` are doubles; return how it ended."""
    folder = tmp_path / "fork"
    folder.mkdir()
    for name in ("ci", "k8s"):
        (folder / name).symlink_to(REPOSITORY / name)
    rows = {"instances": [{"x": 1.5}, {"x": None}], "predictions": [0.5, 0.5]}
    workspace.write_json(folder / "build/evaluation/golden.json", rows)
    (tmp_path / "bin").mkdir()

    def run(server="tensorflow-serving", programs=("docker", "wrk"), version=VERSION):
        text = (REPOSITORY / "tests/pipeline.yaml").read_text()
        text = text.replace("  server: tensorflow-serving\n", f"  server: {server}\n", 1)
        (folder / "pipeline.yaml").write_text(text)
        for name in programs:
            (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{DOUBLES}" {name} "$@"\n')
            (tmp_path / "bin" / name).chmod(0o755)
        given = {"PATH": f"{tmp_path}/bin", "PYTHONPATH": str(REPOSITORY)}
        given |= {"DOUBLE_FOLDER": str(tmp_path), "DOUBLE_VERSION": version}
        command = [sys.executable, "-m", "benchmarks.serving", "--tune"]
        done = subprocess.run(command, cwd=folder, env={**os.environ, **given}, capture_output=True, text=True)
        assert "Traceback" not in done.stderr
        return done

    return run


def test_what_tensorflow_serving_does_best_with_is_proposed_as_a_batching_config(tuned, tmp_path):
    done = tuned()
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "  256 rows,   500 us: p50 of one client 1.50 ms; of 64 clients p99 50.0 ms, 1800 requests a second"
        in done.stdout
    )
    shipped = (REPOSITORY / "k8s/server/batching.config").read_text().splitlines()
    names = [line.split()[0] for line in shipped if not line.startswith("#")]
    told = [re.fullmatch(r"(\w+) \{ value: (\d+) \}", line) for line in done.stdout.splitlines()]
    assert [(each[1], int(each[2])) for each in told if each] == [*zip(names, (256, 500, 1, 8), strict=True)]
    assert "a request of more than 256 rows is refused" in done.stdout
    assert (tmp_path / "configs").read_text().count("max_batch_size") == 9, "each candidate was served"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"server": "stand-in"}, "pipeline.yaml serves by the stand-in, which reads no batching.config"),
        ({"programs": ["wrk"]}, "numbers are measured on TensorFlow Serving itself, and Docker not on the PATH"),
        ({"version": "the stand-in 0.1.0"}, "is not TensorFlow Serving: it calls itself the stand-in 0.1.0"),
        ({"programs": ["docker"]}, "wrk is not on the PATH"),
    ],
    ids=["stand-in", "no Docker", "another server", "no wrk"],
)
def test_without_tensorflow_serving_nothing_is_proposed_and_it_says_why(tuned, given, why):
    done = tuned(**given)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
