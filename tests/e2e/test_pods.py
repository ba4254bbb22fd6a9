"""A build whose every part begins in an empty folder, as in pods: what it needs reaches it by a declared way.

Folders stand for the pods (`tests.ci.podservers`); the commands, DVC and its remote are the real ones.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci.run.executor import build
from tests.ci import podservers
from tests.e2e.forks import Fork

pytestmark = [pytest.mark.slow, pytest.mark.e2e]
REMOTE = """\
[core]
    remote = shared
    analytics = false
    check_update = false
['remote "shared"']
    url = {folder}
"""


@pytest.fixture(scope="module")
def builds(checkout, tmp_path_factory) -> Iterator[tuple[list[str], list[str], Path]]:
    """What two builds of the same commit said, and the folder that is their volume."""
    fork: Fork = checkout("empty")
    volume = tmp_path_factory.mktemp("volume")
    for name in ("pods", "remote", "config"):
        (volume / name).mkdir()
    (volume / "config/config").write_text(REMOTE.format(folder=volume / "remote"))
    said: tuple[list[str], list[str]] = ([], [])
    with podservers.serving(volume / "pods") as (pods, api), pytest.MonkeyPatch.context() as patch:
        patch.chdir(fork.folder)
        pods.environment = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "DVC_SYSTEM_CONFIG_DIR": str(volume / "config"),
            "DVC_SITE_CACHE_DIR": str(volume / "site"),
        }
        site = build.Site("here", dict.fromkeys(("tools", "training", "release"), "any:1"), "http://127.0.0.1:9")
        settings = {"PIPELINE_SET": f"serving.port={fork.port}\nhistory.folder={volume / 'history'}"}
        for number, lines in enumerate(said):
            build.run(build.Build(api, site, f"b{number}", settings, lines.append))
        yield *said, volume


def test_a_build_in_empty_folders_goes_from_its_commit_to_a_model_that_serves(builds):
    first, _, volume = builds
    assert any("as release 1" in line for line in first)
    assert "build/report/index.html" in first[-1]
    assert len((volume / "history/builds.jsonl").read_text().splitlines()) == 1


def test_the_next_one_computes_nothing_again_though_its_folders_are_empty_too(builds):
    _, again, _ = builds
    assert [line for line in again if line.startswith("Running stage")] == []
    assert len([line for line in again if "is cached - skipping run, checking out outputs" in line]) == 5
