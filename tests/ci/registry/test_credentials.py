"""Who a registry is told that we are: by each source that `docker login`, its helpers, podman and Kubernetes leave."""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ci.errors import InputError, StageError
from ci.registry.client import Repository, Unreachable
from tests.ci.packaging import registries

LOGIN = "me:pass:word"
IDENTITY = "refresh-me"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without credentials; programs may be put in its `bin`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    return tmp_path


def entry(login: str = LOGIN) -> dict[str, str]:
    return {"auth": base64.b64encode(login.encode()).decode()}


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def helper(home: Path, known: Mapping[str, tuple[str, str]], name: str = "here") -> None:
    """Make a credential helper that knows logins by the name of the server that it is asked for."""
    answers = {
        server: json.dumps({"ServerURL": server, "Username": u, "Secret": s}) for server, (u, s) in known.items()
    }
    lines = [f"{server}) echo '{answer}' ;;" for server, answer in answers.items()]
    missing = "*) echo credentials not found in native keychain; exit 1 ;;"
    script = "\n".join(
        ["#!/bin/sh", '[ "$1" = get ] || exit 2', "read -r server", 'case "$server" in', *lines, missing]
    )
    program = write(home / "bin" / f"docker-credential-{name}", f"{script}\nesac\n")
    program.chmod(0o755)


def digest(registry: registries.Registry) -> str:
    expected = registry.put("manifests", b"{}", "1")
    assert Repository(registry.name).digest("1") == expected
    return expected


@pytest.mark.parametrize("basic", [True, False], ids=["basic", "token"])
@pytest.mark.parametrize("source", ["home", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "credHelpers", "credsStore"])
def test_each_source_of_a_login_lets_in(source: str, basic: bool, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with registries.serving(login=LOGIN, basic=basic) as registry:
        auths = {"auths": {registry.host: entry()}}
        helper(home, {registry.host: ("me", "pass:word")})
        match source:
            case "home":
                write(home / ".docker/config.json", auths)
            case "DOCKER_CONFIG":
                monkeypatch.setenv(source, str(write(home / "elsewhere/config.json", auths).parent))
            case "REGISTRY_AUTH_FILE":
                monkeypatch.setenv(source, str(write(home / "run/auth.json", auths)))
            case "credHelpers":
                write(home / ".docker/config.json", {"credHelpers": {registry.host: "here"}})
            case _:
                write(home / ".docker/config.json", {"auths": {registry.host: {}}, "credsStore": "here"})
        digest(registry)


@pytest.mark.parametrize("by_helper", [True, False])
def test_an_identity_token_is_exchanged_for_a_token_of_the_registry(by_helper: bool, home: Path) -> None:
    with registries.serving(login=IDENTITY) as registry:
        if by_helper:
            helper(home, {registry.host: ("<token>", IDENTITY)})
            write(home / ".docker/config.json", {"credsStore": "here"})
        else:
            identity = {**entry("00000000-0000-0000-0000-000000000000:"), "identitytoken": IDENTITY}
            write(home / ".docker/config.json", {"auths": {registry.host: identity}})
        digest(registry)
        assert IDENTITY in registry.shown
        assert not [shown for shown in registry.shown if shown.startswith("Basic")]


def test_the_file_of_podman_comes_before_that_of_docker(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with registries.serving(login=LOGIN) as registry:
        write(home / ".docker/config.json", {"auths": {registry.host: entry("me:wrong")}})
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(write(home / "auth.json", {"auths": {registry.host: entry()}})))
        digest(registry)


def test_a_key_with_a_path_is_for_repositories_below_it_only(home: Path) -> None:
    with registries.serving("team/models/m", login=LOGIN) as registry:
        entries = {
            f"{registry.host}/team": entry("me:wrong"),
            f"{registry.host}/team/models": entry(),
            f"{registry.host}/team/mod": entry("me:wrong"),
            registry.host: entry("me:wrong"),
        }
        write(home / ".docker/config.json", {"auths": entries})
        digest(registry)
        write(home / ".docker/config.json", {"auths": {f"{registry.host}/team/mod": entry()}})
        with pytest.raises(Unreachable, match=r"wants a login: `docker login 127\.0\.0\.1"):
            digest(registry)


def test_docker_hub_is_known_by_the_name_that_docker_login_writes(home: Path) -> None:
    from ci.registry import credentials

    write(home / ".docker/config.json", {"auths": {"https://index.docker.io/v1/": entry()}})
    for name in ("nginx", "docker.io/tensorflow/serving"):
        found = Repository(name).login
        assert found is not None
        assert (found.user, found.password) == ("me", "pass:word")
    assert credentials.find("quay.io", "me/m") is None


def test_the_login_is_shown_to_its_registry_alone(home: Path) -> None:
    """Neither the store that blobs are fetched from nor another registry sees it."""
    with (
        registries.serving() as other,
        registries.serving(login=LOGIN, basic=True, store=f"http://{other.host}") as registry,
    ):
        write(home / ".docker/config.json", {"auths": {registry.host: entry()}})
        blob = other.put("blobs", b"weights")
        registry.put("blobs", b"weights")
        Repository(registry.name).save("blobs", blob, home / "blob", 7)
        assert (home / "blob").read_bytes() == b"weights"
        digest(other)
        assert not [shown for shown in other.shown if "Basic" in shown]


def test_uploads_to_another_host_do_not_carry_the_login(home: Path) -> None:
    blob = home / ("0" * 64)
    blob.write_bytes(b"weights")
    with registries.serving(token="") as other:
        place = f"http://{other.host}/v2/library/base/blobs/uploads/1?state=x"
        with registries.serving(login=LOGIN, basic=True, uploads=place) as registry:
            write(home / ".docker/config.json", {"auths": {registry.host: entry()}})
            with pytest.raises(StageError):  # the blob does not have the digest of its name: `other` breaks off
                Repository(registry.name).send([blob], blob, "1")
        assert other.shown == [""]


@pytest.mark.parametrize("basic", [True, False])
def test_without_a_login_and_with_a_wrong_one_the_message_says_what_to_do(home: Path, basic: bool) -> None:
    with registries.serving(login=LOGIN, basic=basic) as registry:
        with pytest.raises(Unreachable, match=rf"wants a login: `docker login {registry.host}`"):
            digest(registry)
        file = write(home / ".docker/config.json", {"auths": {registry.host: entry("me:wrong")}})
        with pytest.raises(
            Unreachable, match=rf"does not accept the login of {file}: `docker login {registry.host}`"
        ) as told:
            digest(registry)
        assert "wrong" not in str(told.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "1: not JSON"),
        ("[]", "Input should be a valid dictionary"),
        ('{"auths": []}', "auths: Input should be a valid dictionary"),
        ('{"auths": {"HOST": "x"}}', "auths.HOST: Input should be a valid dictionary"),
        ('{"auths": {"HOST": {"auth": "!"}}}', "auths.HOST.auth: expected USER:PASSWORD in base64"),
        ('{"auths": {"HOST": {"auth": "bWU="}}}', "auths.HOST.auth: expected USER:PASSWORD in base64"),
        ('{"auths": {"HOST": {"auth": 3}}}', "auths.HOST.auth: Input should be a valid string"),
        ('{"credHelpers": {"HOST": "missing"}}', "docker-credential-missing, which knows the login for HOST"),
        ('{"credHelpers": {"HOST": "../bin/here"}}', "credHelpers.HOST: String should match pattern"),
        ('{"credHelpers": ["HOST"]}', "credHelpers: Input should be a valid dictionary"),
        ('{"credsStore": "broken"}', "docker-credential-broken has no login for HOST: no keys today"),
        ('{"credsStore": "talks"}', "docker-credential-talks does not answer as a credential helper does"),
        ('{"credsStore": 3}', "credsStore: Input should be a valid string"),
    ],
)  # fmt: skip
def test_credentials_that_cannot_be_read_are_bad_input_that_names_the_file(content: str, said: str, home: Path) -> None:
    for name, text in (("broken", "echo no keys today; exit 1"), ("talks", "echo hello")):
        write(home / f"bin/docker-credential-{name}", f"#!/bin/sh\n{text}\n").chmod(0o755)
    with registries.serving(login=LOGIN) as registry:
        file = write(home / ".docker/config.json", content.replace("HOST", registry.host))
        with pytest.raises(InputError, match=said.replace("HOST", registry.host)) as told:
            digest(registry)
        assert str(file) in str(told.value)


def test_a_file_of_credentials_that_is_named_and_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", "/nowhere/auth.json")
    with (
        registries.serving(login=LOGIN) as registry,
        pytest.raises(InputError, match=r"REGISTRY_AUTH_FILE: /nowhere/auth\.json is missing"),
    ):
        digest(registry)


@pytest.mark.parametrize(
    "content", ["{}", '{"auths": {}}', '{"currentContext": "default"}', '{"HttpHeaders": {"a": "b"}}']
)
def test_a_file_without_credentials_asks_as_nobody(content: str, home: Path) -> None:
    write(home / ".docker/config.json", content)
    with registries.serving() as registry:
        digest(registry)


def test_a_helper_that_hangs_is_not_waited_for_for_ever(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ci.registry import credentials

    monkeypatch.setattr(credentials, "_HELPER", 0.2)
    write(home / "bin/docker-credential-sleeps", "#!/bin/sh\nexec sleep 60\n").chmod(0o755)
    with registries.serving(login=LOGIN) as registry:
        write(home / ".docker/config.json", {"credsStore": "sleeps"})
        with pytest.raises(InputError, match=r"docker-credential-sleeps has not answered in 0\.2 s"):
            digest(registry)


def test_a_login_is_looked_for_only_where_a_registry_asks_for_one(home: Path) -> None:
    write(home / ".docker/config.json", "{")
    with registries.serving(token="") as registry:
        digest(registry)


VALUES = st.none() | st.integers() | st.text() | st.sampled_from(["bWU6cGFzcw==", "OnA=", "6Q==", "a.b", "a.b/m"])
ENTRIES = st.dictionaries(st.sampled_from(["auth", "username", "password", "identitytoken", "email"]), VALUES) | VALUES
KEYS = st.sampled_from(["a.b", "a.b/", "a.b/m", "https://a.b/v2/", "a.b:5000", "", "/", "://"]) | st.text()
FILES = st.fixed_dictionaries(
    {},
    optional={
        "auths": st.dictionaries(KEYS, ENTRIES) | VALUES,
        "credHelpers": st.dictionaries(KEYS, st.text() | st.just("nowhere")) | VALUES,
        "credsStore": st.text() | VALUES,
        "HttpHeaders": VALUES,
    },
)


@given(FILES | ENTRIES)
@example({"auths": {"a.b": {"auth": "\ud800"}}})
@example({"auths": {"a.b": {"auth": "bWU6cGFzcw==\u00e9"}}})
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_file_holds_is_a_login_none_or_bad_input(home: Path, content: Any) -> None:
    from ci.registry import credentials

    write(home / ".docker/config.json", content if isinstance(content, str) else json.dumps(content))
    try:
        found = credentials.find("a.b", "m")
    except InputError as error:
        assert str(home) in str(error)  # noqa: PT017 - it need not be raised
    else:
        assert found is None or found.identity or found.user or found.password
