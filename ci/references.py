"""Names of repositories of images, by the grammar that registries and container runtimes share.

It is https://github.com/distribution/reference: `[HOST[:PORT]/]PATH`, where a host is a domain, an IPv4 address or an
IPv6 address in brackets, and a path consists of lower-case letters and digits, separated by one `.`, one or two `_`,
any number of `-`, or `/`. A first name without `.` or `:` that is not `localhost` belongs to the path, on Docker Hub.
"""

import re
from ipaddress import AddressValueError, IPv6Address

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[(?P<ipv6>[a-fA-F0-9:]+)\])(?::(?P<port>[0-9]+))?"
_NAME = re.compile(rf"(?:{_HOST}/)?{_PATH}")
DOCKER_HUB = "docker.io"
"""The registry of names without a host."""
LENGTH = 255
"""Longest name of a repository, without its host; characters."""
LOCAL = "localhost"
"""The host that means: no registry, the image stays on the machine that made it."""
_DIGEST = r"sha256:[0-9a-f]{64}"
TAG = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"
"""What a tag looks like."""


def problem(name: str) -> str | None:
    """Return why a text is not a valid name of a repository; None if it is valid."""
    found = _NAME.fullmatch(name) if len(name) <= 2 * LENGTH else None
    if not found:
        return (
            "a repository is [HOST[:PORT]/]PATH; its path has lower-case letters and digits, and between them one `.`, "
            f"one or two `_`, or any number of `-`; {LENGTH} characters at most"
        )
    if found["port"] and not 0 < int(found["port"][:6]) < 65536:
        return f"{found['port'][:20]} is no port"
    try:
        IPv6Address(found["ipv6"] or "::")
    except AddressValueError as error:
        return f"no IPv6 address in the brackets: {error}"
    if len(split(name)[1]) > LENGTH:
        return f"a repository's path has at most {LENGTH} characters"
    return None


def image_problem(reference: str) -> str | None:
    """Return why a text is no `REPOSITORY:TAG` or `REPOSITORY:TAG@DIGEST`, or None if it is one."""
    named, at, digest = reference.partition("@")
    repository, _, tag = named.rpartition(":")
    if at and not re.fullmatch(_DIGEST, digest):
        return "what follows `@` is no digest, which is sha256: and 64 digits of 0-9 and a-f"
    if not re.fullmatch(TAG, tag):
        return "an image is REPOSITORY:TAG or REPOSITORY:TAG@DIGEST"
    return problem(repository)


def split(name: str) -> tuple[str, str]:
    """Return the host, with its port, and the path of a repository, as container runtimes understand its name."""
    first, slash, rest = name.partition("/")
    if not slash or not ({".", ":"} & {*first} or first == LOCAL or first != first.lower()):
        first, rest = DOCKER_HUB, name
    if first in (DOCKER_HUB, "index.docker.io"):
        return DOCKER_HUB, rest if "/" in rest else f"library/{rest}"
    return first, rest
