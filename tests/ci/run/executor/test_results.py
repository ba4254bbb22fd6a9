"""Results of a build in pods on this machine: what is wanted and nothing else, each place as a whole."""

import io
import tarfile
from pathlib import Path

import pytest

from ci import configuration, workspace
from ci.errors import StageError
from ci.run.executor import results
from tests.pods import REPOSITORY


def archive(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return found.getvalue()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_place_is_replaced_as_a_whole_and_others_stay(folder):
    for name in ("report/old.html", "data/train.parquet"):
        workspace.write_text(workspace.BUILD / name, "before")
    came = results.unpack(archive({"build/report/index.html": b"new", "build/report/a/b.svg": b"x"}), "kind-x")
    assert came == [workspace.REPORT]
    found = {str(path) for path in Path("build").rglob("*") if path.is_file()}
    assert found == {"build/report/index.html", "build/report/a/b.svg", "build/data/train.parquet"}


@pytest.mark.parametrize(
    "name",
    ["../outside", "/etc/outside", "build/report/../../outside", "build/model/x", "build/state/registry/x", "ci/x.py"],
)
def test_nothing_is_written_elsewhere(folder, name):
    assert results.unpack(archive({name: b"x"}, {"build/report/link": "/etc/passwd"}), "kind-x") == []
    assert list(folder.iterdir()) == []


def test_the_settings_name_the_cluster_as_this_machine_knows_it():
    settings = configuration.read(REPOSITORY / "tests/pipeline.yaml", ['serving.context="-"', "seed=7"])
    results.unpack(archive({"build/settings.yaml": configuration.dump(settings).encode()}), "kind-x")
    assert configuration.effective().serving.context == "kind-x"
    assert configuration.effective().seed == 7


def test_what_is_no_archive_is_said():
    with pytest.raises(StageError, match="the results of the build cannot be read"):
        results.unpack(b"no archive at all" * 100, "kind-x")
