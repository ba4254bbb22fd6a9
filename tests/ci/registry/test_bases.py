"""Bases from a registry and from a folder: pinned by a command, fetched once, and one layer put on them."""

import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci.errors import InputError, StageError
from ci.registry import bases
from ci.registry import layout as image
from scripts import pin_images
from tests.ci.packaging.registries import Registry, serving
from tests.pods import REPOSITORY, images

_DOCKER = "application/vnd.docker"


def put(registry: Registry, **config: Any) -> tuple[str, str]:
    """Store an image as Docker writes it, behind an index for two platforms; return the digests of index and image."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("server"), io.BytesIO())
    plain, packed = archive.getvalue(), gzip.compress(archive.getvalue(), mtime=0)
    settings = {"Entrypoint": ["/server"], "Env": ["A=b"], "Labels": {"vendor": "us"}}
    diff = f"sha256:{hashlib.sha256(plain).hexdigest()}"
    content = {"architecture": "amd64", "os": "linux", "config": settings, "created": "2026-01-01T00:00:00Z"}
    content |= {"rootfs": {"type": "layers", "diff_ids": [diff]}, "history": [{"created_by": "base"}], **config}
    text = json.dumps(content).encode()
    layer = {"mediaType": f"{_DOCKER}.image.rootfs.diff.tar.gzip", "size": len(packed)}
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_DOCKER}.distribution.manifest.v2+json",
        "config": {
            "mediaType": f"{_DOCKER}.container.image.v1+json",
            "size": len(text),
            "digest": registry.put("blobs", text),
        },
        "layers": [{**layer, "digest": registry.put("blobs", packed)}],
    }
    found = registry.put("manifests", json.dumps(manifest).encode())
    kinds = [("arm64", f"sha256:{'0' * 64}"), ("amd64", found)]
    entries = [{"digest": digest, "platform": {"os": "linux", "architecture": kind}} for kind, digest in kinds]
    return registry.put("manifests", json.dumps({"manifests": entries}).encode(), tag="2.20.0"), found


def lower(registry: Registry, manifest: str) -> dict[str, Any]:
    """What a manifest says of its lowest layer."""
    part: dict[str, Any] = json.loads(registry.content[f"manifests/{manifest}"])["layers"][0]
    return part


def listed(repository: str, digest: str = "null", tag: str = "2.20.0") -> None:
    bases.LIST.parent.mkdir(parents=True, exist_ok=True)
    lines = ["# all images", "images:", "- name: serving   # the base", f"  repository: {repository}"]
    bases.LIST.write_text("\n".join([*lines, f"  tag: {tag}", f"  digest: {digest}   # by command", ""]))


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.chdir(tmp_path)
    Path("model.pb").write_bytes(b"graph")
    with serving() as there:
        yield there


def found() -> image.Base:
    base = bases.get("serving")
    assert base is not None
    return base


def built(folder: str, base: image.Base | None) -> str:
    return image.build(Path(folder), {"models/m/1/saved_model.pb": Path("model.pb")}, {"title": "m"}, base)


def test_the_models_layer_is_put_on_a_base_that_is_fetched_once(registry: Registry) -> None:
    pinned, manifest = put(registry)
    listed(registry.name, pinned)
    base = found()
    assert (base.digest, base.pinned, base.reference) == (manifest, True, f"{registry.name}:2.20.0@{pinned}")
    asked = len(registry.asked)
    assert bases.get("serving") == base
    assert len(registry.asked) == asked == 3  # index, manifest, configuration: the layers stay where they are
    digest = built("one", base)
    assert built("two", base) == digest
    made = image.verify(Path("one"), digest)
    content, config = (json.loads(file.read_bytes()) for file in made.blobs[:2])
    assert [layer["mediaType"].rpartition(".")[2] for layer in content["layers"]] == ["tar+gzip", "tar"]
    assert config["config"]["Entrypoint"] == ["/server"]
    assert config["config"]["Labels"] == {"vendor": "us", "title": "m"}
    assert [entry["created_by"] for entry in config["history"]] == ["base", "ci.packaging"]
    [layer], [below] = made.blobs[2:], made.elsewhere
    packed = bases.layer(registry.name, below)
    assert config["rootfs"]["diff_ids"] == [
        f"sha256:{hashlib.sha256(gzip.decompress(packed.read_bytes())).hexdigest()}",
        f"sha256:{layer.name}",
    ]
    image.extract(made, Path("out"))
    assert [path.name for path in Path("out").rglob("*") if path.is_file()] == ["saved_model.pb"]


def test_a_base_without_a_digest_is_what_its_tag_names_now(registry: Registry) -> None:
    listed(registry.name)
    first = put(registry)[1]
    base = found()
    assert (base.digest, base.pinned) == (first, False)
    second = put(registry, architecture="amd64", author="x")[1]
    base = found()
    assert base.digest == second != first


def test_a_damaged_copy_of_a_base_is_fetched_again(registry: Registry) -> None:
    listed(registry.name, put(registry)[0])
    base = found()
    digest = built("one", base)
    for path in (bases.CACHE / "blobs/sha256").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert built("two", found()) == digest


def test_a_base_may_be_a_layout_on_this_machine(registry: Registry) -> None:
    listed(registry.name, put(registry)[0])
    fetched = found()
    bases.layer(registry.name, lower(registry, fetched.digest))
    shutil.copytree(bases.CACHE, "layout")
    image.index(Path("layout"), {fetched.digest: "x/serving:2.20.0"})
    listed("oci:layout")
    assert pin_images.main([]) == 0
    assert f"digest: {fetched.digest}   # by command" in bases.LIST.read_text()
    registry.content.clear()
    base = found()
    assert (base.layout, base.pinned, base.whole, fetched.whole) == (Path("layout"), True, True, False)
    digest = built("one", base)
    assert built("two", fetched) == digest
    assert [bool(image.verify(Path(each), digest).elsewhere) for each in ("one", "two")] == [False, True]


def test_a_registry_that_sends_something_else_is_not_believed(registry: Registry) -> None:
    pinned, manifest = put(registry)
    listed(registry.name, pinned)
    found()
    layer = lower(registry, manifest)
    registry.content[f"blobs/{layer['digest']}"] = b"other"
    with pytest.raises(StageError, match=f"sent other content than {layer['digest']}: try again"):
        bases.layer(registry.name, layer)
    assert not list(bases.CACHE.rglob(layer["digest"].removeprefix("sha256:")))


def test_what_cannot_be_had_is_said_with_its_name(registry: Registry) -> None:
    listed(registry.name)
    with pytest.raises(
        StageError, match=r"library/base: manifests/2\.20\.0: the registry does not have it \(HTTP 404\)"
    ):
        bases.get("serving")
    listed("127.0.0.1:1/library/base")
    with pytest.raises(StageError, match=r"127\.0\.0\.1:1/library/base: the registry cannot be reached"):
        bases.get("serving")
    listed(registry.name, registry.put("manifests", b'{"manifests": []}'))
    with pytest.raises(StageError, match="has no image for linux/amd64"):
        bases.get("serving")
    listed(registry.name, registry.put("manifests", b"no json"))
    with pytest.raises(StageError, match="is neither an image manifest nor an index"):
        bases.get("serving")
    listed("oci:nowhere")
    with pytest.raises(StageError, match=r"nowhere/index\.json is missing: nowhere is no OCI image layout"):
        bases.get("serving")
    with pytest.raises(
        InputError, match=r"packaging\.base: ci/images/images\.yaml lists no image other; it has serving"
    ):
        bases.get("other")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"images: [", "2: not valid YAML"),
        (b"{}", "1: images: Field required"),
        (b"", "1: Input should be a valid dictionary"),
        (b"- a", "1: Input should be a valid dictionary"),
        (b"images: {a: b}", "1: images: Input should be a valid list"),
        (b"images: [{name: x, repository: y, tag: 2.2, digest: null}]", r"1: images\.0\.tag"),
        (b"images:\n- name: x\n  repository: y\n  tag: a", r"2: images\.0\.digest: Field required"),
        (b"images: [{name: x, repository: y, tag: a, digest: 'sha256:1'}]", r"1: images\.0\.digest"),
        (b"images:\n- {name: x, repository: y, tag: '\xc3\xa9', digest: null}", r"2: images\.0\.tag"),
        (
            b"images:\n- {name: x, repository: a___b, tag: a, digest: null}",
            r"2: images\.0\.repository: a repository is",
        ),
        (
            b"images:\n- {name: x, repository: 'oci:', tag: a, digest: null}",
            r"2: images\.0\.repository: it names no folder",
        ),
        (
            b"images:\n" + b"- {name: x, repository: y, tag: a, digest: null}\n" * 2,
            r"3: images\.1\.name: there are two",
        ),
        (b"images:\n- {name: caf\xe9}", "2: not UTF-8 text"),
        (b"\xff\xfei\0m\0", "1: not UTF-8 text"),
        (b"images: " + b"[" * 25_000, "1: not valid YAML"),
        (b"a: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n" + b"c: [" + b"*b," * 9000 + b"*b]", "not valid YAML"),
        (b"images: !!python/object/apply:os.system [exit]", "1: not valid YAML"),
    ],
)
def test_a_wrong_list_is_named_with_the_entry(
    text: bytes,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    bases.LIST.parent.mkdir(parents=True)
    bases.LIST.write_bytes(text)
    with pytest.raises(InputError, match=f"^ci/images/images.yaml:.*{said}"):
        bases.read()
    capsys.readouterr()
    assert pin_images.main([]) == 2
    assert capsys.readouterr().err.startswith("bad input: ci/images/images.yaml:")


def test_pinning_writes_digests_where_images_are_named_and_leaves_all_else(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in ("ci/images/tools/Dockerfile", "ci/agents/release.yaml", "ci/agents/training.yaml"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / path, path)
    before = re.sub("digest: sha256:.*", "digest: null", (REPOSITORY / bases.LIST).read_text())
    before = before.replace("docker.io/library/python", registry.name).replace("docker.io/tensorflow", "127.0.0.1:1")
    before = before.replace("registry.k8s.io", "127.0.0.1:1")
    ours = {name: reference.partition("@")[0].rpartition(":")[0] for name, reference in images().items()}
    before = before.replace(ours["pipeline"], registry.name)
    for name in ("tools", "stand-in"):
        before = before.replace(ours[name], f"127.0.0.1:1/{name}")
    bases.LIST.write_text(before)
    for path in Path("ci").rglob("*"):
        if path.is_file() and path != bases.LIST:
            text = re.sub("@sha256:[0-9a-f]{64}", "", path.read_text())
            text = text.replace("docker.io/library/python", registry.name)
            path.write_text(text.replace(ours["pipeline"], registry.name))
    Path("ci/images/x").mkdir()
    Path("ci/images/x/Dockerfile").write_text(f"ARG BASE={registry.name}:3.11-slim\nFROM ${{BASE}}\n")
    python, tools = (registry.put("manifests", content, tag) for content, tag in ((b"1", "3.11-slim"), (b"2", "0.1.0")))
    for _ in range(2):  # the second time nothing changes
        assert pin_images.main([]) == 1
        assert "serving is not pinned: 127.0.0.1:1/serving: the registry cannot be reached" in capsys.readouterr().err
        expected = before.replace("0.1.0\n  digest: null", f"0.1.0\n  digest: {tools}", 1)
        assert bases.LIST.read_text() == expected.replace("slim\n  digest: null", f"slim\n  digest: {python}", 1)
        chosen = Path("ci/images/x/Dockerfile").read_text()
        assert chosen == f"ARG BASE={registry.name}:3.11-slim@{python}\nFROM ${{BASE}}\n"
        dockerfile = Path("ci/images/tools/Dockerfile").read_text()
        assert f"FROM {registry.name}:3.11-slim@{python}\n" in dockerfile
        assert f"FROM {registry.name}:3.11-slim@{python} AS packages\n" in dockerfile
        assert f"-t {registry.name}:0.1.0@{tools}" not in dockerfile
        for agent in ("release", "training"):
            text = Path(f"ci/agents/{agent}.yaml").read_text()
            assert text.count(f"image: {registry.name}:0.1.0@{tools}\n") == 1
            assert text.count("@sha256:") == 1


@pytest.mark.parametrize("path", ["ci/images/x/Dockerfile", "ci/agents/x.yaml"])
def test_a_file_that_names_images_and_is_not_utf_8_is_named_and_nothing_is_pinned(
    registry: Registry, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(registry)
    listed(registry.name)
    before = bases.LIST.read_bytes()
    Path(path).parent.mkdir(parents=True)
    Path(path).write_bytes(b"FROM a\n# caf\xe9\n")
    assert pin_images.main([]) == 2
    assert f"bad input: {path}:2: not UTF-8 text" in capsys.readouterr().err
    assert bases.LIST.read_bytes() == before


@pytest.mark.parametrize("entry", ["<<: *shared", "digest: *shared"])
def test_a_digest_that_entries_share_cannot_be_pinned_and_is_named(
    registry: Registry, entry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(registry)
    shared = f"{{name: a, repository: {registry.name}, tag: 2.20.0, digest: null}}"
    first = f"- &shared {shared}" if "<<" in entry else f"- {shared.replace('digest: ', 'digest: &shared ')}"
    bases.LIST.parent.mkdir(parents=True)
    text = f"images:\n{first}\n- {{name: b, repository: {registry.name}, tag: 2.20.0, {entry}}}\n"
    bases.LIST.write_text(text)
    assert pin_images.main([]) == 2
    assert "ci/images/images.yaml:3: b: write its digest in this entry" in capsys.readouterr().err
    assert bases.LIST.read_text() == text


def test_a_registry_that_names_a_path_instead_of_a_digest_writes_nothing_there(registry: Registry) -> None:
    outside = {"digest": "sha256:../../../../../outside", "platform": {"os": "linux", "architecture": "amd64"}}
    registry.put("manifests", json.dumps({"manifests": [outside]}).encode(), tag="2.20.0")
    listed(registry.name)
    with pytest.raises(StageError, match="is neither an image manifest nor an index"):
        bases.get("serving")
    registry.put("manifests", json.dumps({"config": outside, "layers": [outside]}).encode(), tag="2.20.0")
    with pytest.raises(StageError, match="is no image manifest with sha256 digests"):
        bases.get("serving")
    assert not list(Path().rglob("*outside*"))


def test_a_registry_that_never_ends_is_left(registry: Registry) -> None:
    pinned, manifest = put(registry)
    listed(registry.name, pinned)
    found()
    layer = lower(registry, manifest)
    registry.content[f"blobs/{layer['digest']}"] = bytes(50_000_000)
    with pytest.raises(StageError, match=r"the registry sends more than the \d+ bytes it has"):
        bases.layer(registry.name, layer)
    registry.put("manifests", bytes(5_000_000), tag="huge")
    listed(registry.name, tag="huge")
    with pytest.raises(StageError, match=r"the registry sends more than the 4,194,304 bytes"):
        bases.get("serving")
    assert not [path for path in bases.CACHE.rglob("*") if path.is_file() and path.stat().st_size > 4096]


@pytest.mark.parametrize(
    "config",
    [
        {"config": [1]}, {"config": {"Labels": ["a"]}}, {"config": {"Labels": {"a": 1}}}, {"rootfs": 3},
        {"rootfs": {"diff_ids": "x"}}, {"rootfs": {"diff_ids": None}}, {"history": {"a": 1}}, {"history": "x"},
    ],
)  # fmt: skip
def test_a_base_with_a_configuration_of_another_shape_cannot_be_built_on(
    registry: Registry, config: dict[str, Any]
) -> None:
    listed(registry.name, put(registry, **config)[0])
    with pytest.raises(StageError, match=r"is no image configuration: .* cannot be a base"):
        built("one", found())


def test_a_base_without_what_its_configuration_may_leave_out_can_be_built_on(registry: Registry) -> None:
    listed(registry.name, put(registry, config=None, rootfs={}, history=None)[0])
    assert image.verify(Path("one"), built("one", found()))
