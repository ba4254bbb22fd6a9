"""Images in the OCI image layout: a folder with `index.json` and blobs named by their digest.

The formats are https://github.com/opencontainers/image-spec: image-layout.md, manifest.md, config.md and layer.md.
"""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from ci import workspace
from ci.errors import StageError
from ci.lineage import file_digest
from ci.registry import layer

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_EPOCH = "1970-01-01T00:00:00Z"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MANIFEST_SIZE = 4 << 20
"""Size of a manifest, an index of them, or a configuration at most, as registries have it; bytes."""


class _Started(TypedDict, total=False):
    """How the containers of an image start, as far as it matters here."""

    Labels: dict[str, str] | None


class _Layers(TypedDict, total=False):
    """The unpacked layers of an image."""

    diff_ids: list[str]


class _Configuration(TypedDict, total=False):
    """The configuration of an image, as far as a layer on it changes it."""

    config: _Started | None
    rootfs: _Layers | None
    history: list[dict[str, Any]] | None


@dataclass(frozen=True)
class Base:
    """The image that a model's layer is put on."""

    layout: Path
    """The layout that has its manifest and configuration."""
    digest: str
    """Of its manifest for the platform."""
    reference: str
    """Its name for people and records: `REPOSITORY:TAG@DIGEST`."""
    pinned: bool
    """The digest was written down, not just looked up."""
    whole: bool = True
    """The layout has its layers too; otherwise they stay in the registry that the reference names."""


@dataclass(frozen=True)
class Image:
    """A verified image in a layout: the digest of its manifest, and the blob files it is made of."""

    digest: str
    blobs: tuple[Path, ...]
    """Manifest, configuration, then the layers that are here from the lowest on; the top one always is."""
    elsewhere: tuple[dict[str, Any], ...] = ()
    """What the manifest says of the layers that are not here: those of a base that is in a registry."""


def build(layout: Path, files: dict[str, Path], labels: dict[str, str], base: Base | None = None) -> str:
    """Write an image of a base, or of nothing, and one uncompressed layer on it, and return its digest.

    Of a base that is not whole the layers are named and not copied: they are not the model's, and hundreds of MB.

    The same files on the same base give the same digest: entries are sorted, times are 0, the owner is root and modes
    are fixed.

    Args:
        layout: folder to make.
        files: path in the image, without a leading slash, to the file that goes there.
        labels: labels of the image.
        base: what is below; how it starts stays as it is.

    Raises:
        StageError: the base lacks a blob, or a blob does not have its digest.
    """
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    below, config = _copy(base, blobs) if base else ([], {"architecture": "amd64", "os": "linux"})
    top = _store(blobs, layer.write(blobs / ".layer", files))
    settings, rootfs = config.get("config") or {}, config.get("rootfs") or {}
    config |= {
        "created": _EPOCH,
        "config": {**settings, "Labels": {**(settings.get("Labels") or {}), **labels}},
        "rootfs": {"type": "layers", "diff_ids": [*rootfs.get("diff_ids", []), top["digest"]]},
        "history": [*(config.get("history") or []), {"created": _EPOCH, "created_by": "ci.packaging"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, **_store_json(blobs, config)},
        "layers": [*below, {"mediaType": _LAYER, **top}],
    }
    return str(_store_json(blobs, manifest)["digest"])


def index(layout: Path, images: dict[str, str]) -> None:
    """Write a layout's table of contents.

    Args:
        layout: a layout that has the blobs.
        images: digest of each image to its reference, such as `localhost/models/digits:2013040100000`.
    """
    entries = [
        {
            "mediaType": _MANIFEST,
            "digest": digest,
            "size": blob(layout, digest).stat().st_size,
            "annotations": {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference},
        }
        for digest, reference in sorted(images.items())
    ]
    workspace.write_json(layout / "oci-layout", {"imageLayoutVersion": "1.0.0"})
    content = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
    workspace.write_json(layout / "index.json", content)


def images(layout: Path) -> dict[str, str]:
    """Return the digest of each image of a layout, and its reference, which is empty where none was given.

    Raises:
        StageError: the table of contents is missing or damaged; the message says how to mend it.
    """
    file = layout / "index.json"
    try:
        entries = json.loads(file.read_bytes())["manifests"]
        annotations = {entry["digest"]: entry.get("annotations") or {} for entry in entries}
        if not all(map(is_digest, annotations)):
            raise ValueError
        return {key: str(found.get("org.opencontainers.image.ref.name", "")) for key, found in annotations.items()}
    except FileNotFoundError:
        raise StageError(f"{file} is missing: {layout} is no OCI image layout") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise StageError(
            f"{file} is no table of contents of an OCI image layout: restore it, or delete {layout}"
        ) from None


def verify(layout: Path, digest: str) -> Image:
    """Return an image after comparing each of its blobs with its digest and with the size that its manifest declares.

    Layers below the top one may be elsewhere: the manifest names them by digest, so they are what they are.

    Raises:
        StageError: a blob is missing, does not have its digest or its size, or is no manifest; the message names the
            file.
    """
    manifest = verified(layout, digest, MANIFEST_SIZE)
    config, layers = parts(manifest.read_bytes(), str(manifest))
    elsewhere = [part for part in layers[:-1] if not blob(layout, part["digest"]).exists()]
    found = []
    for part in (config, *layers):
        if part in elsewhere:
            continue
        path = verified(layout, part["digest"], part["size"])
        if path.stat().st_size != part["size"]:
            raise StageError(f"{path} does not have the size that {manifest} declares: package again")
        found.append(path)
    return Image(digest, (manifest, *found), tuple(elsewhere))


def parts(manifest: bytes, where: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what a manifest says of its configuration and of its layers: digest, size, media type.

    Raises:
        StageError: it is no manifest of an image; the message begins with `where`.
    """
    try:
        content = json.loads(manifest)
        found = [content["config"], *content["layers"]]
        if len(found) < 2 or not all(_is_part(part) for part in found):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise StageError(f"{where} is no image manifest with sha256 digests: pull or package the image again") from None
    return found[0], found[1:]


def _is_part(part: Any) -> bool:
    return (
        is_digest(part["digest"])
        and isinstance(part["mediaType"], str)
        and type(part["size"]) is int
        and part["size"] > 0
    )


def is_digest(value: object) -> bool:
    """Return whether a value is a digest that a blob may be named by; anything else could be a path."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def extract(image: Image, folder: Path) -> None:
    """Extract the top layer of an image, which is the model's, into an empty folder.

    Raises:
        StageError: it is no layer of ours; nothing has been extracted.
    """
    layer.extract(image.blobs[-1], folder)


def holds(image: Image, folder: Path) -> bool:
    """Tell whether a folder is what `extract` would write, file by file and byte by byte.

    Raises:
        StageError: the top layer is none of ours.
    """
    return layer.holds(image.blobs[-1], folder)


def blob(layout: Path, digest: str) -> Path:
    """Return where a layout keeps a blob.

    Raises:
        StageError: this is no digest.
    """
    if not is_digest(digest):
        raise StageError(f"{digest!r:.100} is no sha256 digest, so {layout} has no blob for it")
    return layout / "blobs" / digest.replace(":", "/")


def verified(layout: Path, digest: str, limit: int | None = None) -> Path:
    """Return a blob's file after comparing it with its digest.

    Args:
        layout: the layout that it is in.
        digest: its digest.
        limit: its size at most; None: any. A larger file is not read.

    Raises:
        StageError: it is missing, too large, or was changed.
    """
    path = blob(layout, digest)
    if not path.is_file():
        raise StageError(f"{path} is missing from the image")
    if (limit is not None and path.stat().st_size > limit) or file_digest(path) != digest:
        raise StageError(f"{path} was changed: its content does not have the digest that it is named by")
    return path


def _copy(base: Base, blobs: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Copy a base's layers if it has them, and return what the manifest says of them and the base's configuration."""
    manifest = verified(base.layout, base.digest, MANIFEST_SIZE)
    part, described = parts(manifest.read_bytes(), str(manifest))
    config = verified(base.layout, part["digest"], part["size"])
    if config.stat().st_size > MANIFEST_SIZE:
        raise StageError(f"{config} is too large for an image configuration: {base.reference} cannot be a base")
    for layer_ in described if base.whole else ():
        found = verified(base.layout, layer_["digest"], layer_["size"])
        shutil.copyfile(found, blobs / found.name)
    below = [
        {
            "mediaType": part["mediaType"].replace(_DOCKER_LAYER, _LAYER).replace("tar.gzip", "tar+gzip"),
            "digest": part["digest"],
            "size": part["size"],
        }
        for part in described
    ]
    try:
        content: dict[str, Any] = json.loads(config.read_bytes())
        TypeAdapter(_Configuration).validate_python(content)
    except (ValueError, RecursionError):  # pydantic's errors are ValueErrors
        raise StageError(f"{config} is no image configuration: {base.reference} cannot be a base") from None
    return below, content


def _store(blobs: Path, file: Path) -> dict[str, Any]:
    """Move a file among the blobs and return its digest and size."""
    digest = file_digest(file)
    shutil.move(file, blobs / digest.removeprefix("sha256:"))
    return {"digest": digest, "size": (blobs / digest.removeprefix("sha256:")).stat().st_size}


def _store_json(blobs: Path, value: dict[str, Any]) -> dict[str, Any]:
    file = blobs / ".json"
    file.write_text(json.dumps(value, sort_keys=True, separators=(",", ":")))
    return _store(blobs, file)
