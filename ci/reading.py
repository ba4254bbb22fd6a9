"""Reading files safely: sizes are bounded, and errors name file and line.

Sizes and depths are limited before anything is parsed, so that no file can take all memory or end the process.
YAML is read by `ci.reading_yaml`.
"""

import stat
from pathlib import Path
from typing import Any

from ci.errors import InputError

MOST = 16 * 2**20
"""Bytes that a file may have if its reader does not say otherwise."""


class ReadError(InputError):
    """A text cannot be read as what it should be.

    Attributes:
        problem: what is wrong with it.
        line: where, counted from 1; None if that is not known.
    """

    def __init__(self, place: Path | str, problem: str, line: int | None = None):
        super().__init__(f"{place}{'' if line is None else f':{line}'}: {problem}")
        self.problem, self.line = problem, line


def content(path: Path, most: int = MOST) -> bytes:
    """Return the bytes of a file.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        InputError: it is missing, is no plain file (a device or a pipe might never end), is too large or may not be
            read.
    """
    try:
        known = path.stat()
        if not stat.S_ISREG(known.st_mode):
            raise ReadError(path, "this is no plain file")
        if known.st_size > most:
            raise ReadError(path, f"it has more than {most:,} bytes")
        with path.open("rb") as file:
            found = file.read(most + 1)
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except (OSError, ValueError) as error:  # a name with a null character, or that is too long
        raise ReadError(path, f"it cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(found) > most:
        raise ReadError(path, f"it has more than {most:,} bytes")
    return found


def text(path: Path, most: int = MOST) -> str:
    """Return the UTF-8 text of a file, its line ends as they are; raises as `content` does."""
    return decoded(content(path, most), path)


def decoded(found: bytes, place: Path | str) -> str:
    """Return UTF-8 text.

    Raises:
        ReadError: it is none.
    """
    try:
        return found.decode()
    except UnicodeDecodeError as error:
        line = found.count(b"\n", 0, error.start) + 1
        raise ReadError(place, f"not UTF-8 text ({error.reason})", line) from None


def json(found: bytes, place: Path | str) -> Any:
    """Return what a JSON text holds; `NaN` and infinities are read, as Python writes them.

    Raises:
        ReadError: it is no JSON, deeper than 200, or has a lone surrogate or a number of more than 4,300 digits.
    """
    from pydantic_core import from_json

    decoded(found, place)
    try:
        return from_json(found)
    except ValueError as error:
        problem, _, where = str(error).partition(" at line ")
        raise ReadError(place, f"not JSON ({problem})", int(where.split()[0]) if where else None) from None
