"""Builds of one commit by different users, in different folders, are the same bytes."""

import json

import pytest

from ci.stages import CACHED
from tests.e2e.forks import MAKE_MODEL

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


def test_another_user_with_another_locale_clock_and_folder_builds_the_same_package(expected, checkout):
    environment = {"LC_ALL": "C", "TZ": "America/New_York", "PYTHONHASHSEED": "4242"}
    other = checkout("other-user", umask=0o077, environment=environment)
    said = other.run(*MAKE_MODEL)
    for stage in CACHED:
        assert f"Running stage '{stage}'" in said, "it is computed here, not taken from a cache"
    manifest = json.loads(other.text("package/manifest.json"))
    assert manifest["image"]["digest"] == expected.manifest["image"]["digest"]
    assert manifest == expected.manifest
    assert other.text("package/SHA256SUMS") == expected.package
