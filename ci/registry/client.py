"""A registry: digests of tags, manifests and blobs, each compared with the digest that names it; and sending images.

The requests are those of https://github.com/opencontainers/distribution-spec/blob/main/spec.md; a registry that wants a
token says where to get one, as in https://distribution.github.io/distribution/spec/auth/token/. Who asks is in
`ci.registry.credentials`, or in ~/.netrc. Without TLS only registries are spoken to that are on this machine, or that
`packaging.plain_http` names.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urljoin, urlsplit

from ci import http, references
from ci.errors import StageError
from ci.registry import credentials, refusals
from ci.registry.layout import MANIFEST_SIZE

if TYPE_CHECKING:
    import requests

    _Auth = Callable[[requests.PreparedRequest], requests.PreparedRequest]

_KINDS = ", ".join(
    [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ]
)
_TIMEOUT = (10, 60)
"""Longest waits for a connection and between two parts of an answer; seconds."""
_TOKEN_SIZE = 1 << 20
"""Size of an answer with a token at most; bytes."""
_CLIENT = "model-pipeline"
"""What we call ourselves where an identity token is exchanged."""


class Unreachable(StageError):  # noqa: N818 - a state, not a fault
    """The registry does not answer, or does not let us in: that says nothing of what it has."""


class Repository:
    """One repository of a registry.

    Args:
        name: such as `docker.io/tensorflow/serving`.
        plain: registries that are spoken to without TLS, each as `HOST[:PORT]`; those on this machine always are.
    """

    def __init__(self, name: str, plain: Collection[str] = ()):
        self.name = name
        self._plain = {host.lower() for host in plain}
        self._host, self._path = references.split(name)
        host = "registry-1.docker.io" if self._host == references.DOCKER_HUB else self._host
        scheme = "http" if self._may_be_plain(f"http://{host}") else "https"
        self.url = f"{scheme}://{host}/v2/{self._path}"
        """Where its manifests and blobs are."""
        self._session = http.session()
        self._session.hooks["response"].append(self._check_redirect)
        self._authorize: _Auth | None = None

    @cached_property
    def login(self) -> credentials.Login | None:
        """The login for it that this machine has; read only where the registry asks for one."""
        return credentials.find(self._host, self._path)

    def digest(self, tag: str) -> str:
        """Return the digest of what a tag names now: of an image, or of an index of images for several platforms.

        Raises:
            StageError: the registry cannot be reached, or does not have the tag.
        """
        found = hashlib.sha256()
        for chunk in self._parts(f"manifests/{tag}", MANIFEST_SIZE):
            found.update(chunk)
        return f"sha256:{found.hexdigest()}"

    def save(self, kind: Literal["manifests", "blobs"], digest: str, path: Path, size: int) -> None:
        """Write a manifest, an index or a blob to a file, which is there completely or not at all.

        Args:
            kind: what it is.
            digest: its digest.
            path: the file.
            size: bytes that it has at most; not more are fetched.

        Raises:
            StageError: the registry cannot be reached, does not have it, or sends something else.
        """
        partial, found = path.with_name(f".{path.name}.part"), hashlib.sha256()
        try:
            with partial.open("wb") as file:
                for chunk in self._parts(f"{kind}/{digest}", size):
                    found.update(chunk)
                    file.write(chunk)
        except StageError:
            partial.unlink()
            raise
        if found.hexdigest() != digest.removeprefix("sha256:"):
            partial.unlink()
            raise StageError(f"{self.name}: the registry sent other content than {digest}: try again")
        partial.replace(path)

    def has(self, digest: str) -> bool:
        """Tell whether it has a blob; raises as `send` does."""
        with self._ask("HEAD", f"blobs/{digest}", (200, 404)) as answer:
            return answer.status_code == 200

    def mount(self, digest: str, other: str) -> bool:
        """Take a blob over from another repository, which costs no transfer, and tell whether the registry did that.

        Args:
            digest: the blob's.
            other: the repository that has it, such as `docker.io/tensorflow/serving`.

        Raises:
            StageError: as `send` does.
        """
        host, path = references.split(other)
        if host != self._host:
            return False
        with self._ask("POST", "blobs/uploads/", (201, 202), params={"mount": digest, "from": path}) as answer:
            return answer.status_code == 201  # 202: it wants the content

    def send(self, blobs: Sequence[Path], manifest: Path, tag: str) -> None:
        """Upload an image: the blobs that the registry lacks, then the manifest, which makes it visible under the tag.

        Args:
            blobs: files of a layout, named by the hexadecimal SHA-256 of their content.
            manifest: the same of the image's manifest.
            tag: what the image is to be called.

        Raises:
            StageError: the registry cannot be reached, or refuses.
        """
        for path in blobs:
            digest = f"sha256:{path.name}"
            if self.has(digest):
                continue
            with self._ask("POST", "blobs/uploads/", (202,)) as answer:
                where = answer.headers.get("Location", "")
            if not where:
                raise StageError(f"{self.name}: the registry does not say where to upload {digest}")
            with path.open("rb") as file:
                kind = {"Content-Type": "application/octet-stream"}
                self._ask("PUT", where, (201,), headers=kind, params={"digest": digest}, data=file).close()
        content = manifest.read_bytes()
        kind = {"Content-Type": json.loads(content)["mediaType"]}
        self._ask("PUT", f"manifests/{tag}", (201,), headers=kind, data=content).close()

    def _parts(self, path: str, size: int) -> Iterator[bytes]:
        """Yield what the registry has at a path, in parts.

        Raises:
            StageError: it breaks off, or is larger than `size`, bytes.
        """
        headers = {"Accept": _KINDS, "Accept-Encoding": "identity"}
        with self._ask("GET", path, (200,), headers=headers) as answer:
            yield from self._content(answer, path, size)

    def _content(self, answer: "requests.Response", what: str, size: int) -> Iterator[bytes]:
        import requests

        received = 0
        try:
            for chunk in answer.iter_content(1 << 20):
                received += len(chunk)
                if received > size:
                    raise StageError(f"{self.name}: {what}: the registry sends more than the {size:,} bytes it has")
                yield chunk
        except requests.RequestException as error:
            raise Unreachable(f"{self.name}: {what} broke off ({refusals.cause(error)}): try again") from None

    def _ask(self, method: str, path: str, expected: tuple[int, ...], **options: Any) -> "requests.Response":
        """Ask for a path of the repository, or for where the registry has led to; the answer is still to be read."""
        import requests

        url = self._led(path)
        try:
            answer = self._send(method, url, **options)
            if answer.status_code == 401:  # there is no token yet, it has expired, or it only allows reading
                answer.close()
                self._log_in(answer.headers.get("WWW-Authenticate", ""))
                if hasattr(options.get("data"), "seek"):
                    options["data"].seek(0)
                answer = self._send(method, url, **options)
        except requests.RequestException as error:
            raise Unreachable(f"{self.name}: the registry cannot be reached: {refusals.cause(error)}") from None
        if answer.status_code not in expected:
            with answer:
                raise self._refusal(answer, path, writes=method in ("POST", "PUT"))
        return answer

    def _send(self, method: str, url: str, **options: Any) -> "requests.Response":
        return self._session.request(method, url, timeout=_TIMEOUT, auth=self._authorize, stream=True, **options)

    def _refusal(self, answer: "requests.Response", path: str, *, writes: bool) -> StageError:
        """Return what a status that was not expected means."""
        status, said = answer.status_code, refusals.said(answer)
        means = self._wanted() if status == 401 else refusals.meaning(status, said, writes=writes)
        kind = StageError if status == 404 else Unreachable
        words = f"HTTP {status}: {said}" if said else f"HTTP {status}"
        return kind(f"{self.name}: {path.partition('?')[0]}: the registry {means} ({words})")

    def _wanted(self) -> str:
        """Return why a registry did not let us in, and what to do."""
        fix = f"`docker login {self._host}`"
        if self.login is None:
            return f"wants a login: {fix}"
        return f"does not accept the login of {self.login.source}: {fix}"

    def _may_be_plain(self, url: str) -> bool:
        return http.loopback(url) or urlsplit(url).netloc.lower() in self._plain

    def _led(self, to: str) -> str:
        """Return the address of a path of the repository, or of where the registry leads.

        Raises:
            StageError: it leads to what is no address, or to a machine without TLS that the settings do not name.
        """
        try:
            url = urljoin(f"{self.url}/", to)
            scheme = urlsplit(url).scheme
            safe = scheme == "https" or (scheme == "http" and self._may_be_plain(url))
        except ValueError:
            safe = False
        if not safe:
            raise StageError(f"{self.name}: the registry leads to {to!r:.200}, which is no address with TLS")
        return url

    def _check_redirect(self, answer: "requests.Response", **_: Any) -> None:
        """Let a redirect lead only where a path may; requests calls this for each answer, before it goes there."""
        if answer.is_redirect:
            self._led(urljoin(answer.url, answer.headers["Location"]))

    def _log_in(self, challenge: str) -> None:
        """Do what a registry asks for: show the login itself, or get a token for it."""
        bearer = re.search(r"(?i)\bbearer\s+(.*)", challenge)
        pairs: list[tuple[str, str]] = re.findall(r'(\w+)="([^"]*)"', bearer[1]) if bearer else []
        fields = dict(reversed(pairs))
        if "realm" in fields:
            self._authorize = _showing(f"Bearer {self._token(fields)}", self.url)
        elif challenge.lower().startswith("basic") and self.login and not self.login.identity:
            self._authorize = _showing(_basic(self.login), self.url)

    def _token(self, fields: dict[str, str]) -> str:
        """Get the token that a registry asks for, as a registry's answer describes it in `fields`."""
        url = self._led(fields["realm"])
        asked: dict[str, str] = {key: fields[key] for key in ("service", "scope") if key in fields}
        if self.login and self.login.identity:
            asked |= {"grant_type": "refresh_token", "client_id": _CLIENT, "refresh_token": self.login.identity}
            answer = self._session.post(url, data=asked, timeout=_TIMEOUT, stream=True)
        else:
            shown = _showing(_basic(self.login), url) if self.login else None
            answer = self._session.get(url, params=asked, auth=shown, timeout=_TIMEOUT, stream=True)
        with answer:
            if answer.status_code in (401, 403):
                raise Unreachable(f"{self.name}: the registry {self._wanted()} (HTTP {answer.status_code} of {url})")
            try:
                content = json.loads(b"".join(self._content(answer, url, _TOKEN_SIZE)))
                token = str(content.get("token") or content["access_token"])
                token.encode("ascii")  # as headers are
                return token
            except (ValueError, KeyError, AttributeError, RecursionError):
                raise Unreachable(f"{self.name}: {url} gives no token (HTTP {answer.status_code})") from None


def _basic(login: credentials.Login) -> str:
    return f"Basic {base64.b64encode(f'{login.user}:{login.password}'.encode()).decode()}"


def _showing(header: str, to: str) -> "_Auth":
    """Return what shows a header to the host of an address alone: an upload may lead to another.

    It is a function, since requests lets ~/.netrc take the place of a plain header.
    """

    def authorize(request: "requests.PreparedRequest") -> "requests.PreparedRequest":
        if _origin(str(request.url)) == _origin(to):
            request.headers["Authorization"] = header
        return request

    return authorize


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port of an address."""
    found = urlsplit(url)
    return found.scheme, found.hostname, found.port or {"http": 80, "https": 443}.get(found.scheme)
