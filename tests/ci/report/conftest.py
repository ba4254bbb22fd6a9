"""One build that is left and reported once; its tests begin with copies, whose pictures need not be drawn again."""

import os
import shutil
from pathlib import Path

import pytest

from scripts import report
from tests import builds


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, before = tmp_path_factory.mktemp("reported"), Path.cwd()
    os.chdir(folder)
    try:
        builds.leave()
        assert report.main([]) == 0
    finally:
        os.chdir(before)
    return folder / "build"


@pytest.fixture
def build(reported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(reported, tmp_path / "build"))
