"""A version of the model: what identifies it, what pods run, and what it must answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci.results.evaluation import GOLDEN
from ci.results.package import MANIFEST


@dataclass(frozen=True)
class Version:
    """A packaged version, as its evidence describes it.

    Attributes:
        digest: of its image.
        number: the model's version, such as `2013040112345`.
        model: the model's name.
        reference: of its image, without the digest.
        base: reference of the image below the model; None if that one holds no server.
        signature: `inputs`, name to type, and `output`.
        instances: what the evaluation asked the model.
        predictions: its golden predictions: what the model answered.
    """

    digest: str
    number: str
    model: str
    reference: str
    base: str | None
    signature: Mapping[str, Any]
    instances: list[dict[str, Any]]
    predictions: list[Any]

    @classmethod
    def load(cls, folder: Path) -> "Version":
        """Read a version from a package, or from the evidence that is kept of it.

        Raises:
            InputError: a file is missing or damaged.
        """
        manifest, golden = MANIFEST.plain(folder / "manifest.json"), GOLDEN.plain(folder / "golden.json")
        image = manifest["image"]
        return cls(
            digest=image["digest"],
            number=manifest["version"],
            model=manifest["model"],
            reference=image["reference"],
            base=image["base"],
            signature=manifest["signature"],
            instances=golden["instances"],
            predictions=golden["predictions"],
        )
