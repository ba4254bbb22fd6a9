"""The bill of materials of a model: what it was made from and by, as CycloneDX 1.6 JSON.

Written directly, as the Python library for it has neither model cards nor data sets; the tests hold it against
CycloneDX's schema (https://cyclonedx.org/docs/1.6/json/). It has neither a time nor a random serial number.
"""

from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from ci.packaging import requirements
from ci.registry.layout import Base

REQUIREMENTS = Path("requirements.txt")
OF_TASK = Path("model/requirements.txt")
"""What only the task needs; it may be missing."""
_OSI = "License :: OSI Approved :: "


def bill(
    model: str, version: str, digests: dict[str, str], fields: dict[str, Any], base: Base | None
) -> dict[str, Any]:
    """Return the bill of a model.

    Args:
        model: the model's name.
        version: its version.
        digests: `model` and `data`; the first is over the names and digests of the model's files.
        fields: the model's `inputs`, name to type, and its `outputs`, by name.
        base: the image that the model's layer is put on.

    Raises:
        InputError: requirements.txt is missing, has a line that is no requirement, or names what is not installed, or
            not in this version.
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
        "outputs": [{"format": name} for name in sorted(fields["outputs"])],
    }
    subject = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": model,
        "version": version,
        "hashes": _hashes(digests["model"]),
        "modelCard": {"modelParameters": card},
    }
    files = [REQUIREMENTS, *([OF_TASK] if OF_TASK.exists() else [])]
    packages = [_package(name, found) for name, found in requirements.installed(*files).items()]
    below = [{"type": "container", "name": base.reference, "hashes": _hashes(base.digest)}] if base else []
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"lifecycles": [{"phase": "build"}], "component": subject},
        "components": [data, *below, *packages],
    }


def _package(name: str, distribution: metadata.Distribution) -> dict[str, Any]:
    where = requirements.origin(distribution)
    purl = f"pkg:{'generic' if where else 'pypi'}/{name}@{distribution.version}"
    component: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": distribution.version}
    component["purl"] = purl
    if where and not where[1].startswith("file:"):  # a folder of this machine is nowhere else
        component["externalReferences"] = [{"type": where[0], "url": where[1]}]
    licences = _licences(distribution.metadata)
    return {**component, "licenses": licences} if licences else component


def _licences(about: metadata.PackageMetadata) -> list[dict[str, Any]]:
    """Return a distribution's licence: an SPDX expression if it is one, else the distribution's own words."""
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
