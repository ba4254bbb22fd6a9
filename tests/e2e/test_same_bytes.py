"""Builds of one commit by different users, in different folders, are the same bytes."""

import json

import pytest

from ci.stages import CACHED
from tests.e2e.forks import MAKE_MODEL


@pytest.mark.slow
def test_another_user_with_another_locale_clock_and_folder_builds_the_same_package(undisturbed, checkout):
    environment = {"LC_ALL": "C", "TZ": "America/New_York", "PYTHONHASHSEED": "4242"}
    other = checkout("other-user", umask=0o077, environment=environment)
    said = other.run(*MAKE_MODEL)
    for stage in CACHED:
        assert f"Running stage '{stage}'" in said, "it is computed here, not taken from a cache"
    _, build = undisturbed
    manifest = json.loads(other.text("package/manifest.json"))
    assert manifest["image"]["digest"] == build.manifest["image"]["digest"]
    assert manifest == build.manifest
    assert other.text("package/SHA256SUMS") == build.package
