"""README's section on Kind, followed word for word in a fresh clone."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.cluster import images
from tests.pods import REPOSITORY

pytestmark = [pytest.mark.cluster, pytest.mark.own_cluster, pytest.mark.long]
SMALL = (
    "serving.server=stand-in",  # as TensorFlow Serving's image may be out of reach here
    "tuning.max_trials=2",
    "tuning.epochs=1",
    "training.epochs=1",
)
"""What makes the build short; the section's own commands say nothing of it."""


def section(title: str) -> list[str]:
    """Return the commands of a section of README.md."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {title}\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert found
    return [line.strip() for line in found[1].splitlines() if line.startswith("    ")]


def test_the_commands_of_the_section_on_kind_lead_to_a_model_that_answers_and_leave_nothing(tmp_path: Path):
    commands = section("On Kind")
    assert [shlex.split(command)[:2] for command in commands] == [
        ["make", "doctor"],
        ["make", "cluster"],
        ["make", "ci"],
        ["curl", "--silent"],
        ["make", "cluster-delete"],
    ]
    images.kubectl()
    images.build_gateway()
    clone, home = tmp_path / "my clone", tmp_path / "my home"
    subprocess.run(["git", "clone", "-q", REPOSITORY, clone], check=True)
    (clone / ".venv").symlink_to((REPOSITORY / ".venv").resolve())
    for file in (
        "requirements.txt",
        "requirements-dev.txt",
        "model/requirements.txt",
    ):  # what is installed is up to date
        os.utime(clone / file, (0, 0))
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(home),
        "KUBECONFIG": str(home / "kubeconfig"),
        "CLUSTER": "from-readme",
        "PIPELINE_SET": "\n".join(SMALL),
    }
    said: list[str] = []
    try:
        for command in commands:
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=clone,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=1800,
            )
            said.append(done.stdout)
            assert done.returncode == 0, f"{command}\n{done.stdout}"
    finally:
        subprocess.run(["make", "cluster-delete"], cwd=clone, env=environment, check=False)
    assert "doctor: `make ci` can run on Kind here" in said[0]
    assert "AVAILABLE" in said[3]
    assert "cluster: from-readme deleted" in said[4]
    left = subprocess.run(["kind", "get", "clusters"], check=True, capture_output=True, text=True).stdout
    assert "from-readme" not in left.split()
