"""The registry of a machine without one: an image layout that deployed images are copied into, and unpacked from."""

import shutil
from collections.abc import Collection, Set
from pathlib import Path
from typing import Literal

from ci import references, workspace
from ci.errors import StageError
from ci.lineage import file_digest
from ci.registry import layout as image
from ci.registry.client import Repository

LAYOUT = workspace.STATE / "registry"
UNPACKED = workspace.STATE / "models"


def push(layout: Path, digest: str, reference: str) -> None:
    """Copy a verified image into the registry; a copy that was cut short is completed.

    Raises:
        StageError: a blob does not have its digest.
    """
    for source in image.verify(layout, digest).blobs:
        target = LAYOUT / "blobs" / "sha256" / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            partial = target.with_name(f".{target.name}.part")
            shutil.copyfile(source, partial)
            partial.replace(target)
    image.verify(LAYOUT, digest)
    image.index(LAYOUT, {**_images(), digest: reference})


def unpack(digest: str) -> Path:
    """Return the folder of an image's SavedModel, `…/models/NAME/VERSION`, unpacking it if need be.

    Every digest is verified on the way, and what was unpacked before is compared with the image.

    Raises:
        StageError: the image is not in the registry, was changed, or holds no single model.
    """
    if digest not in _images():
        raise StageError(f"image {digest} is not in {LAYOUT}")
    return _unpacked(image.verify(LAYOUT, digest))


def released(digest: str, repository: str, plain: Collection[str] = ()) -> Path:
    """Return the same of an image that was released from any machine: from here, or from the repository it was sent to.

    Only its manifest and its top layer, which is the model's, are fetched.

    Args:
        digest: of its manifest.
        repository: where releases are sent to, such as `registry.example/models/digits`.
        plain: see `Repository`.

    Raises:
        Unreachable: the registry does not answer.
        StageError: nobody has it, it was changed, or holds no single model.
    """
    if digest in _images() or repository.partition("/")[0] == references.LOCAL:
        return unpack(digest)
    registry = Repository(repository, plain)
    manifest = _fetched(registry, "manifests", digest, image.MANIFEST_SIZE)
    _, layers = image.parts(manifest.read_bytes(), f"{repository}@{digest}")
    top = _fetched(registry, "blobs", layers[-1]["digest"], layers[-1]["size"])
    return _unpacked(image.Image(digest, (manifest, top)))


def _fetched(registry: Repository, kind: Literal["manifests", "blobs"], digest: str, size: int) -> Path:
    path = image.blob(LAYOUT, digest)
    if not path.exists() or file_digest(path) != digest:
        path.parent.mkdir(parents=True, exist_ok=True)
        registry.save(kind, digest, path, size)
    return path


def _unpacked(verified: image.Image) -> Path:
    digest = verified.digest
    folder = UNPACKED / digest.removeprefix("sha256:")
    if not folder.exists() or not image.holds(verified, folder):
        with workspace.replacing(folder) as partial:
            image.extract(verified, partial)
    models = [path.parent for path in folder.glob("models/*/*/saved_model.pb")]
    if len(models) != 1:
        raise StageError(f"image {digest} holds {len(models)} models below /models/NAME/VERSION, expected one")
    if strays := [path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(models[0])]:
        raise StageError(f"image {digest} holds {strays[0].relative_to(folder)}, which is no part of its model")
    return models[0]


def unused(keep: Set[str]) -> list[Path]:
    """Return the blobs and the unpacked models of every image but those to keep, and what cut-short copies left.

    Raises:
        StageError: an image to keep was changed.
    """
    kept = [image.verify(LAYOUT, digest) for digest in _images() if digest in keep]
    names = {blob.name for found in kept for blob in found.blobs}
    folders = {digest.removeprefix("sha256:") for digest in keep}
    blobs = [path for path in LAYOUT.glob("blobs/sha256/*") if path.name not in names]
    return sorted([*blobs, *(path for path in UNPACKED.glob("*") if path.name not in folders)])


def forget(keep: Set[str]) -> None:
    """Take every image but those to keep out of the table of contents."""
    found = _images()
    if not found.keys() <= keep:
        image.index(LAYOUT, {digest: reference for digest, reference in found.items() if digest in keep})


def _images() -> dict[str, str]:
    """Return digest and reference of each image in the registry."""
    return image.images(LAYOUT) if (LAYOUT / "index.json").exists() else {}
