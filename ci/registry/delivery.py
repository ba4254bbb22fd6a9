"""Bringing an image to where a cluster's nodes can have it: its registry, or into the nodes of Kind."""

import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci import references
from ci.errors import InputError, StageError
from ci.registry import bases
from ci.registry import layout as image
from ci.registry.client import Repository

_KIND = "kind-"
"""What Kind puts before a cluster's name in a kubeconfig's contexts."""
_LOADING = 900.0
"""Longest wait for `kind load`, which copies to each node; seconds."""


def deliver(
    layout: Path,
    digest: str,
    reference: str,
    context: str,
    plain: Collection[str] = (),
    base: str | None = None,
) -> str:
    """Bring an image to a cluster and return in a clause how.

    Layers of its base that are not in the layout are taken from the base's registry.

    Args:
        layout: an image layout that has it.
        digest: of its manifest.
        reference: its name, `HOST/REPOSITORY:TAG`.
        context: name of the cluster's context.
        plain: see `Repository`.
        base: reference of the image that the model's layer is on; None if there is none.

    Raises:
        InputError: `kind` is missing for a cluster of Kind.
        StageError: a blob was changed, the registry refuses, or Kind does, or takes too long.
    """
    name, _, tag = reference.rpartition(":")
    if not _is_local(reference):
        found, registry = image.verify(layout, digest), Repository(name, plain)
        lower = [layer for layer in _below(found, base, layout) if not registry.has(layer.digest)]
        fetched = [layer.get(plain) for layer in lower if not registry.mount(layer.digest, layer.repository)]
        registry.send([*fetched, *found.blobs[1:]], found.blobs[0], tag)
        return f"sent to {name}"
    if not context.startswith(_KIND):
        return f"{reference} names no registry, so the nodes must have it: see packaging.repository"
    if not shutil.which("kind"):
        raise InputError(f"kind is not on the PATH, and loads images into the cluster of context {context}")
    found = image.verify(layout, digest)
    blobs = [*found.blobs, *(layer.get(plain) for layer in _below(found, base, layout))]
    with tempfile.TemporaryDirectory() as folder:
        alone, archive = Path(folder) / "image", Path(folder) / "image.tar"
        for path in blobs:
            link = alone / "blobs/sha256" / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
        image.index(alone, {digest: reference})
        with tarfile.open(archive, "w", dereference=True) as tar:
            for path in sorted(alone.rglob("*")):
                tar.add(path, path.relative_to(alone).as_posix(), recursive=False)
        command = ["kind", "load", "image-archive", str(archive), "--name", context.removeprefix(_KIND)]
        try:
            done = subprocess.run(
                command, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=_LOADING
            )
        except subprocess.TimeoutExpired:
            raise StageError(f"kind has not loaded {reference} into the nodes of {context} in {_LOADING:g} s") from None
    if done.returncode:
        raise StageError(f"kind could not load {reference} into the cluster of {context}: {done.stderr.strip()[-500:]}")
    return f"loaded into the nodes of {context}"


def require(
    layout: Path,
    digest: str,
    reference: str,
    context: str,
    plain: Collection[str] = (),
    base: str | None = None,
) -> None:
    """Make sure that the nodes of a cluster can have an image that was delivered to another one.

    Args:
        layout: where this machine keeps the images that name no registry.
        digest: of its manifest.
        reference: its name, `HOST/REPOSITORY:TAG`.
        context: name of the cluster's context.
        plain: see `Repository`.
        base: reference of the image that the model's layer is on; None if there is none.

    Raises:
        StageError: its registry does not have it, or does not answer; or Kind does not take it.
    """
    name, _, _ = reference.rpartition(":")
    if not _is_local(reference):
        Repository(name, plain).digest(digest)
    elif context.startswith(_KIND):
        deliver(layout, digest, reference, context, plain, base)


def _is_local(reference: str) -> bool:
    """Tell whether an image's name has no registry in it."""
    return reference.partition("/")[0] == references.LOCAL


@dataclass(frozen=True)
class _Layer:
    """A layer of a base that is in a registry, by what a manifest says of it."""

    repository: str
    part: Mapping[str, Any]

    @property
    def digest(self) -> str:
        return str(self.part["digest"])

    def get(self, plain: Collection[str]) -> Path:
        """Return its file, fetching it if this machine does not have it."""
        return bases.layer(self.repository, self.part, plain)


def _below(found: image.Image, base: str | None, layout: Path) -> list[_Layer]:
    """Return the layers of an image that are not in its layout.

    Raises:
        StageError: there are some, and no registry that has them.
    """
    where = bases.repository(base) if base else None
    if found.elsewhere and where is None:
        lacks = found.elsewhere[0]["digest"]
        raise StageError(f"{image.blob(layout, lacks)} is missing from the image, and its base is in no registry")
    return [_Layer(where or "", part) for part in found.elsewhere]
