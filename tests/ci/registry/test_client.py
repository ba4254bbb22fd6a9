"""Which registries are spoken to without TLS, and where they may lead."""

import pytest

from ci.errors import StageError
from ci.registry.client import Repository
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
