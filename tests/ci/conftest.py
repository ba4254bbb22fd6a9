"""Models that several rooms' tests share: importing TensorFlow and saving a model takes seconds."""

from pathlib import Path

import pytest

from tests import saved_models, tasks


@pytest.fixture(scope="session")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_models.save(tmp_path_factory.mktemp("demo") / "saved_model")


@pytest.fixture(scope="session")
def echo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_models.save_kinds(tmp_path_factory.mktemp("echo") / "7")


@pytest.fixture(scope="session")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_models.save_wide(tmp_path_factory.mktemp("wide") / "1")


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tasks.Task:
    """The tiny task as the current folder."""
    return tasks.make(tmp_path, monkeypatch, capsys)
