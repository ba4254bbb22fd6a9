"""Images on their way to a cluster: to a registry that wants a token, and into the nodes of Kind."""

import os
from dataclasses import replace

import pytest

from ci.errors import InputError, StageError
from ci.registry import delivery
from ci.registry import layout as image
from tests.ci.packaging import registries


@pytest.fixture
def packaged(tmp_path):
    """A layout with one image of one layer; the layout and the digest."""
    file = tmp_path / "model.txt"
    file.write_text("weights")
    digest = image.build(tmp_path / "image", {"models/m/1/model.txt": file}, {})
    image.index(tmp_path / "image", {digest: "localhost/models/m:1"})
    return tmp_path / "image", digest


def test_a_registry_gets_what_it_lacks_and_last_the_manifest_that_makes_it_visible(packaged):
    layout, digest = packaged
    with registries.serving("models/m") as registry:
        said = delivery.deliver(layout, digest, f"{registry.name}:7", "production")
        assert said == f"sent to {registry.name}"
        assert registry.content["manifests/7"] == image.blob(layout, digest).read_bytes()
        sent = [each for each in registry.asked if each.startswith("put")]
        assert sent[-1] == "put manifests/7"
        for path in image.verify(layout, digest).blobs[1:]:
            assert registry.content[f"blobs/sha256:{path.name}"] == path.read_bytes()
        delivery.deliver(layout, digest, f"{registry.name}:7", "production")
        assert [each for each in registry.asked if each.startswith("put")] == [*sent, "put manifests/7"]


def test_a_registry_that_cannot_be_reached_is_a_failure_that_names_it(packaged):
    with pytest.raises(StageError, match=r"127\.0\.0\.1:9/m: the registry cannot be reached"):
        delivery.deliver(*packaged, "127.0.0.1:9/m:1", "production")


def test_a_changed_blob_is_not_sent(packaged):
    layout, digest = packaged
    layer = image.verify(layout, digest).blobs[-1]
    layer.write_bytes(layer.read_bytes() + b"x")
    with pytest.raises(StageError), registries.serving("models/m") as registry:
        delivery.deliver(layout, digest, f"{registry.name}:7", "production")


@pytest.mark.parametrize("blob", [0, 1, 2])
def test_a_changed_image_is_brought_nowhere(packaged, tmp_path, monkeypatch, blob):
    layout, digest = packaged
    path = image.verify(layout, digest).blobs[blob]
    path.write_bytes(path.read_bytes() + b" ")
    (tmp_path / "kind").write_text(f"#!/bin/sh\ntouch {tmp_path}/loaded\n")
    (tmp_path / "kind").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with registries.serving("models/m") as registry:
        for reference in (f"{registry.name}:7", "localhost/models/m:1"):
            with pytest.raises(StageError, match=f"{path.name} was changed"):
                delivery.deliver(layout, digest, reference, "kind-laptop")
        assert not registry.content
    assert not (tmp_path / "loaded").exists()


@pytest.mark.parametrize(("code", "said"), [(0, None), (1, "no such cluster")])
def test_a_cluster_of_kind_has_the_image_loaded(packaged, tmp_path, monkeypatch, code, said):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "kind").write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ntar -tf "$3" > {tmp_path}/listed\n'
        f"echo no such cluster >&2\nexit {code}\n"
    )
    (programs / "kind").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    if said:
        with pytest.raises(StageError, match=said):
            delivery.deliver(*packaged, "localhost/models/m:1", "kind-laptop")
        return
    assert delivery.deliver(*packaged, "localhost/models/m:1", "kind-laptop") == "loaded into the nodes of kind-laptop"
    assert (tmp_path / "asked").read_text().split()[-2:] == ["--name", "laptop"]
    assert {"oci-layout", "index.json"} < set((tmp_path / "listed").read_text().split())


@pytest.fixture
def on_a_base(tmp_path, monkeypatch):
    """A layout with one image on a base whose layer is not in it: the layout, the digest, and the layer's content."""
    monkeypatch.chdir(tmp_path)
    lower, file = tmp_path / "server", tmp_path / "model.txt"
    lower.write_text("a server")
    file.write_text("weights")
    below = image.Base(tmp_path / "base", image.build(tmp_path / "base", {"server": lower}, {}), "x:1", pinned=True)
    digest = image.build(tmp_path / "image", {"models/m/1/model.txt": file}, {}, replace(below, whole=False))
    image.index(tmp_path / "image", {digest: "localhost/models/m:1"})
    return tmp_path / "image", digest, image.verify(below.layout, below.digest).blobs[-1].read_bytes()


def test_a_layer_of_a_base_in_the_same_registry_is_taken_over_there_and_fetched_from_another(on_a_base):
    layout, digest, lower = on_a_base
    [part] = image.verify(layout, digest).elsewhere
    with registries.serving("library/base") as other:
        assert other.put("blobs", lower) == part["digest"]
        for mounts in ("library/base", ""):
            with registries.serving("models/m", mounts=mounts) as registry:
                registry.beside = {f"blobs/{part['digest']}": lower}
                base = f"{registry.host if mounts else other.host}/library/base:1@sha256:{'a' * 64}"
                delivery.deliver(layout, digest, f"{registry.name}:7", "production", base=base)
                assert registry.content[f"blobs/{part['digest']}"] == lower
                assert registry.asked.count("put blobs/1") == (2 if mounts else 3)
                assert registry.content["manifests/7"] == image.blob(layout, digest).read_bytes()
        assert other.asked == [f"blobs/{part['digest']}"]


def test_kind_gets_the_layers_of_the_base_too(on_a_base, tmp_path, monkeypatch):
    layout, digest, lower = on_a_base
    [part] = image.verify(layout, digest).elsewhere
    (tmp_path / "kind").write_text(f'#!/bin/sh\ntar -tf "$3" > {tmp_path}/listed\n')
    (tmp_path / "kind").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with registries.serving("library/base") as other:
        other.put("blobs", lower)
        delivery.deliver(layout, digest, "localhost/models/m:1", "kind-laptop", base=f"{other.name}:1")
    assert f"blobs/{part['digest'].replace(':', '/')}" in (tmp_path / "listed").read_text().split()


@pytest.mark.parametrize("base", [None, "oci:layout:1@sha256:0"])
def test_a_layer_that_no_registry_has_is_missing(on_a_base, base, tmp_path, monkeypatch):
    layout, digest, _ = on_a_base
    (tmp_path / "kind").write_text("#!/bin/sh\n")
    (tmp_path / "kind").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for reference in ("127.0.0.1:9/m:1", "localhost/models/m:1"):
        with pytest.raises(StageError, match="is missing from the image, and its base is in no registry"):
            delivery.deliver(layout, digest, reference, "kind-laptop", base=base)


def test_kind_that_hangs_is_not_waited_for_for_ever(packaged, tmp_path, monkeypatch):
    (tmp_path / "kind").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "kind").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(delivery, "_LOADING", 0.2)
    with pytest.raises(StageError, match="has not loaded localhost/models/m:1 into the nodes of"):
        delivery.deliver(*packaged, "localhost/models/m:1", "kind-laptop")


def test_kind_that_is_missing_is_said(packaged, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="kind is not on the PATH"):
        delivery.deliver(*packaged, "localhost/models/m:1", "kind-laptop")


def test_without_a_registry_the_nodes_must_have_it_and_that_is_said(packaged):
    assert "the nodes must have it" in delivery.deliver(*packaged, "localhost/models/m:1", "elsewhere")


def test_what_one_cluster_has_verified_must_still_be_in_the_registry_for_the_next(packaged):
    layout, digest = packaged
    with registries.serving("models/m") as registry:
        with pytest.raises(StageError, match=f"{registry.name}.*manifests/{digest}"):
            delivery.require(layout, digest, f"{registry.name}:7", "production")
        registry.content[f"manifests/{digest}"] = image.blob(layout, digest).read_bytes()
        before = list(registry.content)
        delivery.require(layout, digest, f"{registry.name}:7", "production")
        assert list(registry.content) == before, "nothing is sent"
    with pytest.raises(StageError, match=r"127\.0\.0\.1:9/m: the registry cannot be reached"):
        delivery.require(layout, digest, "127.0.0.1:9/m:1", "production")
    delivery.require(layout, digest, "localhost/models/m:1", "production")  # its nodes have it, or will say so
