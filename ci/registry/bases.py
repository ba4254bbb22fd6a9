"""The images that ours are built from: `ci/images/images.yaml`, its digests, and the base of the model's image."""

import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError

from ci import reading, reading_yaml, references, workspace
from ci.errors import InputError, StageError
from ci.lineage import file_digest
from ci.registry import layout as image
from ci.registry.client import Repository
from ci.settings.kinds import Name, Section

LIST = Path("ci/images/images.yaml")
CACHE = workspace.STATE / "bases"
"""Blobs of bases that were fetched; may be deleted at any time."""
_PLATFORM = ("linux", "amd64")
_NAMED_BY = ("ci/agents/*.yaml", "ci/images/*/Dockerfile", "ci/jenkins/*.yaml", "k8s/**/*.yaml")
"""The files whose pods and builds name images, and so follow a new digest."""


def _repository(value: str) -> str:
    """Check the name of a repository, or that of a folder after `oci:`."""
    folder = value.removeprefix("oci:") if value.startswith("oci:") else None
    if wrong := references.problem(value) if folder is None else None if folder else "it names no folder":
        raise ValueError(wrong)
    return value


class Listed(Section):
    """An image of the list."""

    name: Name
    """What `packaging.base` and people call it."""
    repository: Annotated[str, AfterValidator(_repository)]
    """Such as `docker.io/tensorflow/serving`; `oci:FOLDER` is an OCI image layout on this machine."""
    tag: Annotated[str, Field(pattern=references.TAG)]
    """The tag, quoted if it looks like a number."""
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None
    """What the tag named when it was pinned; null: whatever it names now."""
    dockerfile: str | None = None
    """What the image is built from, if it is one of ours."""

    @property
    def layout(self) -> Path | None:
        """The folder that the image is in, if it is on this machine."""
        return Path(self.repository.removeprefix("oci:")) if self.repository.startswith("oci:") else None


class _List(Section):
    images: list[Listed]


def read() -> list[Listed]:
    """Return the list.

    Raises:
        InputError: the file is missing, is not YAML, or an entry is wrong; names file, line and entry.
    """
    values, lines = reading_yaml.parse_with_lines(_text(), LIST)
    try:
        found = _List.model_validate(values).images
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        key, message = detail["loc"], detail["msg"].removeprefix("Value error, ")
        line = next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), 1)
        raise InputError(f"{LIST}:{line}: {'.'.join(map(str, key))}: {message}".replace(": : ", ": ")) from None
    names = [listed.name for listed in found]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InputError(f"{LIST}:{lines['images', index]}: images.{index}.name: there are two images {name}")
    return found


def look_up(listed: Listed, plain: Collection[str] = ()) -> str:
    """Return the digest of what an image's tag names now.

    Args:
        listed: the image.
        plain: see `Repository`.

    Raises:
        StageError: its registry cannot be reached or does not have it, or its folder does not.
    """
    if listed.layout is None:
        return Repository(listed.repository, plain).digest(listed.tag)
    found = image.images(listed.layout)
    tagged = [digest for digest, reference in found.items() if reference.rpartition(":")[2] == listed.tag]
    if len(tagged) != 1:
        raise StageError(f"{LIST}: {listed.name}: {listed.layout} has {len(tagged)} images with the tag {listed.tag}")
    return tagged[0]


def pin(digests: Mapping[str, str]) -> list[Path]:
    """Write digests, by name, into the list and wherever the images are named, and return the files that changed.

    Comments and everything else stay as they are.

    Raises:
        InputError: the list is wrong (see `read`), an entry has no digest of its own, or a file is not UTF-8.
    """
    entries = read()
    text = _text()
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)  # noqa: S101 - read() has seen it
    nodes = {key.value: value for key, value in root.value}["images"].value
    for listed, node in reversed(list(zip(entries, nodes, strict=True))):  # from the end: places before it stay valid
        value = next((value for key, value in node.value if key.value == "digest"), None)
        if value is None or not node.start_mark.index < value.start_mark.index < node.end_mark.index:
            raise InputError(f"{LIST}:{node.start_mark.line + 1}: {listed.name}: write its digest in this entry")
        new = digests.get(listed.name, value.value)
        text = text[: value.start_mark.index] + new + text[value.end_mark.index :]
    wanted = {LIST: text}
    for path in sorted(path for pattern in _NAMED_BY for path in Path().glob(pattern)):
        wanted[path] = reading.text(path)
        for listed in entries:
            name = f"{listed.repository}:{listed.tag}"
            if listed.name in digests:
                places = rf"(?m)^(FROM +|ARG \w+=|[ -]*image: +){re.escape(name)}(@sha256:[0-9a-f]{{64}})?(?=\s)"
                wanted[path] = re.sub(places, rf"\g<1>{name}@{digests[listed.name]}", wanted[path])
    changed = [path for path, content in wanted.items() if reading.text(path) != content]
    for path in changed:
        workspace.write_text(path, wanted[path])
    return changed


def get(name: str | None, plain: Collection[str] = ()) -> image.Base | None:
    """Return the base that `packaging.base` names, or None for no base.

    Of one in a registry, manifest and configuration are fetched; its layers stay there, see `layer`.

    Args:
        name: what the list calls it, or a reference, `REPOSITORY:TAG` or `REPOSITORY:TAG@DIGEST`.
        plain: see `Repository`.

    Raises:
        InputError: the list has no such image.
        StageError: the registry, or the folder, does not have it.
    """
    if name is None:
        return None
    listed = _referred(name) if "/" in name else _of_list(name)
    digest = listed.digest or look_up(listed, plain)
    reference = f"{listed.repository}:{listed.tag}@{digest}"
    if listed.layout is not None:
        layout = listed.layout
        found = _for_platform(digest, lambda wanted: image.verified(layout, wanted, image.MANIFEST_SIZE), reference)
        return image.Base(layout, found, reference, pinned=listed.digest is not None)
    registry = Repository(listed.repository, plain)
    found = _for_platform(digest, lambda wanted: _cached(registry, "manifests", wanted), reference)
    config, _ = image.parts(_cached(registry, "manifests", found).read_bytes(), reference)
    _cached(registry, "blobs", config["digest"], config["size"])
    return image.Base(CACHE, found, reference, pinned=listed.digest is not None, whole=False)


def repository(reference: str) -> str | None:
    """Return the repository that a base's reference names; None if it is a folder on this machine."""
    return None if reference.startswith("oci:") else reference.partition("@")[0].rpartition(":")[0]


def layer(name: str, part: Mapping[str, Any], plain: Collection[str] = ()) -> Path:
    """Return the file of a base's layer, fetching it if it is not on this machine.

    Args:
        name: the repository that has it.
        part: what a manifest says of it: digest and size.
        plain: see `Repository`.

    Raises:
        StageError: the registry does not have it, or cannot be reached.
    """
    return _cached(Repository(name, plain), "blobs", part["digest"], part["size"])


def _of_list(name: str) -> Listed:
    entries = {entry.name: entry for entry in read()}
    if name not in entries:
        raise InputError(f"packaging.base: {LIST} lists no image {name}; it has {', '.join(entries)}")
    return entries[name]


def _referred(reference: str) -> Listed:
    named, _, digest = reference.partition("@")
    repository, _, tag = named.rpartition(":")
    return Listed(name="base", repository=repository, tag=tag, digest=digest or None)


def _for_platform(digest: str, read: Callable[[str], Path], reference: str) -> str:
    """Return the digest of the manifest for our platform: the one given, or one of those that it is an index of."""
    try:
        content = json.loads(read(digest).read_bytes())
        if "manifests" not in content:
            return digest
        platforms = [(entry["digest"], entry.get("platform") or {}) for entry in content["manifests"]]
        if not all(image.is_digest(key) for key, _ in platforms):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise StageError(f"{reference} is neither an image manifest nor an index of them") from None
    fit = (key for key, platform in platforms if (platform.get("os"), platform.get("architecture")) == _PLATFORM)
    found = next(fit, None)
    if found is None:
        raise StageError(f"{reference} has no image for {'/'.join(_PLATFORM)}")
    return str(found)


def _cached(
    repository: Repository, kind: Literal["manifests", "blobs"], digest: str, size: int = image.MANIFEST_SIZE
) -> Path:
    """Return a blob's file in the cache, fetching it if it is not there whole; `size` is what it has at most."""
    path = image.blob(CACHE, digest)
    if not path.exists() or file_digest(path) != digest:
        path.parent.mkdir(parents=True, exist_ok=True)
        repository.save(kind, digest, path, size)
    return path


def _text() -> str:
    if not LIST.exists():
        raise InputError(f"{LIST} is missing: run in the repository's folder")
    return reading.text(LIST, reading_yaml.MOST)
