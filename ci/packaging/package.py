"""A package: an image with one model, golden predictions, reference statistics, and a manifest of digests."""

import hashlib
import shutil
from datetime import date
from pathlib import Path
from typing import Any

from ci import lineage, workspace
from ci.errors import StageError
from ci.packaging import image

IMAGE = "image"
MANIFEST = "manifest.json"
GOLDEN = "golden.json"
REFERENCE = "reference.json"
SUMS = "SHA256SUMS"
_NOT_SHIPPED = {"fingerprint.pb"}
"""Files of a SavedModel that differ between equal models: it holds a random id, and is optional."""


def model_files(saved_model: Path) -> dict[str, Path]:
    """Return the files of a SavedModel that are shipped, by their path in it."""
    workspace.require(saved_model / "saved_model.pb")
    found = {path.relative_to(saved_model).as_posix(): path for path in saved_model.rglob("*") if path.is_file()}
    return {name: found[name] for name in sorted(found) if name not in _NOT_SHIPPED}


def model_digest(saved_model: Path) -> str:
    """Return the digest of a model: of the names and digests of the files that are shipped."""
    lines = [f"{lineage.file_digest(path)} {name}\n" for name, path in model_files(saved_model).items()]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def version(as_of: date, digest: str) -> str:
    """Return a model's version: the date as YYYYMMDD, then five decimal digits from the model's digest."""
    return f"{as_of:%Y%m%d}{int(digest.removeprefix('sha256:'), 16) % 100_000:05d}"


def assemble(
    folder: Path, model: str, repository: str, as_of: date, digests: dict[str, str], signature: dict[str, Any]
) -> dict[str, Any]:
    """Write a package of `build/model/saved_model` and what the evaluation left for it, and return its manifest.

    Args:
        folder: an empty folder to fill.
        model: the model's name.
        repository: the image's repository.
        as_of: the build's date.
        digests: of what went into the model: `data`, `settings` and `code`.
        signature: `inputs`, name to type, and `output`, a name, of `serving_default`.
    """
    saved_model = workspace.MODEL / "saved_model"
    digest = model_digest(saved_model)
    number = version(as_of, digest)
    reference = f"{repository}/{model}:{number}"
    files = {f"models/{model}/{number}/{name}": path for name, path in model_files(saved_model).items()}
    labels = {"org.opencontainers.image.title": model, "org.opencontainers.image.version": number}
    image_digest = image.build(folder / IMAGE, files, labels)
    image.index(folder / IMAGE, {image_digest: reference})
    for name in (GOLDEN, REFERENCE):
        shutil.copyfile(workspace.require(workspace.EVALUATION / name), folder / name)
    manifest = {
        "model": model,
        "version": number,
        "as_of": as_of.isoformat(),
        "image": {"reference": reference, "digest": image_digest},
        "signature": signature,
        "digests": {**digests, "model": digest, "image": image_digest},
    }
    workspace.write_json(folder / MANIFEST, manifest)
    workspace.write_text(folder / SUMS, _sums(folder))
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """Return a package's manifest after comparing every file of the package with its digest.

    Raises:
        StageError: a file was changed, is missing, or does not belong there; the message names it.
    """
    listed = workspace.require(folder / SUMS).read_text(encoding="utf-8", errors="replace")
    found = _sums(folder)
    if listed != found:
        before, now = _entries(listed), _entries(found)
        for name in sorted({*before, *now}):
            if name not in now:
                raise StageError(f"{folder / name} is listed in {SUMS} but missing: package again")
            if name not in before:
                raise StageError(f"{folder / name} is not listed in {SUMS}: package again")
            if before[name] != now[name]:
                raise StageError(f"{folder / name} was changed: its digest is not the one in {SUMS}; package again")
        raise StageError(f"{folder / SUMS} was changed: package again")
    manifest: dict[str, Any] = workspace.read_json(folder / MANIFEST)
    image.verify(folder / IMAGE, manifest["image"]["digest"])
    return manifest


def _sums(folder: Path) -> str:
    """Return the digest of every file but the list itself, in the format of `sha256sum`."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    digests = [(lineage.file_digest(folder / name).removeprefix("sha256:"), name) for name in files if name != SUMS]
    return "".join(f"{digest}  {name}\n" for digest, name in digests)


def _entries(sums: str) -> dict[str, str]:
    pairs = (line.partition("  ") for line in sums.splitlines())
    return {name: digest for digest, _, name in pairs}
