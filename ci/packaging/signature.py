"""A package's signature: over every file that SHA256SUMS lists, by an elliptic key, in the format of model-signing.

The format is OpenSSF's (https://github.com/sigstore/model-transparency), a Sigstore bundle, so that
`model_signing verify key` checks a package too. Two signatures of the same files differ, as ECDSA draws a random
number for each, so no digest of the package's manifest covers it.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ci.errors import InputError, StageError

if TYPE_CHECKING:
    from model_signing import hashing

FILE = "signature.json"
_MOST = 16 << 20
"""Size of a signature at most; it lists every file of the package; bytes."""


def sign(folder: Path, key: str, unsigned: Iterable[str]) -> None:
    """Write the signature of a package's files.

    Args:
        folder: the package.
        key: the setting `packaging.signing_key`: a file with a private key in PEM, unencrypted.
        unsigned: names of files in the folder that are not covered; the signature itself is not.

    Raises:
        InputError: there is no such file, or it holds no usable key.
    """
    from model_signing.signing import Config

    path = _path("packaging.signing_key", key)
    try:
        config = Config().use_elliptic_key_signer(private_key=path)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"packaging.signing_key: {path} is no private elliptic key in PEM: {error}") from None
    config.set_hashing_config(_files(unsigned)).sign(folder, folder / FILE)


def verify(folder: Path, key: str, unsigned: Iterable[str]) -> None:
    """Compare a package with its signature.

    Args:
        folder: the package.
        key: the setting `packaging.verify_key`: a file with a public key in PEM.
        unsigned: names of files in the folder that are not covered.

    Raises:
        InputError: there is no such key.
        StageError: the package is not signed, not by this key, or not as it is; names the file.
    """
    from cryptography.exceptions import InvalidSignature
    from model_signing.verifying import Config

    path, signature = _path("packaging.verify_key", key), folder / FILE
    again = "package again with packaging.signing_key: `dvc repro --single-item --force package`"
    if not signature.is_file():
        raise StageError(f"{signature} is missing, and packaging.verify_key asks for a signed package: {again}")
    if signature.stat().st_size > _MOST:
        raise StageError(f"{signature} has more than {_MOST:,} bytes, which no signature has: {again}")
    try:
        config = Config().use_elliptic_key_verifier(public_key=path)
    except (ValueError, AttributeError) as error:
        raise InputError(f"packaging.verify_key: {path} is no public elliptic key in PEM: {error}") from None
    try:
        config.set_hashing_config(_files(unsigned)).verify(folder, signature)
    except InvalidSignature:
        raise StageError(f"{signature} was not made by the key of {path}, or was changed: {again}") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise StageError(f"{signature} does not fit the package: {error}: {again}") from None


def _path(setting: str, key: str) -> Path:
    """Return the file that a setting names; `$NAME` in it is that environment variable."""
    path = os.path.expandvars(key)
    if "$" in path:
        raise InputError(f"{setting}: {key} names an environment variable that is not set")
    if not Path(path).is_file():
        raise InputError(f"{setting}: {path} is missing")
    return Path(path)


def _files(unsigned: Iterable[str]) -> "hashing.Config":
    from model_signing.hashing import Config

    return Config().set_ignored_paths(paths=[FILE, *unsigned], ignore_git_paths=False)
