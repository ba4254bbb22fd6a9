"""Signatures: what is deployed is what the owner of the key packaged, byte for byte."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ci import configuration, workspace
from ci.errors import InputError, StageError
from ci.packaging import package
from ci.settings import Settings
from ci.settings.building import Model, Packaging
from scripts import deploy
from tests.ci.packaging.conftest import Assemble


def keys(name: str) -> tuple[str, str]:
    """Write a pair of keys and return the private one's file and the public one's."""
    key = ec.generate_private_key(ec.SECP256R1())
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    Path(f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    Path(f"{name}.pub").write_bytes(public)
    return f"{name}.key", f"{name}.pub"


def list_again() -> None:
    """Make SHA256SUMS fit what is there, as somebody would who changed it on purpose."""
    files = sorted(
        path.relative_to(workspace.PACKAGE).as_posix()
        for path in workspace.PACKAGE.rglob("*")
        if path.is_file() and path.name != package.SUMS
    )
    result = subprocess.run(["sha256sum", *files], cwd=workspace.PACKAGE, capture_output=True, check=True)
    (workspace.PACKAGE / package.SUMS).write_bytes(result.stdout)


def test_a_signed_package_is_the_same_image_and_manifest_and_openssfs_tool_verifies_it(
    assemble: Assemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = keys("owner")
    unsigned = assemble()
    monkeypatch.setenv("SIGNING_KEY", private)
    assert assemble(signing_key="$SIGNING_KEY") == unsigned
    first = (workspace.PACKAGE / "signature.json").read_bytes()
    assert assemble(signing_key=private) == unsigned
    assert (workspace.PACKAGE / "signature.json").read_bytes() != first, "ECDSA draws a random number"
    assert package.verify(workspace.PACKAGE, public) == unsigned
    assert package.verify(workspace.PACKAGE) == unsigned
    ignored = [f"--ignore-paths={workspace.PACKAGE / name}" for name in ("signature.json", "SHA256SUMS")]
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(workspace.PACKAGE), *ignored]
    arguments = [f"--signature={workspace.PACKAGE / 'signature.json'}", f"--public_key={public}"]
    subprocess.run([*command, *arguments], check=True)


def test_every_file_that_is_changed_and_listed_anew_is_refused_and_named(assemble: Assemble) -> None:
    private, public = keys("owner")
    assemble(signing_key=private)
    files = [path for path in workspace.PACKAGE.rglob("*") if path.is_file() and path.name != package.SUMS]
    assert len(files) == 11
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content.replace(b"0", b"1", 1) if b"0" in content else content + b" ")
        list_again()
        with pytest.raises(StageError) as error:
            package.verify(workspace.PACKAGE, public)
        assert path.relative_to(workspace.PACKAGE).as_posix() in str(error.value)
        path.write_bytes(content)
    (workspace.PACKAGE / ".gitignore").write_text("")
    list_again()
    with pytest.raises(StageError, match=r"\.gitignore"):
        package.verify(workspace.PACKAGE, public)


def test_an_unsigned_package_and_one_of_another_key_are_refused(assemble: Assemble) -> None:
    private, public = keys("owner")
    assemble()
    with pytest.raises(StageError, match=r"signature\.json is missing, and packaging\.verify_key asks .*dvc repro"):
        package.verify(workspace.PACKAGE, public)
    assemble(signing_key=private)
    other = keys("other")[1]
    with pytest.raises(StageError, match=r"signature\.json does not fit the package: Key mismatch"):
        package.verify(workspace.PACKAGE, other)
    signature = json.loads((workspace.PACKAGE / "signature.json").read_text())
    for damaged in (
        "",
        "{",
        "[]",
        "{}",
        "null",
        "1",
        "[" * 25_000,
        '{"a":' * 25_000,
        "9" * 5000,
        json.dumps({**signature, "dsseEnvelope": {}}),
    ):
        (workspace.PACKAGE / "signature.json").write_text(damaged)
        list_again()
        with pytest.raises(StageError, match=r"signature\.json does not fit the package"):
            package.verify(workspace.PACKAGE, public)


def test_deploy_refuses_before_it_changes_anything(assemble: Assemble, capsys: pytest.CaptureFixture[str]) -> None:
    public = keys("owner")[1]
    demanding = Packaging(verify_key=public)
    settings = Settings(schema_version=1, as_of=date(2013, 4, 1), model=Model(name="demo"), packaging=demanding)
    workspace.write_text(workspace.SETTINGS, configuration.dump(settings))
    assemble()
    for arguments in ([], ["--dry-run"]):
        assert deploy.main(arguments) == 1
        assert "failed: build/package/signature.json is missing" in capsys.readouterr().err
    Path(public).unlink()
    assert deploy.main([]) == 2
    assert "bad input: packaging.verify_key: owner.pub is missing" in capsys.readouterr().err
    assert not workspace.STATE.exists()
    assert not workspace.ROLLOUT.exists()


@pytest.mark.parametrize("content", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_key_that_is_none_is_bad_input(assemble: Assemble, content: str) -> None:
    private, public = keys("owner")
    Path("bad").write_text(content)
    with pytest.raises(InputError, match=r"packaging\.signing_key: bad is no private elliptic key in PEM"):
        assemble(signing_key="bad")
    with pytest.raises(InputError, match=r"packaging\.signing_key: owner\.pub is no private elliptic key"):
        assemble(signing_key=public)
    with pytest.raises(InputError, match=r"packaging\.signing_key: nowhere is missing"):
        assemble(signing_key="nowhere")
    with pytest.raises(InputError, match=r"packaging\.signing_key: \$NO_SUCH names an environment variable that"):
        assemble(signing_key="$NO_SUCH")
    assert not workspace.PACKAGE.exists()
    assemble(signing_key=private)
    with pytest.raises(InputError, match=r"packaging\.verify_key: bad is no public elliptic key in PEM"):
        package.verify(workspace.PACKAGE, "bad")
