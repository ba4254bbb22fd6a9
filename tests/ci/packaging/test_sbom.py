"""The bill of materials is valid CycloneDX and says what is installed."""

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from ci import workspace
from ci.errors import InputError
from ci.registry import layout as image
from tests.ci.packaging.conftest import Assemble
from tests.pods import REPOSITORY


def bill() -> dict[str, Any]:
    text = (workspace.PACKAGE / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_bill_of_all_that_is_pinned_is_valid_and_true(assemble: Assemble) -> None:
    Path("requirements.txt").write_text((REPOSITORY / "requirements.txt").read_text())
    manifest = assemble()
    found = bill()
    model = found["metadata"]["component"]
    assert (model["type"], model["version"]) == ("machine-learning-model", manifest["version"])
    assert model["hashes"] == [{"alg": "SHA-256", "content": manifest["digests"]["model"].removeprefix("sha256:")}]
    data, *packages = found["components"]
    assert (data["type"], data["version"]) == ("data", manifest["digests"]["data"])
    assert model["modelCard"]["modelParameters"]["datasets"] == [{"ref": data["bom-ref"]}]
    assert len(packages) > 150
    by_name = {package["name"]: package for package in packages}
    assert by_name["tensorflow"]["purl"] == f"pkg:pypi/tensorflow@{metadata.version('tensorflow')}"
    licensed = {name: package["licenses"] for name, package in by_name.items() if "licenses" in package}
    assert licensed["requests"] == licensed["dvc"] == [{"expression": "Apache-2.0"}]
    assert len(licensed) > 0.95 * len(packages)
    text = (workspace.PACKAGE / "sbom.cdx.json").read_text()
    assert "serialNumber" not in found
    assert "timestamp" not in text


def test_the_base_is_in_the_bill(assemble: Assemble, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("server")
    digest = image.build(tmp_path / "base", {"server": tmp_path / "file"}, {})
    base = image.Base(tmp_path / "base", digest, f"x/serving:1@{digest}", pinned=True)
    manifest = assemble(base)
    assert manifest["image"]["base"] == base.reference
    hashes = [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]
    assert {"type": "container", "name": base.reference, "hashes": hashes} in bill()["components"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no-such-package-here==1", "requirements.txt:2: no-such-package-here==1 is not installed here: `make setup`"),
        ("numpy = 2", "requirements.txt:2: numpy = 2 is no requirement"),
    ],
)
def test_a_requirement_that_cannot_be_listed_is_named(assemble: Assemble, line: str, said: str) -> None:
    Path("requirements.txt").write_text(f"# pins\n{line}\n")
    with pytest.raises(InputError) as error:
        assemble()
    assert said in str(error.value)


def test_options_markers_and_hashes_of_requirements_are_understood(assemble: Assemble) -> None:
    lines = ["-c other.txt", "NumPy==2.4.6 \\", f"    --hash=sha256:{hashlib.sha256(b'').hexdigest()}  # a"]
    Path("requirements.txt").write_text("\n".join([*lines, "no-such; python_version < '3'", "pyyaml"]))
    assemble()
    assert [component["name"] for component in bill()["components"]] == ["demo-data", "numpy", "pyyaml"]


def test_what_only_the_task_needs_is_in_the_bill(assemble: Assemble) -> None:
    Path("requirements.txt").write_text("numpy\n")
    Path("model").mkdir()
    Path("model/requirements.txt").write_text(f"# data\npyyaml=={metadata.version('pyyaml')}\n")
    assemble()
    assert [component["name"] for component in bill()["components"]] == ["demo-data", "numpy", "pyyaml"]
    Path("model/requirements.txt").write_text("no-such-package-here==1\n")
    with pytest.raises(InputError, match=r"model/requirements\.txt:1: no-such-package-here==1 is not installed here"):
        assemble()
