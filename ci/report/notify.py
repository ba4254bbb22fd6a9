"""Telling people how the build of a pull request went: one message, to one place that the settings name."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ci import http, workspace
from ci.errors import InputError, StageError
from ci.settings.jenkins import Notify

TOKEN = "NOTIFY_TOKEN"  # noqa: S105 - the variable's name
"""Variable with the token of GitHub or GitLab, or the whole address of a webhook, which is a secret too."""
_LONGEST = {"github": 60_000, "gitlab": 60_000, "slack": 3_000, "file": 1_000_000}
"""Characters of a message that each takes."""
_PUBLIC = {"github": "https://api.github.com", "gitlab": "https://gitlab.com/api/v4"}
_LOUD = re.compile(r"@|<!|&(?=[#\w])|(?<!\S)(?=/)")
"""After these a character that nobody sees keeps a text from being a mention, an entity or a command."""
_SECONDS = 30.0
"""Longest wait for an answer."""


@dataclass(frozen=True)
class Message:
    """What is sent where; neither address nor headers are ever printed, as they may hold a secret."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: Mapping[str, Any]


def text(summary: str, build_url: str, most: int) -> str:
    """Return the message: the summary with a link to the report.

    The summary was written by code that nobody has read yet, and the message goes out in the name of who has the token.
    So it calls nobody and asks for nothing: `@name`, also with a letter of it written as an entity, would be a mention,
    and a line that begins with `/merge` a command to GitLab, or to a robot of the repository.
    """
    link = f"\n\n[The whole report]({build_url}artifact/build/report/index.html)\n" if build_url else ""
    quiet = _LOUD.sub(lambda found: f"{found[0]}\N{ZERO WIDTH SPACE}", summary)
    room = most - len(link)
    return (quiet if len(quiet) <= room else f"{quiet[: room - 1]}…") + link


def message(settings: Notify, number: str, body: str, token: str) -> Message:
    """Return the request that tells a pull request's build.

    Raises:
        InputError: the number or the token is none.
    """
    if not token or not token.isprintable() or " " in token:
        raise InputError(f"{TOKEN} is not set to a token: on Jenkins it is the credential `notify-token`")
    if settings.to == "slack":
        if not re.match(r"https?://[\w.-]+([:/]|$)", token, re.ASCII):
            raise InputError(f"{TOKEN}: expected the address of the webhook")
        escaped = body.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return Message(token, {}, {"text": escaped})
    if not re.fullmatch(r"[1-9][0-9]{0,9}", number):
        raise InputError(f"CHANGE_ID: expected the number of a pull request, found {number[:80]!r}")
    assert settings.to in _PUBLIC  # noqa: S101 - a file is written without a request
    api, name = (settings.url or _PUBLIC[settings.to]).rstrip("/"), settings.repository or ""
    if settings.to == "github":
        url = f"{api}/repos/{name}/issues/{number}/comments"
        return Message(url, {"Authorization": f"Bearer {token}"}, {"body": body})
    url = f"{api}/projects/{quote(name, safe='')}/merge_requests/{number}/notes"
    return Message(url, {"PRIVATE-TOKEN": token}, {"body": body})


def send(message: Message) -> None:
    """Send a message.

    Raises:
        StageError: it did not arrive; what is said of it holds no secret.
    """
    import requests

    host = urlsplit(message.url).hostname or ""
    try:
        with http.session() as session:
            answer = session.post(
                message.url, json=message.body, headers=message.headers, timeout=_SECONDS, allow_redirects=False
            )
    except (requests.RequestException, ValueError) as error:  # its text has the address
        raise StageError(f"{host} could not be told: {type(error).__name__}") from None
    if not answer.ok or answer.is_redirect:
        raise StageError(f"{host} took no message: HTTP {answer.status_code}")


def notify(settings: Notify, summary: Path, variables: Mapping[str, str] = os.environ) -> str:
    """Tell of a build, and return in words whom.

    Raises:
        InputError: a variable is missing or wrong.
        StageError: the message did not arrive.
    """
    if settings.to is None:
        return "nobody: notify.to of pipeline.yaml is null"
    if not summary.exists():
        raise InputError(f"{summary} is missing: run `python -m scripts.report` first")
    words = summary.read_text(encoding="utf-8", errors="replace")
    body = text(words, variables.get("BUILD_URL", ""), _LONGEST[settings.to])
    if settings.to == "file":
        workspace.write_text(Path(settings.url or ""), body)
        return str(settings.url)
    number = variables.get("CHANGE_ID", "")
    send(message(settings, number, body, variables.get(TOKEN, "")))
    return f"{settings.to}, pull request {number}" if number else settings.to
