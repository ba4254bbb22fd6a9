"""A registry on this machine that speaks the OCI distribution contract, as Docker Hub does: tokens and redirects."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass
class Registry:
    """What a registry has and what it was asked for."""

    name: str
    """Host and repository."""
    token: str
    """What a client must show; empty if anybody may read."""
    content: dict[str, bytes] = field(default_factory=dict)
    """By `manifests/DIGEST`, `manifests/TAG` and `blobs/DIGEST`."""
    beside: dict[str, bytes] = field(default_factory=dict)
    """The same of a repository beside it."""
    asked: list[str] = field(default_factory=list)
    """The paths that were answered with content."""
    shown: list[str] = field(default_factory=list)
    """What requests have shown of who asks, in their order: the header, or nothing."""

    @property
    def host(self) -> str:
        """Host and port."""
        return self.name.partition("/")[0]

    def put(self, kind: str, content: bytes, tag: str | None = None) -> str:
        """Store a manifest or a blob and return its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        for name in filter(None, (digest, tag)):
            self.content[f"{kind}/{name}"] = content
        return digest


@contextmanager
def serving(
    repository: str = "library/base",
    token: str = "let-me-in",  # noqa: S107
    realm: str = "",
    uploads: str = "",
    *,
    login: str = "",
    basic: bool = False,
    refuses: Mapping[str, tuple[int, bytes]] = {},
    store: str = "",
    once: str = "",
    token_answer: bytes = b"",
    mounts: str = "",
) -> Iterator[Registry]:
    """Serve an empty registry.

    Args:
        repository: its one repository.
        token: what a client must show; empty lets everybody in.
        realm: where it sends clients for a token, instead of to itself.
        uploads: the same for uploads.
        login: `USER:PASSWORD`, or an identity token, for which alone it gives the token.
        basic: whether it wants the login itself instead of a token.
        refuses: status and body that it answers to a method, whoever asks.
        store: where it leads for blobs, instead of to itself.
        once: a method that finds the token expired once.
        token_answer: what it answers instead of a token.
        mounts: a repository beside, whose blobs it takes over where it is asked to.
    """
    expired = [once]
    expected = f"Basic {base64.b64encode(login.encode()).decode()}" if basic else token and f"Bearer {token}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/token":
                registry.shown.append(self.headers.get("Authorization", ""))
                scope = parse_qs(url.query)["scope"]
                assert scope == [f"repository:{repository}:pull"]
                if login and registry.shown[-1] != f"Basic {base64.b64encode(login.encode()).decode()}":
                    return self.answer(401, b"{}")
                return self.answer(200, token_answer or json.dumps({"token": token}).encode())
            if url.path.startswith("/elsewhere/"):  # the store behind the registry
                registry.shown.append(self.headers.get("Authorization", ""))
                return self.answer(200, registry.content[url.path.removeprefix("/elsewhere/")])
            if self.refused():
                return None
            wanted = self.wanted()
            if wanted not in registry.content:
                return self.answer(404, b"{}")
            registry.asked.append(wanted)
            if wanted.startswith("blobs/"):
                return self.answer(307, b"", ("Location", f"{store}/elsewhere/{wanted}"))
            return self.answer(200, registry.content[wanted])

        def do_HEAD(self) -> None:
            if self.refused():
                return None
            return self.answer(200 if self.wanted() in registry.content else 404, b"")

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path == "/token":
                form = {key: values[0] for key, values in parse_qs(content.decode()).items()}
                registry.shown.append(form["refresh_token"])
                assert form["grant_type"] == "refresh_token"
                assert form["client_id"]
                assert form["scope"] == f"repository:{repository}:pull"
                if form["refresh_token"] != login:
                    return self.answer(401, b"{}")
                return self.answer(200, json.dumps({"access_token": token}).encode())
            if self.refused():
                return None
            asked = parse_qs(urlsplit(self.path).query)
            if asked.get("from") == [mounts] and f"blobs/{asked['mount'][0]}" in registry.beside:
                registry.content[f"blobs/{asked['mount'][0]}"] = registry.beside[f"blobs/{asked['mount'][0]}"]
                return self.answer(201, b"")
            return self.answer(202, b"", ("Location", uploads or f"/v2/{repository}/blobs/uploads/1?state=x"))

        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if self.refused():
                return None
            kind, name = self.wanted().split("/")[0], self.wanted().split("/")[-1]
            digest = registry.put(kind, content, name if kind == "manifests" else None)
            if kind == "blobs":
                assert parse_qs(urlsplit(self.path).query) == {"state": ["x"], "digest": [digest]}
            registry.asked.append(f"put {kind}/{name}")
            return self.answer(201, b"")

        def wanted(self) -> str:
            return urlsplit(self.path).path.removeprefix(f"/v2/{repository}/")

        def refused(self) -> bool:
            registry.shown.append(self.headers.get("Authorization", ""))
            known = registry.shown[-1] == expected
            if expected and (not known or self.command == expired[-1]):
                if known:
                    expired.append("")
                where = realm or f"http://{self.headers['Host']}/token"
                bearer = f'Bearer realm="{where}",service="here",scope="repository:{repository}:pull"'
                self.answer(401, b"", ("WWW-Authenticate", 'Basic realm="here"' if basic else bearer))
                return True
            if self.command in refuses:
                self.answer(*refuses[self.command])
                return True
            return False

        def answer(self, status: int, content: bytes, *headers: tuple[str, str]) -> None:
            self.send_response(status)
            for name, value in (*headers, ("Content-Length", str(len(content)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry = Registry(f"127.0.0.1:{server.server_address[1]}/{repository}", token)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()
