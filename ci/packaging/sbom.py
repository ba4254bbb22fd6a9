"""The bill of materials of a model: what it was made from and by, as CycloneDX 1.6 JSON.

Written directly, as the Python library for it has neither model cards nor data sets; the tests hold it against
CycloneDX's schema (https://cyclonedx.org/docs/1.6/json/). It has neither a time nor a random serial number.
"""

from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ci import workspace
from ci.errors import InputError
from ci.packaging.image import Base

REQUIREMENTS = Path("requirements.txt")
_OSI = "License :: OSI Approved :: "


def bill(
    model: str, version: str, digests: dict[str, str], fields: dict[str, Any], base: Base | None
) -> dict[str, Any]:
    """Return the bill of a model.

    Args:
        model: the model's name.
        version: its version.
        digests: `model` and `data`; the first is over the names and digests of the model's files.
        fields: the model's `inputs`, name to type, and its `output`.
        base: the image that the model's layer is put on.

    Raises:
        InputError: requirements.txt is missing, has a line that is no requirement, or names what is not installed.
    """
    data = {
        "type": "data",
        "bom-ref": "data",
        "name": f"{model}-data",
        "version": digests["data"],
        "data": [{"type": "dataset", "name": f"{model}-data"}],
    }
    card = {
        "datasets": [{"ref": "data"}],
        "inputs": [{"format": f"{name}: {kind}"} for name, kind in sorted(fields["inputs"].items())],
        "outputs": [{"format": fields["output"]}],
    }
    subject = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": model,
        "version": version,
        "hashes": _hashes(digests["model"]),
        "modelCard": {"modelParameters": card},
    }
    below = [{"type": "container", "name": base.reference, "hashes": _hashes(base.digest)}] if base else []
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"lifecycles": [{"phase": "build"}], "component": subject},
        "components": [data, *below, *_packages()],
    }


def _packages() -> list[dict[str, Any]]:
    """Return every distribution that requirements.txt names, in the version that is installed, sorted by name."""
    found = {}
    lines = workspace.require(REQUIREMENTS).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip().removesuffix("\\").strip()
        if not text or text.startswith("-"):
            continue
        try:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate():
                name = canonicalize_name(requirement.name)
                found[name] = _package(name, metadata.distribution(name))
        except InvalidRequirement as error:
            raise InputError(f"{REQUIREMENTS}:{number}: {text} is no requirement: {error}") from None
        except metadata.PackageNotFoundError:
            raise InputError(
                f"{REQUIREMENTS}:{number}: {text} is not installed here: `make setup` installs it"
            ) from None
    return [found[name] for name in sorted(found)]


def _package(name: str, distribution: metadata.Distribution) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{distribution.version}"
    licences = _licences(distribution.metadata)
    component = {"type": "library", "bom-ref": purl, "name": name, "version": distribution.version, "purl": purl}
    return {**component, "licenses": licences} if licences else component


def _licences(about: metadata.PackageMetadata) -> list[dict[str, Any]]:
    """Return what a distribution says of its licence: an SPDX expression if it is one, else its own words."""
    approved = [value.removeprefix(_OSI) for value in about.get_all("Classifier", []) if value.startswith(_OSI)]
    said = [about["License-Expression"] or about["License"] or ""]  # a whole licence text is no name
    names = [name for name in said if name.strip() not in ("", "UNKNOWN") and "\n" not in name] or approved
    if len(names) == 1:
        try:
            return [{"expression": str(canonicalize_license_expression(names[0]))}]
        except InvalidLicenseExpression:
            pass
    return [{"license": {"name": name}} for name in names]


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]
