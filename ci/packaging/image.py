"""Images in the OCI image layout: a folder with `index.json` and blobs named by their digest.

The formats are https://github.com/opencontainers/image-spec: image-layout.md, manifest.md, config.md and layer.md.
"""

import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci import workspace
from ci.errors import StageError
from ci.lineage import file_digest

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class Image:
    """A verified image in a layout: the digest of its manifest, and the blob files it is made of."""

    digest: str
    blobs: tuple[Path, ...]
    """Manifest, configuration, then the layers from the lowest on."""


def build(layout: Path, files: dict[str, Path], labels: dict[str, str]) -> str:
    """Write an image with an empty base and one uncompressed layer, and return its digest.

    The same files give the same digest: entries are sorted, times are 0, the owner is root and modes are fixed.

    Args:
        layout: folder to make.
        files: path in the image, without a leading slash, to the file that goes there.
        labels: labels of the image.
    """
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layer = _store(blobs, _layer(blobs / ".layer", files))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": _EPOCH,
        "config": {"Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        "history": [{"created": _EPOCH, "created_by": "ci.packaging"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, **_store_json(blobs, config)},
        "layers": [{"mediaType": _LAYER, **layer}],
    }
    return str(_store_json(blobs, manifest)["digest"])


def index(layout: Path, images: dict[str, str]) -> None:
    """Write a layout's table of contents.

    Args:
        layout: a layout that has the blobs.
        images: digest of each image to its reference, such as `localhost/models/flights:2013040100000`.
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


def verify(layout: Path, digest: str) -> Image:
    """Return an image after comparing each of its blobs with its digest.

    Raises:
        StageError: a blob is missing or does not have its digest; the message names the file.
    """
    manifest_file = _verified(layout, digest)
    manifest = json.loads(manifest_file.read_text())
    parts = [manifest["config"], *manifest["layers"]]
    return Image(digest, (manifest_file, *(_verified(layout, part["digest"]) for part in parts)))


def extract(image: Image, folder: Path) -> None:
    """Extract every layer of an image into a folder."""
    for layer in image.blobs[2:]:
        with tarfile.open(layer) as archive:
            archive.extractall(folder, filter="data")


def holds(image: Image, folder: Path) -> bool:
    """Tell whether a folder is what `extract` would write, file by file and byte by byte."""
    expected: dict[str, bytes] = {}
    for layer in image.blobs[2:]:
        with tarfile.open(layer) as archive:
            for entry in archive.getmembers():
                if (content := archive.extractfile(entry)) is not None:
                    expected[entry.name] = content.read()
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return found.keys() == expected.keys() and all(found[name].read_bytes() == expected[name] for name in expected)


def blob(layout: Path, digest: str) -> Path:
    """Return where a layout keeps a blob."""
    return layout / "blobs" / digest.replace(":", "/")


def _verified(layout: Path, digest: str) -> Path:
    path = blob(layout, digest)
    if not path.is_file():
        raise StageError(f"{path} is missing from the image")
    if file_digest(path) != digest:
        raise StageError(f"{path} was changed: its content does not have the digest that it is named by")
    return path


def _layer(path: Path, files: dict[str, Path]) -> Path:
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted({*folders, *files}):
            entry = tarfile.TarInfo(name)  # time 0 and root are its defaults
            if name in folders:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
            else:
                entry.mode, entry.size = 0o644, files[name].stat().st_size
                with files[name].open("rb") as content:
                    archive.addfile(entry, content)
    return path


def _store(blobs: Path, file: Path) -> dict[str, Any]:
    """Move a file among the blobs and return its digest and size."""
    digest = file_digest(file)
    shutil.move(file, blobs / digest.removeprefix("sha256:"))
    return {"digest": digest, "size": (blobs / digest.removeprefix("sha256:")).stat().st_size}


def _store_json(blobs: Path, value: dict[str, Any]) -> dict[str, Any]:
    file = blobs / ".json"
    file.write_text(json.dumps(value, sort_keys=True, separators=(",", ":")))
    return _store(blobs, file)
