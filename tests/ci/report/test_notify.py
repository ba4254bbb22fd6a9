"""Who is told of a pull request's build: by real servers, which keep what they get; and no secret in what is said."""

import html
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import notify
from tests.pods import REPOSITORY

TOKEN = "t0ps3cret-t0ken"  # noqa: S105 - of no service
SUMMARY = "### Keep: AUC 0.7025, @everybody look <!channel> & <b>this</b>\n\n| Metric | Value |\n"


class Server:
    """Answers every POST with `status`, and keeps path, headers and body."""

    def __init__(self) -> None:
        self.status, self.says, self.got = 201, "{}", list[tuple[str, dict[str, str], Any]]()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                owner.got.append((self.path, dict(self.headers), json.loads(body)))
                self.send_response(owner.status)
                if owner.status == 302:
                    self.send_header("Location", f"{owner.url}/elsewhere")
                self.end_headers()
                self.wfile.write(owner.says.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs the command with these settings, and returns exit code and what was said."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build/report").mkdir(parents=True)
    (tmp_path / "build/report/summary.md").write_text(SUMMARY)

    def run(token: str = TOKEN, number: str = "12", **settings: Any) -> tuple[int, str]:
        content = yaml.safe_load((REPOSITORY / "tests/pipeline.yaml").read_text())
        Path("pipeline.yaml").write_text(yaml.safe_dump(content | {"notify": settings}))
        for name, value in (("NOTIFY_TOKEN", token), ("CHANGE_ID", number), ("BUILD_URL", "https://ci/job/x/7/")):
            monkeypatch.setenv(name, value)
        code = notify.main([])
        said = capsys.readouterr()
        assert TOKEN not in said.out + said.err
        return code, said.out + said.err

    return run


def test_as_shipped_nobody_is_told(tell):
    assert tell() == (0, "notify: told nobody: notify.to of pipeline.yaml is null\n")


@pytest.mark.parametrize(
    ("to", "path", "header"),
    [
        ("github", "/repos/team/model/issues/12/comments", ("Authorization", f"Bearer {TOKEN}")),
        ("gitlab", "/projects/team%2Fmodel/merge_requests/12/notes", ("PRIVATE-TOKEN", TOKEN)),
    ],
)
def test_a_comment_has_the_summary_and_the_link_and_calls_nobody(tell, server, to, path, header):
    code, said = tell(to=to, url=server.url, repository="team/model")
    assert (code, said) == (0, f"notify: told {to}, pull request 12\n")
    [(asked, headers, body)] = server.got
    assert (asked, headers[header[0]]) == (path, header[1])
    assert "AUC 0.7025" in body["body"]
    assert "(https://ci/job/x/7/artifact/build/report/index.html)" in body["body"]
    assert "@everybody" not in body["body"]


@pytest.mark.parametrize("to", ["github", "gitlab"])
@pytest.mark.parametrize(
    "line",
    ["/merge", "  /approve", "\t/close", "x\r/assign me", "x\u2028/lgtm"],
)
def test_a_summary_commands_nobody(tell, server, tmp_path, to, line):
    (tmp_path / "build/report/summary.md").write_text(f"Keep: 1/2 of a/b\n\n{line}\n")
    assert tell(to=to, url=server.url, repository="team/model")[0] == 0
    [(_, _, body)] = server.got
    assert not re.search(r"(^|\s)/\w", body["body"]), "a line that begins so is a command of the Git host's"
    assert "Keep: 1/2 of a/b" in body["body"]


@pytest.mark.parametrize(
    "mention",
    ["@everybody", "&#64;everybody", "&#x40;everybody", "&commat;everybody", "@&#101;verybody", "@\\everybody"],
)
def test_a_summary_mentions_nobody_however_it_is_spelled(tell, server, tmp_path, mention):
    (tmp_path / "build/report/summary.md").write_text(f"look {mention}")
    assert tell(to="gitlab", url=server.url, repository="team/model")[0] == 0
    [(_, _, body)] = server.got
    shown = re.sub(r"\\(?=[!-/:-@\[-`{-~])", "", html.unescape(body["body"]))
    assert "look" in shown
    assert "@everybody" not in shown.replace("\\", "")


def test_a_webhook_gets_slacks_format_and_its_address_is_the_secret(tell, server):
    assert tell(token=f"{server.url}/services/{TOKEN}", to="slack") == (0, "notify: told slack, pull request 12\n")
    [(asked, _, body)] = server.got
    assert asked == f"/services/{TOKEN}"
    assert "&lt;b&gt;this&lt;/b&gt;" in body["text"]
    assert "<" not in body["text"]


def test_a_file_is_written(tell, tmp_path):
    assert tell(to="file", url="out/told.md")[0] == 0
    assert "AUC 0.7025" in (tmp_path / "out/told.md").read_text()


def test_a_long_summary_is_cut_before_the_link(tell, server, tmp_path):
    (tmp_path / "build/report/summary.md").write_text("x" * 100_000)
    assert tell(to="github", url=server.url, repository="team/model")[0] == 0
    [(_, _, body)] = server.got
    assert len(body["body"]) == 60_000
    assert body["body"].endswith("index.html)\n")


@pytest.mark.parametrize("status", [302, 401, 403, 404, 422, 500])
def test_what_is_refused_is_an_error_without_the_secret(tell, server, status):
    server.status, server.says = status, f"Bad credentials {TOKEN}"
    code, said = tell(to="github", url=server.url, repository="team/model")
    assert code == 1
    assert f"failed: 127.0.0.1 took no message: HTTP {status}" in said
    assert len(server.got) == 1, "a redirect is not followed: it would take the token along"
    code, said = tell(token=f"{server.url}/services/{TOKEN}", to="slack")
    assert (code, "/services/" in said) == (1, False)


def test_nobody_there_is_an_error_without_the_secret(tell, server):
    server.server.shutdown()
    server.server.server_close()
    code, said = tell(token=f"{server.url}/services/{TOKEN}", to="slack")
    assert (code, said) == (1, "failed: 127.0.0.1 could not be told: ConnectionError\n")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"token": ""}, "NOTIFY_TOKEN is not set"),
        ({"token": "a\nb"}, "NOTIFY_TOKEN is not set"),
        ({"number": "12/../../13"}, "CHANGE_ID: expected the number"),
        ({"number": ""}, "CHANGE_ID: expected the number"),
        *(
            ({"to": "slack", "token": token}, "NOTIFY_TOKEN: expected the address of the webhook")
            for token in ("no-address", f"http://[x/{TOKEN}", f"ftp://x/{TOKEN}")
        ),
        *(
            (
                {"to": "gitlab", "url": url},
                "notify: url is no address of an API: expected one such as https://gitlab.ex",
            )
            for url in ("gitlab.example.com/api/v4", "ftp://x", "http://[x/", "https://a:b@x", "https://x/api?x=1")
        ),
        ({"repository": None}, "`to: github` needs repository"),
        ({"to": "file", "url": None}, "`to: file` needs url"),
        ({"repository": "team/../x y"}, "notify.repository"),
    ],
)
def test_bad_input_is_named(tell, given, said):
    code, heard = tell(**({"to": "github", "repository": "team/model"} | given))
    assert code == 2
    assert said in heard
