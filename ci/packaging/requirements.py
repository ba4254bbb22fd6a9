"""Requirement files, as pip reads them: what they name, however it is written, and whether that is installed.

The format is https://pip.pypa.io/en/stable/reference/requirements-file-format/. A line that cannot be understood is an
error, never left out in silence. Constraints (`-c`) install nothing, and where packages come from (`--index-url` and
its like) does not say which ones.
"""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from ci import reading, stages
from ci.errors import InputError

_FILES = 100
"""How many requirement files may belong together."""
_NESTED = ("-r", "--requirement")
_EDITABLE = ("-e", "--editable")
_VALUED = {
    *("-c", "--constraint", "-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--trusted-host"),
    *("--no-binary", "--only-binary", "--use-feature", "--build-constraint"),
}
_FLAGS = {"--no-index", "--pre", "--prefer-binary", "--require-hashes"}
_OF_ONE = {"--hash", "--config-settings", "-C", "--config-setting", "--global-option"}
"""Options behind a requirement."""
_ADDRESS = re.compile(
    r"(?:(?:git|hg|svn|bzr)\+)?[a-z][a-z0-9+.-]*:|\.{0,2}/|~|\.$|[^\s<>=!~;@\[]+(?:/|\.whl$|\.zip$|\.tar\.)"
)
"""How an address or a path begins, as opposed to a name."""


@dataclass(frozen=True)
class _Wanted:
    """A distribution that a requirement file names."""

    name: str
    extras: frozenset[str]
    distribution: metadata.Distribution


def installed(*paths: Path) -> dict[str, metadata.Distribution]:
    """Return every installed distribution that requirement files lead to, by its canonical name.

    These are the ones that they name and all that these need, with the extras that are asked for.

    Raises:
        InputError: a file is missing, a line cannot be understood, or what it names is not installed, or not in this
            version; names file and line.
    """
    seen: set[Path] = set()
    wanted = [one for path in paths for one in _read(stages.require(path), seen)]
    return dict(sorted(_with_needs(wanted), key=lambda found: found[0]))


def origin(distribution: metadata.Distribution) -> tuple[str, str] | None:
    """Return where a distribution was installed from, None if it was an index of packages.

    Returns:
        `vcs` and an address with the commit behind it, or `distribution` and an address; without names and passwords.
    """
    found = _direct(distribution)
    if found is None:
        return None
    url, commit = found
    return ("vcs", f"{_plain(url)}@{commit}") if commit else ("distribution", _plain(url))


def _with_needs(wanted: list[_Wanted]) -> Iterator[tuple[str, metadata.Distribution]]:
    """Yield the wanted distributions and their dependencies; dependencies that are not installed are left out."""
    todo, seen = list(wanted), set()
    while todo:
        one = todo.pop()
        if (one.name, one.extras) in seen:
            continue
        seen.add((one.name, one.extras))
        yield one.name, one.distribution
        for text in one.distribution.requires or []:
            try:
                need = Requirement(text)
            except InvalidRequirement:  # of a time before the standard; pip does not install it any more
                continue
            if not need.marker or any(need.marker.evaluate({"extra": extra}) for extra in ("", *one.extras)):
                try:
                    found = metadata.distribution(need.name)
                except metadata.PackageNotFoundError:
                    continue
                todo.append(_Wanted(canonicalize_name(need.name), frozenset(need.extras), found))


def _read(path: Path, seen: set[Path]) -> Iterator[_Wanted]:
    """Yield what a requirement file names; what was `seen`, its own `-r` included, is not read again."""
    if len(seen) == _FILES:
        raise InputError(f"{path}: requirement files name more than {_FILES} others")
    seen.add(path.resolve())
    text = reading.text(path).removeprefix("\ufeff")
    for number, line in _lines(text):
        place = f"{path}:{number}"
        for kind, value in _parts(line, place):
            if kind == "requirement":
                yield from _wanted(value, place)
            elif not (inner := path.parent / value).exists():
                raise InputError(f"{place}: {_shown(value)} is missing")
            elif inner.resolve() not in seen:
                yield from _read(inner, seen)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a requirement file that say something, with their number; continued ones are joined."""
    joined, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        first = first or number
        said = re.sub(r"(^|\s)#.*", "", line)
        if said == line and line.endswith("\\"):
            joined += line[:-1]
            continue
        if joined := f"{joined}{said}".strip():
            yield first, joined
        joined, first = "", 0
    if joined.strip():
        yield first, joined.strip()


def _parts(line: str, place: str) -> Iterator[tuple[str, str]]:
    """Yield what a line names: `file` and its path, or `requirement` and its text."""
    if not line.startswith("-"):
        requirement, *options = re.split(r"\s+(?=-)", line, maxsplit=1)
        yield "requirement", requirement
        line = "".join(options)
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise InputError(f"{place}: {_shown(line)} cannot be read: {error}") from None
    while words:
        option, equals, value = words.pop(0).partition("=")
        if option[:2] in (*_NESTED, *_EDITABLE, "-c", "-i", "-f", "-C") and len(option) > 2 and option[1] != "-":
            option, equals, value = option[:2], "=", option[2:] + equals + value  # `-rother.txt`
        if option in _FLAGS and not equals:
            continue
        if not equals and words and option in (*_NESTED, *_EDITABLE, *_VALUED, *_OF_ONE):
            value = words.pop(0)
        if option in _EDITABLE and words[:1] == ["@"]:  # `NAME @ URL`
            value, words = f"{value} @ {words[1] if words[1:] else ''}", words[2:]
        if not value or option not in (*_NESTED, *_EDITABLE, *_VALUED, *_OF_ONE):
            raise InputError(f"{place}: {_shown(option)} is no option of requirement files, or lacks its value")
        if option in _NESTED:
            yield "file", value
        elif option in _EDITABLE:
            yield "requirement", value


def _wanted(text: str, place: str) -> Iterator[_Wanted]:
    """Yield the distribution that a requirement names, nothing if its marker says that it is not for here.

    Raises:
        InputError: it cannot be understood, or is not installed, or not as it says.
    """
    try:
        requirement = Requirement(text) if not _ADDRESS.match(text) else _at(text)
    except (InvalidRequirement, InvalidMarker, ValueError) as error:
        raise InputError(f"{place}: {_shown(text)} is no requirement: {str(error).splitlines()[0]}") from None
    if requirement is None:
        raise InputError(f"{place}: {_shown(text)} names no package that is installed here: write it as `NAME @ URL`")
    if requirement.marker and not requirement.marker.evaluate():
        return
    try:
        found = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        raise InputError(f"{place}: {_shown(text)} is not installed here: `make setup` installs it") from None
    if not requirement.specifier.contains(found.version, prereleases=True):
        raise InputError(
            f"{place}: {_shown(text)} is not what is installed here, {found.version}: `make setup` installs it"
        )
    yield _Wanted(canonicalize_name(requirement.name), frozenset(requirement.extras), found)


def _shown(text: str) -> str:
    """Return a text for a message: short, and without the name and password of an address."""
    return re.sub(r"//[^/@\s]*@", "//", text)[:100]


def _at(text: str) -> Requirement | None:
    """Return the requirement of an address or a path: by the name in it, or by what was installed from there."""
    address, _, marker = text.replace("\t", " ").partition(" ;")
    extras = re.search(r"\[[^\]]*\]$", address.strip())
    address = address.strip().removesuffix(extras[0] if extras else "")
    egg = parse_qs(urlsplit(address).fragment).get("egg", [""])[0]
    name = egg or _of_file(urlsplit(address).path.rpartition("/")[2]) or _from(address)
    if not name:
        return None
    found = Requirement(f"{name}{extras[0] if extras else ''}")
    found.marker = Marker(marker) if marker else None
    return found


def _of_file(file: str) -> str | None:
    try:
        return parse_wheel_filename(file)[0] if file.endswith(".whl") else parse_sdist_filename(file)[0]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None


def _from(address: str) -> str | None:
    """Return the name of the distribution that was installed from an address or a path."""
    address = re.sub(r"^(git|hg|svn|bzr)\+", "", address)
    if not (parts := urlsplit(address)).scheme:
        address = Path(address.partition("#")[0]).expanduser().resolve().as_uri()
    elif "@" in parts.path:  # a branch, a tag or a commit
        address = parts._replace(path=parts.path.rpartition("@")[0]).geturl()
    for distribution in metadata.distributions():
        found = _direct(distribution)
        if found and _plain(found[0]) == _plain(address):
            return str(distribution.metadata["Name"])
    return None


def _plain(url: str) -> str:
    """Return an address without name, password, fragment and a last slash."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], path=parts.path.rstrip("/"), fragment=""))


def _direct(distribution: metadata.Distribution) -> tuple[str, str] | None:
    """Return the address and the commit that a distribution was installed from, as PEP 610 has them."""
    try:
        found = json.loads(distribution.read_text("direct_url.json") or "null")
        return found and (str(found["url"]), str(found.get("vcs_info", {}).get("commit_id", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
