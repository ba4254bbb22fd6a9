"""The model's layer: a plain tar of folders and files, written byte by byte the same and read within bounds.

`tarfile` writes it and reads its headers. What `tarfile` would extract is decided here, and not by its filters: Python
3.11.2 has none. Only what `write` can write is read: no links, no devices, no compression, nothing sparse. So what is
unpacked is never larger than the layer itself, and is the same each time.
"""

import os
import re
import tarfile
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ci.errors import StageError

_ENTRIES = 10_000
"""Files and folders of a layer at most; a SavedModel has about ten."""
_DEPTH = 32
"""Names in a path at most."""
_PATH = 1024
"""Length of a path at most, so that it can be unpacked below a folder of any usual length; bytes."""
_NAME = 255
"""Length of one name at most, as file systems have it; bytes."""
_RECORDS = 4096
"""Length of the records before an entry at most: a long name, a size beyond 8 GiB; bytes."""
_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20
"""Bytes that are read at once."""


class _LayerError(Exception):
    """Why something is no layer that can be unpacked."""


@dataclass(frozen=True)
class _Entry:
    """A folder or a file of a layer."""

    name: str
    folder: bool
    at: int
    """Where the content begins; bytes."""
    size: int


def write(path: Path, files: dict[str, Path]) -> Path:
    """Write a layer and return its path: entries are sorted, times are 0, the owner is root and modes are fixed.

    Args:
        path: the file to write.
        files: path in the image, without a leading slash, to the file that goes there.

    Raises:
        StageError: there is a name, or a number of files, that no layer may have.
    """
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
    try:
        _check([(name, name in folders) for name in sorted({*folders, *files})])
    except _LayerError as error:
        raise StageError(f"the model cannot be packaged: {error}") from None
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


def extract(path: Path, folder: Path) -> None:
    """Unpack a layer into an empty folder; owners, modes and times are not taken over.

    Raises:
        StageError: it is no layer that `write` could have written; nothing has been unpacked.
    """
    entries = _entries(path)
    with path.open("rb") as layer:
        for entry in entries:
            target = folder / entry.name
            (target if entry.folder else target.parent).mkdir(parents=True, exist_ok=True)
            if not entry.folder:
                with target.open("xb") as file:
                    for chunk in _content(layer, entry):
                        file.write(chunk)


def holds(path: Path, folder: Path) -> bool:
    """Tell whether a folder is what `extract` would write: the same folders and files, byte by byte, and no more.

    Raises:
        StageError: it is no layer that `write` could have written.
    """
    entries = _entries(path)
    files = {entry.name: entry for entry in entries if not entry.folder}
    folders = {entry.name for entry in entries if entry.folder}
    folders |= {str(parent) for entry in entries for parent in PurePosixPath(entry.name).parents} - {"."}
    for found in folder.rglob("*"):
        name = found.relative_to(folder).as_posix()
        if found.is_symlink() or not (name in folders if found.is_dir() else name in files and found.is_file()):
            return False
    if not all((folder / name).is_dir() for name in folders):
        return False
    with path.open("rb") as layer:
        return all(_equal(layer, entry, folder / name) for name, entry in files.items())


def _equal(layer: BinaryIO, entry: _Entry, path: Path) -> bool:
    if not path.is_file() or path.stat().st_size != entry.size:
        return False
    with path.open("rb") as file:
        return all(file.read(len(chunk)) == chunk for chunk in _content(layer, entry))


def _content(layer: BinaryIO, entry: _Entry) -> Iterator[bytes]:
    layer.seek(entry.at)
    left = entry.size
    while left and (chunk := layer.read(min(left, _CHUNK))):
        left -= len(chunk)
        yield chunk


def _entries(path: Path) -> list[_Entry]:
    """Return what a layer holds, after looking at all of it.

    Raises:
        StageError: it is no layer that `write` could have written.
    """
    try:
        with path.open("rb") as layer:
            entries = list(_read(layer, os.fstat(layer.fileno()).st_size))
        _check([(entry.name, entry.folder) for entry in entries])
    except (_LayerError, tarfile.HeaderError, UnicodeDecodeError) as error:
        why = f"{error}: it is damaged, or no plain tar" if isinstance(error, tarfile.HeaderError) else error
        raise StageError(f"{path} is no layer that can be extracted ({why}): package again") from None
    return entries


def _read(layer: BinaryIO, length: int) -> Iterator[_Entry]:
    """Yield a layer's entries up to its end mark, a block of zeros.

    Raises:
        _LayerError: an entry is no plain file or folder, reaches beyond the end, or there are too many.
        tarfile.HeaderError: a header is damaged, or the layer is compressed.
        UnicodeDecodeError: a name is not UTF-8.
    """
    records: dict[str, str] | None = None
    for _ in range(2 * _ENTRIES):  # an entry may have a header of records before its own
        block = layer.read(_BLOCK)
        if block == bytes(_BLOCK) and records is None:
            return
        header, at = tarfile.TarInfo.frombuf(block, "utf-8", "strict"), layer.tell()
        name = (records or {}).get("path", header.name)
        size = _number((records or {}).get("size", str(header.size)))
        if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.XHDTYPE):
            raise _LayerError(f"{_shown(name)} is no plain file or folder, but of type {header.type!r}")
        if at + size > length or (header.isdir() and size):
            raise _LayerError(f"{_shown(name)} reaches beyond its end")
        if header.type == tarfile.XHDTYPE:
            if records is not None or size > _RECORDS:
                raise _LayerError("a path is too long, or another record of an entry")
            records = _records(layer.read(size))
        else:
            yield _Entry(name.rstrip("/") if header.isdir() else name, header.isdir(), at, size)
            records = None
        layer.seek(at + -(-size // _BLOCK) * _BLOCK)
    raise _LayerError(f"it has more than {_ENTRIES:,} entries")


def _records(body: bytes) -> dict[str, str]:
    """Return the records before an entry, `LENGTH KEY=VALUE` and a line's end each, as POSIX describes pax headers."""
    found = {}
    while body:
        length = re.match(rb"([1-9][0-9]{0,4}) ", body)
        record, body = (body[: int(length[1])], body[int(length[1]) :]) if length else (b"", b"")
        key, equals, value = record.partition(b" ")[2].partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise _LayerError("the records before an entry are damaged")
        if key.startswith(b"GNU.sparse"):
            raise _LayerError("an entry is sparse")
        if key in (b"path", b"size"):  # others, such as times and owners, are not taken over
            found[key.decode()] = value[:-1].decode()
    return found


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        raise _LayerError(f"{_shown(text)} is no size")
    return int(text)


def _check(entries: Iterable[tuple[str, bool]]) -> None:
    """Check the paths of a layer, each with whether it is a folder.

    Raises:
        _LayerError: a path leads out of the layer's folder, is too long, means something else to a container runtime,
            or is there twice.
    """
    kinds: dict[str, bool] = {}
    for name, folder in entries:
        parts = name.split("/")
        if not {"", ".", ".."}.isdisjoint(parts):
            raise _LayerError(f"the path {_shown(name)} is not plain: no leading slash, no `.`, no `..`")
        try:
            lengths = [len(part.encode()) for part in parts]
        except UnicodeEncodeError:
            raise _LayerError(f"the name {_shown(name)} is not UTF-8") from None
        if len(parts) > _DEPTH or max(lengths) > _NAME or sum(lengths) + len(parts) - 1 > _PATH:
            raise _LayerError(
                f"the path {_shown(name)} is too long: at most {_DEPTH} names of {_NAME} bytes, {_PATH} bytes in all"
            )
        if any(unicodedata.category(character) == "Cc" for character in name):
            raise _LayerError(f"the name {_shown(name)} has control characters")
        if any(part.startswith(".wh.") for part in parts):
            raise _LayerError(f"the name {_shown(name)} asks a container runtime to delete a file of the base")
        if name in kinds:
            raise _LayerError(f"{_shown(name)} is there twice")
        kinds[name] = folder
        if len(kinds) > _ENTRIES:
            raise _LayerError(f"it has more than {_ENTRIES:,} entries")
    for name in kinds:
        if any(kinds.get(str(parent)) is False for parent in PurePosixPath(name).parents):
            raise _LayerError(f"{_shown(name)} lies in a file")


def _shown(text: str) -> str:
    """Return a text from a layer for a message: short, and without control characters."""
    return ascii(text if len(text) <= 100 else f"{text[:100]}…")
