"""The server that contract and API are tried on: the stand-in, or one that `CONFORMANCE_URL` leads to."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.serving.api import Api
from ci.serving.model import Version
from tests.ci.serving.servers import serving

GIVEN = os.environ.get("CONFORMANCE_URL")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what says nothing of a server that was given."""
    if GIVEN:
        beside = [item for item in items if "url" not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=beside)
        items[:] = [item for item in items if item not in beside]


@pytest.fixture(scope="module")
def url(echo_model: Path) -> Iterator[str]:
    if GIVEN:
        yield GIVEN
        return
    version = Version("echo", 7)
    version.load(echo_model)
    assert version.state == "AVAILABLE", version.error
    yield from serving(Api("echo", version))
