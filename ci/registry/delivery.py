"""Bringing an image to where a cluster's nodes can have it: its registry, or into the nodes of Kind."""

import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Collection
from pathlib import Path

from ci import references
from ci.errors import InputError, StageError
from ci.registry import layout as image
from ci.registry.client import Repository

_KIND = "kind-"
"""What Kind puts before a cluster's name in a kubeconfig's contexts."""
_LOADING = 900.0
"""Longest wait for `kind load`, which copies to each node; seconds."""


def deliver(layout: Path, digest: str, reference: str, context: str, plain: Collection[str] = ()) -> str:
    """Bring an image to a cluster and return in a clause how.

    Args:
        layout: an image layout that has it.
        digest: of its manifest.
        reference: its name, `HOST/REPOSITORY:TAG`.
        context: name of the cluster's context.
        plain: see `Repository`.

    Raises:
        InputError: `kind` is missing for a cluster of Kind.
        StageError: a blob was changed, the registry refuses, or Kind does, or takes too long.
    """
    name, _, tag = reference.rpartition(":")
    if not _is_local(reference):
        found = image.verify(layout, digest)
        Repository(name, plain).send(found.blobs[1:], found.blobs[0], tag)
        return f"sent to {name}"
    if not context.startswith(_KIND):
        return f"{reference} names no registry, so the nodes must have it: see packaging.repository"
    if not shutil.which("kind"):
        raise InputError(f"kind is not on the PATH, and loads images into the cluster of context {context}")
    image.verify(layout, digest)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        with tarfile.open(archive, "w") as tar:
            for path in sorted(layout.rglob("*")):
                tar.add(path, path.relative_to(layout).as_posix(), recursive=False)
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


def require(layout: Path, digest: str, reference: str, context: str, plain: Collection[str] = ()) -> None:
    """Make sure that the nodes of a cluster can have an image that was delivered to another one.

    Args:
        layout: where this machine keeps the images that name no registry.
        digest: of its manifest.
        reference: its name, `HOST/REPOSITORY:TAG`.
        context: name of the cluster's context.
        plain: see `Repository`.

    Raises:
        StageError: its registry does not have it, or does not answer; or Kind does not take it.
    """
    name, _, _ = reference.rpartition(":")
    if not _is_local(reference):
        Repository(name, plain).digest(digest)
    elif context.startswith(_KIND):
        deliver(layout, digest, reference, context)


def _is_local(reference: str) -> bool:
    """Tell whether an image's name has no registry in it."""
    return reference.partition("/")[0] == references.LOCAL
