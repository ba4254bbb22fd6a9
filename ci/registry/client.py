"""A registry: digests of tags, manifests and blobs, each compared with the digest that names it; and sending images.

The requests are those of https://github.com/opencontainers/distribution-spec/blob/main/spec.md; a registry that wants a
token says where to get one, as in https://distribution.github.io/distribution/spec/auth/token/. Access is anonymous,
or with what ~/.netrc has for the host. Only registries on this machine are spoken to without TLS.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urljoin, urlsplit

from ci import http, references
from ci.errors import StageError
from ci.registry.layout import MANIFEST_SIZE

if TYPE_CHECKING:
    import requests

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


class Unreachable(StageError):  # noqa: N818 - a state, not a fault
    """The registry does not answer, or does not let us in: that says nothing of what it has."""


class Repository:
    """One repository of a registry, such as `docker.io/tensorflow/serving`."""

    def __init__(self, name: str):
        self.name = name
        host, path = references.split(name)
        host = "registry-1.docker.io" if host == references.DOCKER_HUB else host
        scheme = "http" if http.loopback(f"http://{host}") else "https"
        self.url = f"{scheme}://{host}/v2/{path}"
        """Where its manifests and blobs are."""
        self._session = http.session()
        self._authorize: Callable[[requests.PreparedRequest], requests.PreparedRequest] | None = None

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
            if self._ask("HEAD", f"blobs/{digest}", (200, 404)).status_code == 200:
                continue
            where = self._ask("POST", "blobs/uploads/", (202,)).headers.get("Location", "")
            if not where:
                raise StageError(f"{self.name}: the registry does not say where to upload {digest}")
            with path.open("rb") as file:
                kind = {"Content-Type": "application/octet-stream"}
                self._ask("PUT", where, (201,), headers=kind, params={"digest": digest}, data=file)
        content = manifest.read_bytes()
        kind = {"Content-Type": json.loads(content)["mediaType"]}
        self._ask("PUT", f"manifests/{tag}", (201,), headers=kind, data=content)

    def _parts(self, path: str, size: int) -> Iterator[bytes]:
        """Yield what the registry has at a path, in parts.

        Raises:
            StageError: it breaks off, or is larger than `size`, bytes.
        """
        import requests

        headers, received = {"Accept": _KINDS, "Accept-Encoding": "identity"}, 0
        try:
            with self._ask("GET", path, (200,), headers=headers, stream=True) as answer:
                for chunk in answer.iter_content(1 << 20):
                    received += len(chunk)
                    if received > size:
                        raise StageError(f"{self.name}: {path}: the registry sends more than the {size:,} bytes it has")
                    yield chunk
        except requests.RequestException as error:
            raise Unreachable(f"{self.name}: {path} broke off ({error}): try again") from None

    def _ask(self, method: str, path: str, expected: tuple[int, ...], **options: Any) -> "requests.Response":
        """Ask for a path of the repository, or for where the registry has led to."""
        import requests

        url = self._led(path)
        try:
            answer = self._session.request(method, url, timeout=_TIMEOUT, auth=self._authorize, **options)
            if answer.status_code == 401:  # no token yet, or one that only lets read
                self._log_in(answer.headers.get("WWW-Authenticate", ""))
                answer = self._session.request(method, url, timeout=_TIMEOUT, auth=self._authorize, **options)
        except requests.RequestException as error:
            raise Unreachable(f"{self.name}: the registry cannot be reached: {error}") from None
        if answer.status_code not in expected:
            why = {401: "wants a login", 403: "refuses access", 404: "does not have it", 429: "asks to wait"}
            said = why.get(answer.status_code, "cannot answer")
            kind = StageError if answer.status_code == 404 else Unreachable
            raise kind(f"{self.name}: {path}: the registry {said} (HTTP {answer.status_code})")
        return answer

    def _led(self, to: str) -> str:
        """Return the address of a path of the repository, or of where the registry leads.

        Raises:
            StageError: it leads to what is no address, or to another machine without TLS.
        """
        try:
            url = urljoin(f"{self.url}/", to)
            safe = urlsplit(url).scheme == "https" or (urlsplit(url).scheme == "http" and http.loopback(url))
        except ValueError:
            safe = False
        if not safe:
            raise StageError(f"{self.name}: the registry leads to {to!r:.200}, which is no address with TLS")
        return url

    def _log_in(self, challenge: str) -> None:
        """Get the token that a registry asks for."""
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        if "realm" not in fields or not challenge.lower().startswith("bearer"):
            return
        asked = {key: fields[key] for key in ("service", "scope") if key in fields}
        answer = self._session.get(self._led(fields["realm"]), params=asked, timeout=_TIMEOUT)
        try:
            content = answer.json()
            token = content.get("token") or content["access_token"]
        except (ValueError, KeyError, AttributeError, RecursionError):
            raise StageError(f"{self.name}: {fields['realm']} gives no token (HTTP {answer.status_code})") from None

        def authorize(request: "requests.PreparedRequest") -> "requests.PreparedRequest":
            request.headers["Authorization"] = f"Bearer {token}"
            return request

        self._authorize = authorize  # a function, since requests lets ~/.netrc take the place of a plain header
