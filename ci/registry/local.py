"""The registry of a machine without one: an image layout that deployed images are copied into, and unpacked from."""

import shutil
from collections.abc import Set
from pathlib import Path

from ci import workspace
from ci.errors import StageError
from ci.registry import layout as image

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
    verified = image.verify(LAYOUT, digest)
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
