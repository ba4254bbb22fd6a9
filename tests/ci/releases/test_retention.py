"""What is pruned frees space and never takes what serves, what a rollout goes back to, or what it is compared with."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci import configuration, workspace
from ci.errors import StageError
from ci.registry import bases
from ci.registry import layout as image
from ci.registry import local as registry
from ci.releases import ledger, machine
from ci.releases.machine import MachineLedger
from ci.rollout.local import servers as local
from ci.settings import Settings
from ci.settings.building import Model
from ci.settings.watching import Retention
from scripts import prune
from tests import builds
from tests.pods import REPOSITORY

LEDGER = MachineLedger()


def settings(keep: int) -> Settings:
    retained = Retention(releases=keep)
    return Settings(schema_version=1, as_of=date(2013, 4, 1), model=Model(name="m"), retention=retained)


def release(name: str, champion: str | None = None) -> str:
    """Release an image as a deployment does, with all that it leaves, and return its digest."""
    Path("saved_model.pb").write_text(name)
    layout = Path("layouts") / name
    digest = image.build(layout, {f"models/m/{name}/saved_model.pb": Path("saved_model.pb")}, {})
    registry.push(layout, digest, f"x/m:{name}")
    registry.unpack(digest)
    workspace.write_json(LEDGER.evidence(digest) / "manifest.json", {})
    workspace.write_text(machine.FOLDER / f"{digest.removeprefix('sha256:')}.log", "started")
    version = {"version": str(ord(name)), "as_of": "2013-04-01"}
    before = champion and {**version, "digest": champion, "release": 1}
    LEDGER.add(builds.release(digest=digest, champion=before, inputs=name, **version))
    return digest


def left() -> set[str]:
    """Return the digests of which anything at all is left, after asking for each image."""
    listed = json.loads((registry.LAYOUT / "index.json").read_text())["manifests"]
    found = {entry["digest"] for entry in listed}
    for digest in found:
        assert registry.unpack(digest).exists()
    records = [*(machine.FOLDER / "releases").iterdir(), *machine.FOLDER.glob("*.log"), *registry.UNPACKED.iterdir()]
    assert {f"sha256:{path.stem}" for path in records} == found
    blobs = {blob.name for digest in found for blob in image.verify(registry.LAYOUT, digest).blobs}
    assert {path.name for path in (registry.LAYOUT / "blobs/sha256").iterdir()} == blobs
    return found


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@given(st.lists(st.sampled_from("abcde"), max_size=8), st.integers(1, 9), st.sampled_from("abcde") | st.none())
def test_the_last_images_and_the_champion_of_the_last_one_are_kept(names: list[str], count: int, rival: str) -> None:
    records: list[dict[str, Any]] = [{"digest": name, "champion": None} for name in names]
    if records:
        records[-1]["champion"] = rival and {"digest": rival}
    kept = ledger.kept(records, count)
    assert {*names[-1:]} <= kept
    assert kept <= {*names, rival}
    assert not rival or not names or rival in kept
    assert len(kept - {rival}) <= count
    assert len(kept) >= min(count, len(set(names)))


def test_old_images_go_with_all_they_left_and_the_champion_of_the_last_release_stays() -> None:
    first, second, third, fourth = (release(name) for name in "1234")
    fifth = release("5", champion=first)
    workspace.write_text(bases.CACHE / "blobs/sha256/a", "base")
    before = workspace.size(workspace.STATE)
    listed, freed = prune.images(settings(2), dry_run=True)
    assert len(left()) == 5
    workspace.write_text(registry.LAYOUT / "blobs/sha256/.half.part", "half")
    paths, again = prune.images(settings(2), dry_run=False)
    assert (len(paths), again) == (len(listed) + 1, freed + 4), "a copy that was cut short goes too"
    assert left() == {first, fourth, fifth}
    assert not list(bases.CACHE.glob("*"))
    index = 3 * 400  # the table of contents became shorter too
    assert before - workspace.size(workspace.STATE) == pytest.approx(freed, abs=index)
    assert prune.images(settings(2), dry_run=False) == ([], 0)
    assert len(LEDGER.read()) == 5, "the record of releases is kept"
    assert {second, third}.isdisjoint(left())


def test_what_runs_is_kept_even_if_it_was_never_released(monkeypatch: pytest.MonkeyPatch) -> None:
    running, last = release("1"), release("2")
    monkeypatch.setattr(local.Local, "phases", lambda _: {running: "loading"})
    prune.images(settings(1), dry_run=False)
    assert left() == {running, last}


def test_nothing_is_deleted_where_an_image_to_keep_is_damaged_or_a_deployment_is_under_way() -> None:
    release("1")
    damaged = image.verify(registry.LAYOUT, release("2")).blobs[-1]
    before = {path: path.read_bytes() for path in workspace.STATE.rglob("*") if path.is_file()}
    with machine.alone(), pytest.raises(StageError, match="another deploy, serve or stop is under way"):
        prune.images(settings(1), dry_run=False)
    content = damaged.read_bytes()
    damaged.write_bytes(b"x" + content[1:])
    with pytest.raises(StageError, match=f"{damaged.name} was changed"):
        prune.images(settings(1), dry_run=False)
    damaged.write_bytes(content)
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_that_was_cut_short_is_completed_by_the_next() -> None:
    release("1")
    release("2")
    keep = ledger.kept(LEDGER.read(), 1)
    registry.forget(keep)
    workspace.remove(registry.unused(keep)[0])
    prune.images(settings(1), dry_run=False)
    assert left() == keep


@pytest.mark.slow
def test_dvc_keeps_what_a_commit_or_the_workspace_names_and_the_command_says_what_was_freed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    Path("gitconfig").write_text("[user]\nname = t\nemail = t@example.org\n")
    Path(".gitignore").write_text("/build\n/site\n/gitconfig\n")
    Path(".dvcignore").write_text((REPOSITORY / ".dvcignore").read_text())
    workspace.write_text(workspace.SETTINGS, configuration.dump(settings(1)))
    dvc = [sys.executable, "-m", "dvc"]
    stage = {"cmd": "cp raw.csv model", "deps": ["raw.csv"], "outs": ["model"]}
    Path("dvc.yaml").write_text(json.dumps({"stages": {"train": stage}}))
    commands = [["git", "init", "-q"], [*dvc, "init", "-q"]]
    for command in commands:
        subprocess.run(command, check=True)
    for number in range(2):  # two versions of the data are committed, two models are made of them
        Path("raw.csv").write_text(str(number) * 100_000)
        subprocess.run([*dvc, "add", "-q", "raw.csv"], check=True)
        Path("dvc.yaml").write_text(
            json.dumps({"stages": {"train": {**stage, "cmd": f"echo {number} | cat - raw.csv > model"}}})
        )
        subprocess.run([*dvc, "repro", "-q"], check=True)
        subprocess.run(["git", "add", "--all", "--", ":!dvc.lock"], check=True)
        subprocess.run(["git", "commit", "-q", "-m", str(number)], check=True)
    cache = Path(".dvc/cache/files")
    assert workspace.size(cache) == 2 * 100_000 + 2 * 100_002
    assert prune.main(["--dry-run"]) == 0
    assert workspace.size(cache) == 2 * 100_000 + 2 * 100_002
    assert "images: 0.0 MB to free" in capfd.readouterr().out
    assert prune.main([]) == 0
    assert "DVC's cache: 0.1 MB freed" in capfd.readouterr().out
    assert workspace.size(cache) == 2 * 100_000 + 100_002
    subprocess.run(["git", "checkout", "-q", "HEAD~1", "--", "raw.csv.dvc"], check=True)
    subprocess.run([*dvc, "checkout", "-q", "raw.csv"], check=True)
    assert Path("raw.csv").read_text() == "0" * 100_000
    subprocess.run([*dvc, "config", "cache.dir", str(tmp_path.parent / "shared")], check=True)
    assert prune.main([]) == 0
    assert "not touched: outside the repository, where others may share it" in capfd.readouterr().out
    subprocess.run([*dvc, "config", "--unset", "cache.dir"], check=True)

    Path("dvc.yaml").write_text("one: 1\n---\ntwo: 2\n")
    subprocess.run(["git", "commit", "-qam", "a file that DVC cannot read"], check=True)
    subprocess.run(["git", "checkout", "-q", "HEAD~1", "--", "dvc.yaml"], check=True)
    subprocess.run(["git", "commit", "-qam", "repaired"], check=True)
    before = workspace.size(cache)
    assert prune.main([]) == 0
    assert "not touched: DVC cannot read every commit" in capfd.readouterr().out
    assert workspace.size(cache) == before
    assert prune.main(["--tips"]) == 0
    assert "DVC's cache: 0.1 MB freed" in capfd.readouterr().out
