"""Models that are light enough to be served by the dozen, and a folder that deploys them on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ci import workspace
from scripts import stop
from tests import saved_models
from tests.ci.rollout.checkouts import Checkout


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {bias: saved_models.save(folder / str(bias), bias) for bias in (0.25, 0.5, 0.75)}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: dict[float, Path]) -> Iterator[Checkout]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr("ci.packaging.card.render", lambda *_: "a card")  # there is no evidence for one here
    workspace.write_text(workspace.CARD, "")
    yield Checkout(models)
    assert stop.main([]) == 0
    assert stop.main([]) == 0
