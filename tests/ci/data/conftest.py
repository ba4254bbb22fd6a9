"""The tiny task."""

import pytest

from tests import tasks


@pytest.fixture
def task(tmp_path, monkeypatch, capsys):
    """The tiny task as the current folder."""
    return tasks.make(tmp_path, monkeypatch, capsys)
