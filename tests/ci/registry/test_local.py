"""Where the champion's model comes from: this machine, or the registry that releases are sent to."""

import pytest

from ci.errors import StageError
from ci.registry import delivery, local
from ci.registry import layout as image
from ci.registry.client import Unreachable
from tests.ci.packaging import registries


@pytest.fixture
def released(tmp_path, monkeypatch):
    """An image of a base and a model, made on another machine; its layout and digest."""
    monkeypatch.chdir(tmp_path)
    files = {name: tmp_path / name for name in ("saved_model.pb", "big")}
    for name, path in files.items():
        path.write_text(name)
    base = image.build(tmp_path / "base", {"models/base/1/saved_model.pb": files["big"]}, {})
    found = image.Base(tmp_path / "base", base, "base:1", pinned=True)
    layout = tmp_path / "elsewhere"
    digest = image.build(layout, {"models/m/7/saved_model.pb": files["saved_model.pb"]}, {}, found)
    image.index(layout, {digest: "models/m:7"})
    return layout, digest


def test_a_release_of_another_machine_comes_from_the_registry_without_its_base(released):
    layout, digest = released
    with registries.serving("models/m") as registry:
        delivery.deliver(layout, digest, f"{registry.name}:7", "production")
        registry.asked.clear()
        folder = local.released(digest, registry.name)
        assert (folder / "saved_model.pb").read_text() == "saved_model.pb"
        assert folder.parts[-2:] == ("m", "7")
        top = image.verify(layout, digest).blobs[-1].name
        assert registry.asked == [f"manifests/{digest}", f"blobs/sha256:{top}"]
        assert local.released(digest, registry.name) == folder
        assert len(registry.asked) == 2  # what is here whole is not asked for again


def test_what_was_changed_here_is_fetched_again(released):
    layout, digest = released
    with registries.serving("models/m") as registry:
        delivery.deliver(layout, digest, f"{registry.name}:7", "production")
        folder = local.released(digest, registry.name)
        (folder / "saved_model.pb").write_text("another")
        top = image.blob(local.LAYOUT, f"sha256:{image.verify(layout, digest).blobs[-1].name}")
        top.write_bytes(b"another")
        assert (local.released(digest, registry.name) / "saved_model.pb").read_text() == "saved_model.pb"


def test_a_registry_that_does_not_answer_says_nothing_of_the_champion(released):
    with pytest.raises(Unreachable, match="cannot be reached"):
        local.released(released[1], "127.0.0.1:9/models/m")


def test_a_release_that_nobody_has_is_told_as_such(released):
    _, digest = released
    with registries.serving("models/m") as registry, pytest.raises(StageError, match="does not have it") as said:
        local.released(digest, registry.name)
    assert not isinstance(said.value, Unreachable)
    with pytest.raises(StageError, match=f"image {digest} is not in build/state/registry"):
        local.released(digest, "localhost/models/m")
