"""What all sections of the settings have in common, and the values that several of them hold."""

from datetime import date
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

NAME = r"^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$"
"""The pattern of a name that Kubernetes, image references and URLs all accept."""
Name = Annotated[str, Field(pattern=NAME)]
"""Such a name."""

EnvironmentName = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,14}[a-z0-9])?$")]
"""A short name: it is part of the path of a socket, which may have 107 bytes."""


def _day(value: object) -> object:
    """Read a date that is written as text, as JSON and quoted YAML have it."""
    try:
        return date.fromisoformat(value) if isinstance(value, str) and value[4:8:3] == "--" else value  # no weeks
    except ValueError:
        return value


Day = Annotated[date, BeforeValidator(_day)]
"""A date; YAML's own, or the same as text."""

Fraction = Annotated[float, Field(ge=0, le=1)]
"""A share, from none to all."""


class Section(BaseModel):
    """A part of the settings: immutable, strict about types, closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
