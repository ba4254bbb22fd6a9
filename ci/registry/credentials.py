"""The login for a registry, as Docker, podman and Kubernetes keep it.

It is in the file that `$REGISTRY_AUTH_FILE` names, or else in `config.json` of the folder `$DOCKER_CONFIG`, or else in
`~/.docker/config.json`. `docker login` writes such a file, `podman login` and Secrets of the type
`kubernetes.io/dockerconfigjson` have the same format. The file holds logins by host (`auths`), or names the program
that knows them: for a host (`credHelpers`) or for all (`credsStore`). Programs are asked first, as Docker does.
"""

import base64
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ci import reading, references
from ci.errors import InputError
from ci.results.file import first

_HELPER = 60.0
"""Longest wait for a credential helper, which may ask a service of its cloud; seconds."""
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
"""Hosts that all mean Docker Hub."""
_HUB_KEY = "https://index.docker.io/v1/"
"""What `docker login` calls Docker Hub."""
_IDENTITY = "<token>"
"""The user name by which a helper says that its secret is an identity token."""
_NOT_FOUND = "credentials not found"
"""How a helper's message begins where it has no login for a host."""

_Helper = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class _Entry(_Part):
    """One login; what it has depends on who wrote it."""

    auth: str | None = None
    username: str | None = None
    password: str | None = None
    identitytoken: str | None = None


class _File(_Part):
    auths: dict[str, _Entry] = {}
    credHelpers: dict[str, _Helper] = {}  # noqa: N815 - Docker's name
    credsStore: _Helper | None = None  # noqa: N815


class _Answer(_Part):
    """What a credential helper answers."""

    Username: str
    Secret: str


@dataclass(frozen=True)
class Login:
    """A user with a password, or an identity token, which is exchanged for tokens of the registry."""

    source: str
    """Where it was found: a file or a program."""
    user: str
    password: str = field(repr=False)
    identity: str = field(default="", repr=False)


def find(host: str, path: str) -> Login | None:
    """Return the login for a repository; None if there is none.

    Of logins for `HOST` and `HOST/PATH`, as podman and Kubernetes have them, the longest that fits counts.

    Args:
        host: of the registry, with its port; `docker.io` is Docker Hub.
        path: of the repository.

    Raises:
        InputError: the file, or the program that it names, cannot be used; names both and the key.
    """
    file = _file()
    if file is None:
        return None
    content = _read(file)
    helpers = {_place(key): name for key, name in content.credHelpers.items()}
    helper = helpers.get(host, content.credsStore)
    if helper and (known := _ask(helper, host, file)):
        return known
    places = {_place(key): key for key in content.auths}
    fit = [place for place in places if f"{host}/{path}/".startswith(f"{place}/")]
    return _decoded(places[max(fit, key=len)], content, file) if fit else None


def _file() -> Path | None:
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        if not Path(named).exists():
            raise InputError(f"REGISTRY_AUTH_FILE: {named} is missing: log in, or unset the variable")
        return Path(named)
    folder = os.environ.get("DOCKER_CONFIG")
    found = (Path(folder) if folder else Path("~/.docker").expanduser()) / "config.json"
    return found if found.exists() else None


def _read(file: Path) -> _File:
    try:
        return _File.model_validate(reading.json(reading.content(file), file))
    except ValidationError as error:
        raise InputError(f"{file}: {first(error)}") from None


def _place(key: str) -> str:
    """Return the `HOST` or `HOST/PATH` that a key is for; what follows the host of a URL is no repository's path."""
    _, scheme, rest = key.rpartition("://")
    host, slash, path = rest.partition("/")
    host = references.DOCKER_HUB if host in _HUB else host
    return host if scheme else f"{host}{slash}{path}".rstrip("/")


def _decoded(key: str, content: _File, file: Path) -> Login | None:
    entry = content.auths[key]
    if entry.identitytoken:
        return Login(str(file), "", "", entry.identitytoken)
    if not entry.auth:
        return Login(str(file), entry.username, entry.password or "") if entry.username else None
    try:
        user, colon, password = base64.b64decode(entry.auth, validate=True).decode().partition(":")
    except ValueError:
        colon = ""
    if not colon:
        raise InputError(f"{file}: auths.{key}.auth: expected USER:PASSWORD in base64: `docker login {key}` writes it")
    return Login(str(file), user, password.rstrip("\0"))


def _ask(name: str, host: str, file: Path) -> Login | None:
    """Ask a credential helper for its login for a host; None if it has none."""
    program = f"docker-credential-{name}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=(_HUB_KEY if host == references.DOCKER_HUB else host).encode(),
            capture_output=True,
            timeout=_HELPER,
            check=False,
        )
    except OSError as error:
        raise InputError(f"{file}: {program}, which knows the login for {host}, cannot be run: {error}") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"{file}: {program} has not answered in {_HELPER:g} s: run it by hand") from None
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode and said.startswith(_NOT_FOUND):
        return None
    if done.returncode:
        problem = said or done.stderr.decode(errors="replace").strip()
        raise InputError(f"{file}: {program} has no login for {host}: {problem[:500]}")
    try:
        answer = _Answer.model_validate(json.loads(said))
    except ValueError:  # its text may hold the secret
        raise InputError(f"{file}: {program} does not answer as a credential helper does") from None
    if not answer.Secret:
        return None
    if answer.Username == _IDENTITY:
        return Login(program, "", "", answer.Secret)
    return Login(program, answer.Username, answer.Secret)
