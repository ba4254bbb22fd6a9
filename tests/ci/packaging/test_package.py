"""Packages and the registry: same model, same digest; any changed byte is refused by name."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci import saved_model, workspace
from ci.errors import InputError, StageError
from ci.packaging import card, package
from ci.registry import layout as image
from ci.registry import local as registry
from ci.settings.building import Packaging

DIGESTS = {name: f"sha256:{hashlib.sha256(name.encode()).hexdigest()}" for name in ("data", "settings", "code")}
SIGNATURE = {"inputs": {"x": "DT_FLOAT"}, "outputs": {"late": {"shape": []}}}


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = workspace.MODEL / "saved_model"
    (model / "variables").mkdir(parents=True)
    (model / "assets").mkdir()
    (model / "saved_model.pb").write_bytes(b"graph")
    (model / "fingerprint.pb").write_bytes(os.urandom(16))
    (model / "variables" / "variables.index").write_bytes(b"index")
    monkeypatch.setattr(card, "render", lambda *_: "a card")
    workspace.write_text(workspace.CARD, "words")
    workspace.write_json(workspace.EVALUATION / "golden.json", {"instances": [{"x": 1.0}], "predictions": [0.5]})
    workspace.write_json(workspace.EVALUATION / "reference.json", {})
    workspace.write_json(workspace.EVALUATION / "evaluation.json", {"verdict": "promote"})
    Path("requirements.txt").write_text("numpy==2.4.6\n    # via tensorflow\n")


def assemble(**settings: str) -> dict[str, Any]:
    with workspace.replacing(workspace.PACKAGE) as folder:
        return package.assemble(folder, "demo", Packaging(**settings), date(2013, 4, 1), DIGESTS, SIGNATURE)


def packaged() -> dict[str, bytes]:
    files = (path for path in workspace.PACKAGE.rglob("*") if path.is_file())
    return {path.relative_to(workspace.PACKAGE).as_posix(): path.read_bytes() for path in files}


def test_the_same_model_gives_the_same_bytes_whatever_the_umask_times_and_random_ids() -> None:
    first, before = assemble(), packaged()
    model = workspace.MODEL / "saved_model"
    (model / "fingerprint.pb").write_bytes(os.urandom(16))
    (model / "assets").rmdir()  # a cache that restores the model keeps no empty folders
    (model / "saved_model.pb").chmod(0o600)
    os.utime(model / "saved_model.pb", (1, 1))
    old = os.umask(0o077)
    try:
        assert assemble() == first
    finally:
        os.umask(old)
    assert packaged() == before


def test_the_image_holds_the_model_below_its_name_and_version() -> None:
    manifest = assemble()
    found = image.verify(workspace.PACKAGE / "image", manifest["image"]["digest"])
    base = f"models/demo/{manifest['version']}"
    with tarfile.open(found.blobs[2]) as archive:
        entries = {entry.name: entry for entry in archive}
    assert sorted(entries) == [
        "models", "models/demo", base, f"{base}/saved_model.pb", f"{base}/variables",
        f"{base}/variables/variables.index",
    ]  # fmt: skip
    assert {(entry.uid, entry.gid, entry.mtime) for entry in entries.values()} == {(0, 0, 0)}
    assert {oct(entry.mode) for entry in entries.values()} == {"0o755", "0o644"}


def test_another_model_gives_another_version_of_the_same_date() -> None:
    first = assemble()
    (workspace.MODEL / "saved_model" / "saved_model.pb").write_bytes(b"other")
    second = assemble()
    assert first["version"] != second["version"]
    assert str(first["version"])[:8] == str(second["version"])[:8] == "20130401"
    assert first["image"] != second["image"]


@given(st.dates(date(1000, 1, 1)), st.binary(min_size=32, max_size=32))
def test_a_version_is_a_number_of_thirteen_digits(as_of: date, digest: bytes) -> None:
    version = package.version(as_of, f"sha256:{digest.hex()}")
    assert version.isdecimal()
    assert len(version) == 13
    assert int(version) < 2**63


@pytest.mark.parametrize(
    ("number", "digits"),
    [(7, "00007"), (99_999, "99999"), (100_000, "00000"), (123_456, "23456"), (10**40 + 42, "00042")],
)
def test_a_version_ends_in_the_last_digits_of_the_models_digest(number: int, digits: str) -> None:
    assert package.version(date(2013, 4, 1), f"sha256:{number:064x}") == f"20130401{digits}"


def test_every_changed_byte_of_a_package_is_refused_and_its_file_named() -> None:
    assemble()
    intact = packaged()
    assert package.verify(workspace.PACKAGE)["model"] == "demo"
    for name, content in intact.items():
        path = workspace.PACKAGE / name
        for position in sorted({0, len(content) // 2, len(content) - 1}):
            path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
            with pytest.raises(StageError) as error:
                package.verify(workspace.PACKAGE)
            assert name == package.SUMS or name in str(error.value)
        path.write_bytes(content)
    assert package.verify(workspace.PACKAGE)["model"] == "demo"


def test_a_file_too_many_or_too_few_is_refused_and_named() -> None:
    assemble()
    (workspace.PACKAGE / "extra.txt").write_text("")
    with pytest.raises(StageError, match=r"extra\.txt is not listed"):
        package.verify(workspace.PACKAGE)
    (workspace.PACKAGE / "extra.txt").unlink()
    (workspace.PACKAGE / "golden.json").unlink()
    with pytest.raises(StageError, match=r"golden\.json is listed in SHA256SUMS but missing"):
        package.verify(workspace.PACKAGE)


def test_sha256sum_checks_a_package_too() -> None:
    assemble()
    subprocess.run(["sha256sum", "--check", "--strict", package.SUMS], cwd=workspace.PACKAGE, check=True)


def test_the_registry_gives_back_what_was_pushed_and_repairs_what_was_unpacked() -> None:
    manifest = assemble()
    digest, reference = manifest["image"]["digest"], manifest["image"]["reference"]
    registry.push(workspace.PACKAGE / "image", digest, reference)
    folder = registry.unpack(digest)
    assert folder.parts[-2:] == ("demo", manifest["version"])
    assert package.model_digest(folder) == manifest["digests"]["model"]
    (folder / "saved_model.pb").write_bytes(b"changed")
    assert (registry.unpack(digest) / "saved_model.pb").read_bytes() == b"graph"


def test_the_registry_keeps_every_image_and_completes_a_push_that_was_cut_short() -> None:
    first = assemble()["image"]
    registry.push(workspace.PACKAGE / "image", first["digest"], first["reference"])
    (workspace.MODEL / "saved_model" / "saved_model.pb").write_bytes(b"other")
    second = assemble()["image"]
    layer = json.loads(image.blob(workspace.PACKAGE / "image", second["digest"]).read_text())["layers"][0]["digest"]
    image.blob(registry.LAYOUT, layer).with_name(f".{layer.removeprefix('sha256:')}.part").write_bytes(b"half")
    registry.push(workspace.PACKAGE / "image", second["digest"], second["reference"])
    registry.push(workspace.PACKAGE / "image", second["digest"], second["reference"])
    assert (registry.unpack(first["digest"]) / "saved_model.pb").read_bytes() == b"graph"
    assert (registry.unpack(second["digest"]) / "saved_model.pb").read_bytes() == b"other"


def test_a_changed_registry_is_refused_and_the_blob_named() -> None:
    manifest = assemble()
    digest = manifest["image"]["digest"]
    with pytest.raises(StageError, match="is not in"):
        registry.unpack(digest)
    registry.push(workspace.PACKAGE / "image", digest, manifest["image"]["reference"])
    layer = image.verify(registry.LAYOUT, digest).blobs[2]
    layer.write_bytes(layer.read_bytes()[:-1] + b"x")
    with pytest.raises(StageError, match=layer.name):
        registry.unpack(digest)


def test_the_signature_is_read_from_the_model(plain_model: Path) -> None:
    inputs = {"carrier": "DT_STRING", "hour": "DT_INT64", "x": "DT_FLOAT"}
    assert saved_model.signature(plain_model) == {"inputs": inputs, "shapes": {}, "outputs": {"late": {"shape": []}}}


def test_the_manifest_names_every_digest_and_each_is_what_it_says() -> None:
    digests = assemble()["digests"]
    assert set(digests) == {"data", "settings", "code", "evaluation", "model", "image", "sbom"}
    assert digests["sbom"] == f"sha256:{hashlib.sha256(packaged()['sbom.cdx.json']).hexdigest()}"
    assert digests["image"] == image.verify(workspace.PACKAGE / "image", digests["image"]).digest


def list_again() -> None:
    """Make SHA256SUMS fit what is there, so that only the content can be objected to."""
    files = sorted(name for name in packaged() if name != package.SUMS)
    result = subprocess.run(["sha256sum", *files], cwd=workspace.PACKAGE, capture_output=True, check=True)
    (workspace.PACKAGE / package.SUMS).write_bytes(result.stdout)


def change(path: Path, **values: object) -> None:
    """Change some keys of a file; those that are None go."""
    whole = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in whole.items() if value is not None}))


def layer() -> Path:
    digest = json.loads((workspace.PACKAGE / "manifest.json").read_text())["image"]["digest"]
    return image.verify(workspace.PACKAGE / "image", digest).blobs[-1]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (
            lambda folder: shutil.rmtree(folder),
            r"package/SHA256SUMS is missing: run `python -m scripts\.package` first",
        ),
        (lambda folder: (folder / "manifest.json").write_text("{}"), r"manifest\.json: model: Field required"),
        (lambda folder: (folder / "manifest.json").write_text("[1]"), r"manifest\.json: Input should be an object"),
        (lambda folder: (folder / "manifest.json").write_text("{"), r"manifest\.json:1: not JSON"),
        (lambda folder: change(folder / "manifest.json", version=None), r"manifest\.json: version: Field required"),
        (lambda folder: change(folder / "manifest.json", version="1/../.."), r"manifest\.json: version: String should"),
        (lambda folder: change(folder / "manifest.json", model="../x"), r"manifest\.json: model: String should match"),
        (lambda folder: change(folder / "manifest.json", digests=[1]), r"manifest\.json: digests: Input should be"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"\xff"), r"manifest\.json:1: not UTF-8 text"),
        (lambda folder: change(folder / "golden.json", predictions=["x"]), r"golden\.json: predictions\.0: "),
        (
            lambda folder: change(folder / "golden.json", predictions=[]),
            r"golden\.json: .*0 predictions for 1 instances",
        ),
        (lambda folder: change(folder / "golden.json", instances=[[1]]), r"golden\.json: instances\.0: "),
        (lambda folder: (folder / "golden.json").write_text("[" * 100_000), r"golden\.json:1: not JSON"),
        (lambda folder: (folder / "manifest.json").unlink(), r"manifest\.json is missing: run `python -m scripts"),
        (lambda _: layer().write_bytes(layer().read_bytes()[:100]), r"blobs/sha256/\w{64} was changed"),
        (lambda _: layer().unlink(), r"blobs/sha256/\w{64} is missing from the image"),
        (lambda folder: (folder / "SHA256SUMS").write_bytes(b"\xff\x00"), r"SHA256SUMS was changed: not every line"),
    ],
)
def test_a_malformed_package_is_refused_with_its_file_and_the_fix(damage: Callable[[Path], object], named: str) -> None:
    assemble()
    damage(workspace.PACKAGE)
    if "SHA256SUMS" not in named:
        list_again()
    with pytest.raises((StageError, InputError), match=named):
        package.verify(workspace.PACKAGE)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"manifests": 3}', '{"manifests": [{}]}', "\0"])
def test_a_malformed_table_of_contents_of_the_registry_is_named_with_the_fix(content: str) -> None:
    manifest = assemble()
    registry.push(workspace.PACKAGE / "image", manifest["image"]["digest"], manifest["image"]["reference"])
    (registry.LAYOUT / "index.json").write_text(content)
    for act in (registry.unpack, lambda digest: registry.push(workspace.PACKAGE / "image", digest, "x")):
        with pytest.raises(StageError, match=r"registry/index\.json is no table of contents .*: restore it, or delete"):
            act(manifest["image"]["digest"])


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"config": {}, "layers": []}', b'{"config": 1, "layers": 2}'])
def test_what_is_no_manifest_of_an_image_is_named(content: bytes) -> None:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    workspace.write_bytes(image.blob(registry.LAYOUT, digest), content)
    image.index(registry.LAYOUT, {digest: "x"})
    with pytest.raises(StageError, match=rf"{digest[7:]} is no image manifest"):
        registry.unpack(digest)


def test_a_layer_that_ends_too_early_is_named_even_if_its_digest_is_right() -> None:
    (workspace.MODEL / "saved_model" / "saved_model.pb").write_bytes(os.urandom(10_000))
    manifest = assemble()
    whole = image.verify(workspace.PACKAGE / "image", manifest["image"]["digest"])
    short = workspace.PACKAGE / "short"
    short.write_bytes(whole.blobs[-1].read_bytes()[:5000])
    with pytest.raises(StageError, match=r"short is no layer that can be extracted \(.*\): package again"):
        image.extract(image.Image(whole.digest, (*whole.blobs[:2], short)), Path("out"))


@pytest.mark.parametrize(
    "add",
    [
        lambda folder: (folder / "link").symlink_to("card.md"),
        lambda folder: (folder / "link").symlink_to("gone"),
        lambda folder: (folder / "image" / "link").symlink_to("/"),
        lambda folder: os.mkfifo(folder / "link"),
    ],
    ids=["link to a file", "dangling link", "link to a folder", "pipe"],
)
def test_what_is_no_plain_file_does_not_belong_into_a_package(add: Callable[[Path], object]) -> None:
    assemble()
    add(workspace.PACKAGE)
    with pytest.raises(StageError, match="link is no plain file, so it does not belong into a package"):
        package.verify(workspace.PACKAGE)


def test_a_file_of_a_package_that_became_a_link_to_the_same_bytes_is_refused() -> None:
    assemble()
    (workspace.PACKAGE / "golden.json").rename("golden.json")
    (workspace.PACKAGE / "golden.json").symlink_to(Path("golden.json").resolve())
    with pytest.raises(StageError, match=r"golden\.json is no plain file"):
        package.verify(workspace.PACKAGE)


def test_folders_too_deep_are_refused_in_a_package_and_in_a_model() -> None:
    assemble()
    for folder in (workspace.PACKAGE, workspace.MODEL / "saved_model"):
        (folder / ("d/" * 100)).mkdir(parents=True)
        with pytest.raises(StageError, match="folders more than 32 deep"):
            package.verify(folder) if folder == workspace.PACKAGE else package.model_digest(folder)


@pytest.mark.parametrize(("deep", "refused"), [(32, False), (33, True)])
def test_folders_may_be_thirty_two_deep(deep: int, refused: bool) -> None:
    folder = workspace.MODEL / "saved_model"
    (folder / ("d/" * deep)).mkdir(parents=True)
    if refused:
        with pytest.raises(StageError, match="folders more than 32 deep"):
            package.model_digest(folder)
    else:
        assert package.model_digest(folder).startswith("sha256:")


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"other")])
@pytest.mark.parametrize("blob", [0, 1, 2])
def test_an_image_that_was_changed_is_not_pushed(damage: Callable[[Path], object], blob: int) -> None:
    found = assemble()["image"]
    path = image.verify(workspace.PACKAGE / "image", found["digest"]).blobs[blob]
    damage(path)
    with pytest.raises(StageError, match=path.name):
        registry.push(workspace.PACKAGE / "image", found["digest"], found["reference"])
    assert not registry.LAYOUT.exists()


@pytest.mark.parametrize("digest", ["sha256:../../../outside", "outside", "sha256:", f"sha512:{'0' * 64}", "", None])
def test_a_digest_that_could_be_a_path_is_refused_wherever_it_is_read(digest: Any) -> None:
    Path("outside").write_bytes(b"{}")
    found = assemble()["image"]
    with pytest.raises(StageError, match="is no sha256 digest"):
        image.verify(workspace.PACKAGE / "image", digest)
    manifest = json.loads(image.blob(workspace.PACKAGE / "image", found["digest"]).read_text())
    manifest["layers"][0]["digest"] = digest
    with pytest.raises(StageError, match="is no image manifest with sha256 digests"):
        image.parts(json.dumps(manifest).encode(), "it")
    index = workspace.PACKAGE / "image" / "index.json"
    index.write_text(json.dumps({"manifests": [{"digest": digest}]}))
    with pytest.raises(StageError, match="is no table of contents"):
        image.images(workspace.PACKAGE / "image")


@pytest.mark.parametrize("size", [1, 10**12, -1, 0, True, "2048", None, 1.5])
def test_a_blob_of_another_size_than_the_manifest_declares_is_refused(size: Any) -> None:
    layout = workspace.PACKAGE / "image"
    manifest = json.loads(image.blob(layout, assemble()["image"]["digest"]).read_text())
    manifest["layers"][0]["size"] = size
    content = json.dumps(manifest).encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    workspace.write_bytes(image.blob(layout, digest), content)
    with pytest.raises(StageError, match=r"was changed|size that .* declares|is no image manifest"):
        image.verify(layout, digest)


def test_a_pipe_in_a_packages_place_is_refused_and_not_waited_for() -> None:
    assemble()
    (workspace.PACKAGE / package.SUMS).unlink()
    os.mkfifo(workspace.PACKAGE / package.SUMS)
    with pytest.raises(StageError, match="SHA256SUMS is no plain file"):
        package.verify(workspace.PACKAGE)


@pytest.mark.parametrize("blob", [0, 1, 2])
def test_a_push_onto_a_changed_copy_is_refused_and_the_registry_does_not_list_the_image(blob: int) -> None:
    found = assemble()["image"]
    source = image.verify(workspace.PACKAGE / "image", found["digest"]).blobs[blob]
    workspace.write_bytes(registry.LAYOUT / "blobs" / "sha256" / source.name, b"other")
    with pytest.raises(StageError, match=rf"registry/blobs/sha256/{source.name} was changed"):
        registry.push(workspace.PACKAGE / "image", found["digest"], found["reference"])
    with pytest.raises(StageError, match="is not in"):
        registry.unpack(found["digest"])


def test_what_the_search_found_is_a_file_of_the_package_only_where_the_next_one_begins_with_it() -> None:
    manifest = assemble()
    assert "prior.json" not in packaged()
    found = [{"hyperparameters": {"depth": 2}, "objective": 0.25}]
    with workspace.replacing(workspace.PACKAGE) as folder:
        again = package.assemble(
            folder, "demo", Packaging(), date(2013, 4, 1), DIGESTS, SIGNATURE, base=None, known=found
        )
    assert again == manifest
    assert json.loads(packaged()["prior.json"]) == found
    package.verify(workspace.PACKAGE)
    (workspace.PACKAGE / "prior.json").write_text("[]")
    with pytest.raises(StageError, match=r"prior\.json was changed"):
        package.verify(workspace.PACKAGE)
