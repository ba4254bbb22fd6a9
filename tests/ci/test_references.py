"""Names of repositories: what registries and container runtimes take is taken, and understood as they understand it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ci import references
from ci.settings.building import Packaging

NAMES = [
    "a__b", "a--b", "a.b", "a_b", "a---b", "a", "0", "team/a__b/c-d", "registry.example/a__b",
    "registry.example:5000/team/models", "localhost/models", "localhost:5000/models", "192.168.1.1:5000/models",
    "[::1]:5000/models", "[2001:db8::1]/models", "[2001:0db8:85a3:0000:0000:8a2e:0370:7334]:443/m", "xn--n3h.com/m",
    "Registry.Example.org/m", "a-b.com/m", "001a.com/m", "example.com/xn--7o8h.com/m", "a/" * 20 + "a",
    "123456789012.dkr.ecr.eu-central-1.amazonaws.com/models", "europe-docker.pkg.dev/my-project/my_repo",
]  # fmt: skip
WRONG = [
    "", "a___b", "a..b", "a._b", "a_-b", "_a", "a_", "-a", "a-", ".a", "a.", "a//b", "/a", "a/", "A", "team/A", "a b",
    "a\n", "é", "a:b", "a:1", "a:1/b:2", "a/b:5000", "a@sha256:0", "foo_bar.com:8080/app", "ab-.com:1/m",
    "foo.com:http/m", "[::1/m", "[::1]5000/m", "[::1%eth0]:5000/m", "fd00:1:2::3:75050/m", "[fd00123123123]/m",
    "a.b:0/m",
    "a.b:65536/m",
    "a.b:99999999999999999999/m", "http://a.b/m", "a/..", "a/../b", "a" * 256, "a-" * 5000, "$(x)", "--a",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_of_repositories_are_taken(name: str) -> None:
    assert references.problem(name) is None
    assert Packaging(repository=name).repository == name


@pytest.mark.parametrize("name", WRONG)
def test_what_a_registry_would_refuse_is_refused_with_the_reason(name: str) -> None:
    assert references.problem(name)


@pytest.mark.parametrize("name", [name for name in WRONG if name not in ("a:1", "A")])
def test_a_setting_that_would_make_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=r"a repository is|no port|no IPv6|at most"):
        Packaging(repository=name)


def test_a_host_alone_may_stand_before_the_models_name() -> None:
    for host in ("registry.example:5000", "[::1]:5000", "localhost"):
        assert Packaging(repository=host).repository == host


@pytest.mark.parametrize("length", [212, 213])
def test_with_the_models_name_it_must_not_be_too_long(length: int) -> None:
    name = f"registry.example/{'a' * length}"
    assert references.problem(name) is None
    if length > 212:
        with pytest.raises(ValidationError):
            Packaging(repository=name)
    else:
        Packaging(repository=name)


@pytest.mark.parametrize(
    ("name", "host", "path"),
    [
        ("m", "docker.io", "library/m"),
        ("team/m", "docker.io", "team/m"),
        ("docker.io/m", "docker.io", "library/m"),
        ("index.docker.io/team/m", "docker.io", "team/m"),
        ("a.b/m", "a.b", "m"),
        ("a:5000/m", "a:5000", "m"),
        ("localhost/m", "localhost", "m"),
        ("localhost.evil.com/m", "localhost.evil.com", "m"),
        ("Team/m", "Team", "m"),
        ("[::1]:5000/team/m", "[::1]:5000", "team/m"),
    ],
)
def test_host_and_path_are_those_that_container_runtimes_see(name: str, host: str, path: str) -> None:
    assert references.split(name) == (host, path)


PARTS = st.lists(st.sampled_from(["a", "b1", "9"]), min_size=1, max_size=4)
SEPARATORS = st.sampled_from([".", "_", "__", "-", "--", "-----", "/"])


@given(PARTS, st.lists(SEPARATORS, min_size=4, max_size=4))
def test_any_separators_of_the_grammar_make_a_name(parts: list[str], separators: list[str]) -> None:
    name = "".join(part + separator for part, separator in zip(parts, separators, strict=False))
    assert references.problem(re.sub(r"[^a-z0-9]+$", "", name)) is None


@pytest.mark.parametrize("host", ["kind-registry:5000", "10.0.0.1", "registry.example", "[fd00::1]:5000"])
def test_a_registry_without_tls_is_named_by_its_host(host: str) -> None:
    assert Packaging(plain_http=[host]).plain_http == [host]


@pytest.mark.parametrize(
    "host",
    ["", "plain", "http://a.b", "a.b/", "a.b/team", "a.b:0", "a.b:x", "me@a.b", "*.b", "a b.c", "index.docker.io", "."],
)
def test_what_is_no_host_of_a_registry_cannot_be_named(host: str) -> None:
    with pytest.raises(ValidationError, match="expected HOST or HOST:PORT of a registry"):
        Packaging(plain_http=[host])
