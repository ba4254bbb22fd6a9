"""What it means to people that a registry does not do what it was asked, and what they can do about it."""

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests

_SAID = 4096
"""Bytes of a refusal that are read."""
_SHOWN = 500
"""Characters of its message that are shown."""
_READING = {403: "refuses access", 404: "does not have it", 429: "asks to wait"}
_WRITING = {
    403: "does not let this account write: ask its operator for the right to push",
    404: "has no such repository: make it there",
    405: "is read-only: end its maintenance, or name another in packaging.repository",
    413: "takes nothing so large: raise its limit, or that of the proxy before it",
    429: "asks to wait",
    507: "is full: free space there, or raise its quota",
}
_FULL = re.compile("no space left|quota", re.IGNORECASE)
"""How registries say that they are full."""


def meaning(status: int, text: str, *, writes: bool) -> str:
    """Return what a refusal means, as the end of a sentence that begins with "the registry".

    Args:
        status: of HTTP.
        text: what the registry says of it; see `said`.
        writes: whether it was asked to store something.
    """
    if writes and _FULL.search(text):  # the registry of the CNCF answers 500 then, and Harbor 403 or 412
        status = 507
    return (_WRITING if writes else _READING).get(status, "cannot answer")


def said(answer: "requests.Response") -> str:
    """Return what a registry says of its refusal, in the words of the distribution contract; empty if nothing."""
    import requests

    try:
        error = json.loads(next(answer.iter_content(_SAID), b""))["errors"][0]
        detail = error.get("detail")
        texts = [error.get("message") or error["code"], detail if isinstance(detail, str) else ""]
        return ": ".join(filter(None, map(str, texts)))[:_SHOWN]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, requests.RequestException):
        return ""


def cause(error: Exception) -> str:
    """Return what is behind an error of requests, without the layers that it was passed through."""
    inner = error.args[0] if error.args else error
    text = str(getattr(inner, "reason", None) or inner)
    if re.search("WRONG_VERSION_NUMBER|RECORD_LAYER", text, re.IGNORECASE):
        text += ": if it speaks plain HTTP, name it in packaging.plain_http"
    return text
