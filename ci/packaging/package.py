"""A package: an image with one model, its bill of materials, what a rollout needs, and a manifest of digests."""

import hashlib
import re
import shutil
from datetime import date
from pathlib import Path
from typing import Any

from ci import lineage, reading, stages, workspace
from ci.errors import StageError
from ci.packaging import card, citations, sbom, signature
from ci.registry import layout as image
from ci.results import evaluation
from ci.results import package as results
from ci.results.training import KNOWN
from ci.settings.building import Packaging

IMAGE = "image"
MANIFEST = "manifest.json"
CARD = "card.md"
GOLDEN = "golden.json"
REFERENCE = "reference.json"
PRIOR = "prior.json"
"""What its search found; only of a build with `tuning.warm_start`."""
SBOM = "sbom.cdx.json"
SUMS = "SHA256SUMS"
_WORDS = "model/card.md"
"""The file that `workspace.CARD` was copied from, for messages."""
_DEPTH = 32
"""Folders in each other in a package, or in a SavedModel, at most."""
_NOT_SHIPPED = {"fingerprint.pb"}
"""Files of a SavedModel that differ between equal models: it holds a random id, and is optional."""


def model_files(saved_model: Path) -> dict[str, Path]:
    """Return the files of a SavedModel that are shipped, by their path in it."""
    stages.require(saved_model / "saved_model.pb")
    found = {path.relative_to(saved_model).as_posix(): path for path in _below(saved_model) if path.is_file()}
    return {name: found[name] for name in sorted(found) if name not in _NOT_SHIPPED}


def _below(folder: Path) -> list[Path]:
    """Return all paths below a folder, sorted; links are not followed.

    Raises:
        StageError: folders lie deeper in each other than any package's.
    """
    found, folders = [], [(folder, 0)]
    while folders:
        inner, depth = folders.pop()
        if depth > _DEPTH:
            raise StageError(f"{folder} has folders more than {_DEPTH} deep: package again")
        here = list(inner.iterdir())
        found += here
        folders += [(path, depth + 1) for path in here if path.is_dir() and not path.is_symlink()]
    return sorted(found)


def model_digest(saved_model: Path) -> str:
    """Return the digest of a model: of the names and digests of the files that are shipped."""
    lines = [f"{lineage.file_digest(path)} {name}\n" for name, path in model_files(saved_model).items()]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def version(as_of: date, digest: str) -> str:
    """Return a model's version: the date as YYYYMMDD, then five decimal digits from the model's digest."""
    return f"{as_of:%Y%m%d}{int(digest.removeprefix('sha256:'), 16) % 100_000:05d}"


def assemble(
    folder: Path,
    model: str,
    settings: Packaging,
    as_of: date,
    digests: dict[str, str],
    fields: dict[str, Any],
    base: image.Base | None = None,
    known: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Write a package of `build/model/saved_model` and what the evaluation left for it, and return its manifest.

    Args:
        folder: an empty folder to fill.
        model: the model's name.
        settings: the image's repository, and the key to sign with.
        as_of: the build's date.
        digests: of what went into the model: `data`, `settings` and `code`.
        fields: what `serving_default` takes and gives, see `ci.results.training.Signature`.
        base: the image that the model's layer is put on; None for no base.
        known: the best trials of its search, where the next one begins with them.
    """
    saved_model = workspace.MODEL / "saved_model"
    digest = model_digest(saved_model)
    number = version(as_of, digest)
    reference = f"{settings.repository}/{model}:{number}"
    files = {f"models/{model}/{number}/{name}": path for name, path in model_files(saved_model).items()}
    labels = {"org.opencontainers.image.title": model, "org.opencontainers.image.version": number}
    image_digest = image.build(folder / IMAGE, files, labels, base)
    image.index(folder / IMAGE, {image_digest: reference})
    for name in (GOLDEN, REFERENCE):
        shutil.copyfile(stages.require(workspace.EVALUATION / name), folder / name)
    if known is not None:
        KNOWN.write(known, folder)
    evaluation = lineage.file_digest(stages.require(workspace.EVALUATION / "evaluation.json"))
    digests = {**digests, "evaluation": evaluation, "model": digest, "image": image_digest}
    workspace.write_json(folder / SBOM, sbom.bill(model, number, digests, fields, base))
    manifest = {
        "model": model,
        "version": number,
        "as_of": as_of.isoformat(),
        "image": {"reference": reference, "digest": image_digest, "base": base and base.reference},
        "signature": fields,
        "digests": {**digests, "sbom": lineage.file_digest(folder / SBOM)},
    }
    results.MANIFEST.write(manifest, folder)
    words = reading.decoded(reading.content(stages.require(workspace.CARD), citations.MOST), _WORDS)
    named = {(workspace.PACKAGE / MANIFEST).as_posix(): folder / MANIFEST}
    workspace.write_text(folder / CARD, card.render(words, _WORDS, lambda file: named.get(file, Path(file))))
    if settings.signing_key:
        signature.sign(folder, settings.signing_key, unsigned=[SUMS])
    workspace.write_text(folder / SUMS, _sums(folder))
    return manifest


def verify(folder: Path, key: str | None = None) -> dict[str, Any]:
    """Return a package's manifest after comparing every file of the package with its digest and its signature.

    Args:
        folder: the package.
        key: the public key that it must be signed for; None: whether it is signed does not matter.

    Raises:
        StageError: a file was changed, is missing, or does not belong there, or the signature is not right; the message
            names it.
        InputError: there is no package, or no such key.
    """
    stages.require(folder / SUMS)
    found = _sums(folder)  # before any file is read: a pipe would never end
    listed = (folder / SUMS).read_text(encoding="utf-8", errors="replace")
    if listed != found:
        if any(not re.fullmatch(r"[0-9a-f]{64}  .+", line) for line in listed.splitlines()):
            raise StageError(f"{folder / SUMS} was changed: not every line is a digest and a name; package again")
        before, now = _entries(listed), _entries(found)
        for name in sorted({*before, *now}):
            if name not in now:
                raise StageError(f"{folder / name} is listed in {SUMS} but missing: package again")
            if name not in before:
                raise StageError(f"{folder / name} is not listed in {SUMS}: package again")
            if before[name] != now[name]:
                raise StageError(f"{folder / name} was changed, or its line in {SUMS} was: they differ; package again")
        raise StageError(f"{folder / SUMS} was changed: package again")
    if key:
        signature.verify(folder, key, unsigned=[SUMS])
    manifest: dict[str, Any] = results.MANIFEST.plain(folder / MANIFEST)
    evaluation.GOLDEN.read(folder / GOLDEN)
    image.verify(folder / IMAGE, manifest["image"]["digest"])
    return manifest


def _sums(folder: Path) -> str:
    """Return the digest of every file but the list itself, in the format of `sha256sum`."""
    found = _below(folder)
    if strange := [path for path in found if path.is_symlink() or not (path.is_file() or path.is_dir())]:
        raise StageError(f"{strange[0]} is no plain file, so it does not belong into a package: package again")
    files = sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())
    digests = [(lineage.file_digest(folder / name).removeprefix("sha256:"), name) for name in files if name != SUMS]
    return "".join(f"{digest}  {name}\n" for digest, name in digests)


def _entries(sums: str) -> dict[str, str]:
    pairs = (line.partition("  ") for line in sums.splitlines())
    return {name: digest for digest, _, name in pairs}
