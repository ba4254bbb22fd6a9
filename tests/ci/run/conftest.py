"""A machine with stand-in programs, whose repository is the current folder."""

import shutil
from pathlib import Path

import pytest

from tests.ci.run.machines import Machine
from tests.pods import REPOSITORY


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The machine; its paths have spaces."""
    made = Machine(tmp_path / "a machine")
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    checkout = tmp_path / "my checkout"
    (checkout / "ci").mkdir(parents=True)
    shutil.copytree(REPOSITORY / "ci/kind", checkout / "ci/kind")
    shutil.copytree(REPOSITORY / "ci/images", checkout / "ci/images")
    for file in ("tests/pipeline.yaml", "requirements.txt"):
        shutil.copy(REPOSITORY / file, checkout)
    monkeypatch.chdir(checkout)
    return made
