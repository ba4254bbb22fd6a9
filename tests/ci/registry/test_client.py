"""Which registries are spoken to without TLS, where they may lead, and what their refusals mean."""

import hashlib
import json

import pytest

from ci.errors import StageError
from ci.registry.client import Repository, Unreachable
from tests.ci.packaging import registries


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("localhost:5000/m", "http://localhost:5000/v2/m"),
        ("127.0.0.1:5000/m", "http://127.0.0.1:5000/v2/m"),
        ("[::1]:5000/m", "http://[::1]:5000/v2/m"),
        ("localhost.evil.com/m", "https://localhost.evil.com/v2/m"),
        ("localhost.evil.com:80/m", "https://localhost.evil.com:80/v2/m"),
        ("127.0.0.1.evil.com/m", "https://127.0.0.1.evil.com/v2/m"),
        ("evil-localhost:5000/m", "https://evil-localhost:5000/v2/m"),
        ("10.0.0.1:5000/m", "https://10.0.0.1:5000/v2/m"),
        ("[fd00::1]:5000/m", "https://[fd00::1]:5000/v2/m"),
        ("evil.com/localhost/m", "https://evil.com/v2/localhost/m"),
        ("docker.io/tensorflow/serving", "https://registry-1.docker.io/v2/tensorflow/serving"),
        ("tensorflow/serving", "https://registry-1.docker.io/v2/tensorflow/serving"),
        ("nginx", "https://registry-1.docker.io/v2/library/nginx"),
    ],
)
def test_only_registries_on_this_machine_are_spoken_to_without_tls(name: str, url: str) -> None:
    assert Repository(name).url == url


@pytest.mark.parametrize(
    "realm",
    [
        "http://localhost.evil.com/token",
        "http://10.0.0.1/token",
        "ftp://localhost/token",
        "http://[x/token",
        "file:///x",
    ],
)
def test_no_login_is_shown_where_a_registry_leads_to_without_tls(realm: str) -> None:
    with registries.serving(realm=realm) as registry:
        with pytest.raises(StageError, match=r"the registry leads to .* which is no address with TLS"):
            Repository(registry.name).digest("1")
        assert registry.asked == []


def test_nothing_is_uploaded_where_a_registry_leads_to_without_tls(tmp_path) -> None:
    blob = tmp_path / ("0" * 64)
    blob.write_bytes(b"weights")
    with registries.serving(token="", uploads="http://registry.evil.com/uploads/1") as registry:
        with pytest.raises(StageError, match=r"the registry leads to 'http://registry\.evil\.com/uploads/1'"):
            Repository(registry.name).send([blob], blob, "1")
        assert registry.asked == []


def test_a_registry_that_does_not_say_where_to_upload_is_named(tmp_path) -> None:
    blob = tmp_path / ("0" * 64)
    blob.write_bytes(b"weights")
    told = pytest.raises(StageError, match="the registry does not say where to upload")
    with registries.serving(token="", uploads=" ") as registry, told:
        Repository(registry.name).send([blob], blob, "1")


PLAIN = ["kind-registry:5000", "[fd00::1]:5000", "plain"]


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("kind-registry:5000/m", "http://kind-registry:5000/v2/m"),
        ("Kind-Registry:5000/m", "http://Kind-Registry:5000/v2/m"),
        ("[fd00::1]:5000/m", "http://[fd00::1]:5000/v2/m"),
        ("kind-registry:5001/m", "https://kind-registry:5001/v2/m"),
        ("a.kind-registry:5000/m", "https://a.kind-registry:5000/v2/m"),
        ("plain/m", "https://registry-1.docker.io/v2/plain/m"),  # no host: a name of Docker Hub
        ("localhost.evil.com/m", "https://localhost.evil.com/v2/m"),
    ],
)
def test_plain_http_is_for_the_named_registries_and_no_others(name: str, url: str) -> None:
    assert Repository(name, PLAIN).url == url


@pytest.mark.parametrize(
    "realm",
    [
        "http://kind-registry:5000@evil.com/token",
        "http://me@kind-registry:5000/token",
        "http://kind-registry:5001/token",
    ],
)
def test_a_named_registry_is_no_leave_for_addresses_that_look_like_it(realm: str) -> None:
    with registries.serving(realm=realm) as registry:
        with pytest.raises(StageError, match="which is no address with TLS"):
            Repository(registry.name, PLAIN).digest("1")
        assert registry.asked == []


def test_a_redirect_to_another_host_without_tls_is_not_followed(tmp_path) -> None:
    with registries.serving(token="", store="http://registry.evil.com") as registry:
        blob = registry.put("blobs", b"weights")
        with pytest.raises(StageError, match=r"leads to 'http://registry\.evil\.com/elsewhere/.* no address with TLS"):
            Repository(registry.name).save("blobs", blob, tmp_path / "blob", 7)
    assert not list(tmp_path.iterdir())


def test_a_token_that_expires_during_an_upload_is_renewed_and_the_blob_sent_again_whole(tmp_path) -> None:
    content = b"weights" * 100_000
    digest = hashlib.sha256(content).hexdigest()
    layer = tmp_path / digest
    layer.write_bytes(content)
    manifest = tmp_path / "manifest"
    manifest.write_text(json.dumps({"mediaType": "application/vnd.oci.image.manifest.v1+json"}))
    with registries.serving(once="PUT") as registry:
        Repository(registry.name).send([layer], manifest, "1")
        assert registry.content[f"blobs/sha256:{digest}"] == content
        assert registry.asked == ["put blobs/1", "put manifests/1"]


SPACE = {"code": "UNKNOWN", "message": "unknown error", "detail": "filesystem: write x: no space left on device"}
QUOTA = {"code": "DENIED", "message": "adding 1 MiB, which exceeds the project quota", "detail": {"Err": 28}}


@pytest.mark.parametrize(
    ("method", "status", "error", "said"),
    [
        ("PUT", 507, None, "is full: free space there, or raise its quota (HTTP 507)"),
        (
            "POST",
            500,
            SPACE,
            "is full: free space there, or raise its quota (HTTP 500: unknown error: filesystem:",
        ),
        ("PUT", 403, QUOTA, "is full: free space there, or raise its quota (HTTP 403: adding 1 MiB"),
        ("PUT", 413, None, "takes nothing so large: raise its limit, or that of the proxy before it (HTTP 413)"),
        ("POST", 405, {"code": "UNSUPPORTED"}, "is read-only: end its maintenance, or name another in"),
        ("POST", 403, {"code": "DENIED"}, "does not let this account write: ask its operator for the right to push"),
        ("POST", 404, None, "has no such repository: make it there (HTTP 404)"),
        ("PUT", 500, {"code": "UNKNOWN"}, "cannot answer (HTTP 500: UNKNOWN)"),
        ("HEAD", 403, None, "refuses access (HTTP 403)"),
        ("HEAD", 429, None, "asks to wait (HTTP 429)"),
    ],
)
def test_a_refusal_to_store_an_image_is_told_in_one_sentence(
    tmp_path, method: str, status: int, error: dict[str, object] | None, said: str
) -> None:
    blob = tmp_path / ("0" * 64)
    blob.write_bytes(b"weights")
    answer = status, json.dumps({"errors": [error]}).encode() if error else b""
    with registries.serving(refuses={method: answer}) as registry, pytest.raises(StageError) as told:
        Repository(registry.name).send([blob], blob, "1")
    assert str(told.value).startswith(f"{registry.name}: ")
    assert f": the registry {said}" in str(told.value)
    assert "\n" not in str(told.value)
    assert "?" not in str(told.value)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"errors": []}', b'{"errors": [3]}', b'{"errors": [{}]}', b"[" * 4096, b"\xff"]
)
def test_a_refusal_without_words_is_told_by_its_status(body: bytes) -> None:
    with registries.serving(refuses={"GET": (503, body)}) as registry:
        registry.put("manifests", b"{}", "1")
        with pytest.raises(Unreachable, match=r"the registry cannot answer \(HTTP 503\)$"):
            Repository(registry.name).digest("1")


def test_a_registry_that_is_down_is_told_without_the_layers_that_the_error_came_through() -> None:
    with pytest.raises(
        Unreachable, match=r"^127\.0\.0\.1:9/m: the registry cannot be reached: .*Connection refused$"
    ) as told:
        Repository("127.0.0.1:9/m").digest("1")
    assert "Max retries" not in str(told.value)


def test_a_registry_that_speaks_plain_http_only_is_told_the_setting_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with registries.serving(token="") as registry:
        monkeypatch.setattr("ci.http.loopback", lambda _: False)
        with pytest.raises(Unreachable, match=r"if it speaks plain HTTP, name it in packaging\.plain_http"):
            Repository(registry.name).digest("1")
        expected = registry.put("manifests", b"", "1")
        assert Repository(registry.name, [registry.host]).digest("1") == expected


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b"[]",
        b"no json",
        b'{"token": ""}',
        b'{"token": "\xe2\x82\xac"}',
        b"[" * 100_000,
        b'{"token": "x"}' * 200_000,
    ],
)
def test_what_is_no_token_is_told_and_does_not_count_as_an_answer_about_the_image(content: bytes) -> None:
    with registries.serving(token_answer=content) as registry, pytest.raises(StageError, match="token"):
        Repository(registry.name).digest("1")
