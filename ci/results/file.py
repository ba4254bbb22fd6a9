"""A result file: where it lies, what it holds, and reading and writing it; errors name file and key."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, TypeAdapter, ValidationError

from ci import reading, stages, workspace
from ci.command import printable
from ci.errors import StageError

T = TypeVar("T")
_ERRORS = 10_000
"""Wrong values beyond which they are counted only: a list of them takes much memory."""
_SHOWN = 80
"""Characters of a key that are shown."""
_TOP = 2**63
"""Whole numbers stay below it: numpy holds no larger ones."""

Count = Annotated[int, Field(ge=0, lt=_TOP)]
Whole = Annotated[int, Field(ge=-_TOP, lt=_TOP)]
Real = Annotated[float, Field(ge=-1e100, le=1e100)]
"""A number that squares and sums of it stay finite for."""
Day = Annotated[date, Field(ge=date(1700, 1, 1), le=date(2261, 12, 31))]
"""A date that pandas can hold in nanoseconds."""
Plain = bool | Whole | Real | str | None
"""A value that is no list and no object."""
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
"""The digest of an image; it becomes the name of files and folders."""
Many = Annotated[list[T], FailFast()]
"""A list; the error names the first wrong value."""
Version = Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]
"""The version of a model; it becomes part of paths and addresses."""


class Result(BaseModel):
    """A part of a result: immutable, strict about types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


@dataclass(frozen=True)
class File(Generic[T]):
    """A result file with one JSON value.

    Attributes:
        path: where it lies when its stage has ended.
        kind: what it holds, as pydantic understands types.
        most: bytes that it may have.
    """

    path: Path
    kind: Any
    most: int = reading.MOST

    @cached_property
    def _adapter(self) -> TypeAdapter[T]:
        return TypeAdapter(self.kind)

    def read(self, path: Path | None = None) -> T:
        """Return what the file holds, or another file of the same kind.

        Raises:
            InputError: it is missing, or not as its stage writes it; names file and key and the command to run.
        """
        path = path or self.path
        return self._checked(self._content(path), path)

    def read_if_there(self, path: Path | None = None) -> T | None:
        """Return what the file holds, None if there is none; raises as `read` does."""
        return self.read(path) if (path or self.path).exists() else None

    def plain(self, path: Path | None = None) -> Any:
        """Return what the file holds as JSON values, after the same checks."""
        path = path or self.path
        content = self._content(path)
        self._checked(content, path)
        return json.loads(content)

    def write(self, value: Any, folder: Path | None = None) -> None:
        """Write the file, or one of its name in another folder: equal values are equal bytes.

        Args:
            value: the model, or the same as JSON values.
            folder: where its stage collects its results until all are there.

        Raises:
            StageError: it is not what its readers may expect, such as a number that is not finite; nothing is written.
        """
        path = self.path if folder is None else folder / self.path.name
        if isinstance(value, BaseModel):
            value = value.model_dump(mode="json", exclude_unset=True)
        text = workspace.json_text(value)
        self._require(text)
        workspace.write_text(path, text)

    def _require(self, text: str) -> None:
        """Raise a StageError if a text that is to be written could not be read."""
        try:
            self._adapter.validate_json(text)
        except ValidationError as error:
            raise StageError(f"{self.path} cannot be written: {first(error)}") from None

    def _content(self, path: Path) -> bytes:
        try:
            return reading.content(stages.require(path), self.most)
        except reading.ReadError as error:
            raise stages.damaged(path, error.problem, error.line) from None

    def _checked(self, content: bytes, path: Path, line: int | None = None) -> T:
        try:
            reading.json(content, path)  # tells the line, which the validator does not
            return self._adapter.validate_json(content)
        except reading.ReadError as error:
            raise stages.damaged(path, error.problem, line or error.line) from None
        except ValidationError as error:
            raise stages.damaged(path, first(error), line) from None


def first(error: ValidationError) -> str:
    """Return the first of what is wrong, with its key."""
    if (count := error.error_count()) > _ERRORS:
        return f"{count:,} values are not as they should be"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    key = ".".join(printable(str(part)[:_SHOWN]) for part in first["loc"])
    return f"{key}: {first['msg']}" if key else first["msg"]


@dataclass(frozen=True)
class Lines(File[T]):
    """A result file with one JSON value on each line."""

    def read_all(self, path: Path | None = None) -> list[T]:
        """Return the value of each line; none if there is no file; raises as `read` does, naming the line."""
        path = path or self.path
        if not path.exists():
            return []
        lines = self._content(path).splitlines()
        return [self._checked(line, path, number) for number, line in enumerate(lines, 1)]

    def plain_all(self, path: Path | None = None) -> list[Any]:
        """Return the same as JSON values."""
        path = path or self.path
        self.read_all(path)
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def text(self, values: Iterable[Any]) -> str:
        """Return the lines of some values, their keys sorted; raises as `write` does."""
        lines = [json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n" for value in values]
        for line in lines:
            self._require(line)
        return "".join(lines)
