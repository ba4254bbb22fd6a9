"""A cluster for the tests of this folder."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.ci.rollout import clusters
from tests.ci.rollout.clusters import World


@pytest.fixture
def world(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.chdir(tmp_path)
    with clusters.world(monkeypatch) as found:
        yield found
