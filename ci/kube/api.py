"""The Kubernetes API server, asked in JSON: with a time limit always, and again where it is busy or cannot be reached.

Repeating is safe for everything that is sent here: reads, deletions, server-side apply, and writes that carry the
resourceVersion they were decided on, which the server refuses (`Conflict`) once it has taken them.
"""

import json
import random
from collections.abc import Callable, Mapping
from time import sleep
from typing import Any
from urllib.parse import urlencode

from ci.errors import StageError
from ci.kube.context import client as context_client

Json = dict[str, Any]
TRIES = 5
LIMIT = (5.0, 15.0)
"""Longest wait for a connection and for an answer; seconds."""
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


class Missing(StageError):  # noqa: N818 - a state, not a fault
    """404: there is no such object."""


class Denied(StageError):  # noqa: N818 - a state, not a fault
    """401 or 403: the account may not do this, or is not known."""


class Conflict(StageError):  # noqa: N818 - a state, not a fault
    """409: the object has changed since it was read, exists already, or another manager owns a field."""


class Foreign(StageError):  # noqa: N818 - a state, not a fault
    """409 of a server-side apply: another manager owns a field and gave it another value."""


class ApiServer:
    """One cluster's API server.

    Args:
        client: the official client's `ApiClient`; None reads the kubeconfig, or else the pod's service account.
        context: name in the kubeconfig; None means the current one.
        pause: waits so many seconds before a request is repeated.
        limit: longest wait for an answer; seconds.

    Raises:
        InputError: there is no such context, or no kubeconfig.
    """

    def __init__(
        self,
        context: str | None = None,
        client: Any = None,
        pause: Callable[[float], None] = sleep,
        limit: float = LIMIT[1],
    ) -> None:
        self._client, self._pause, self._limit = client or context_client(context), pause, limit

    def within(self, seconds: float) -> "ApiServer":
        """Return the same server, asked with another limit for an answer."""
        return ApiServer(None, self._client, self._pause, seconds)

    @property
    def client(self) -> Any:
        """The official client, for what is no plain request."""
        return self._client

    def get(self, path: str, **query: str | int) -> Json:
        """Return an object or a list.

        Raises:
            Missing: there is none.
            Denied: the account may not read it.
            StageError: the server refuses, does not answer, or stays too busy.
        """
        return self.ask("GET", path, query=query)

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str | int] | None = None,
        kind: str = "application/json",
    ) -> Json:
        """Send a request and return the answer; `kind` is the body's content type.

        Raises:
            Missing, Denied, Conflict, Foreign: 404, 401 or 403, 409, 409 of an apply.
            StageError: the server refuses, does not answer, or stays too busy.
        """
        answer = self.raw(method, path, body, query=query, kind=kind)
        try:
            return dict(json.loads(answer or b"{}"))
        except ValueError:
            raise StageError(f"{method} {path}: this is no API server: {_said(answer)[:80]!r}") from None

    def raw(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str | int] | None = None,
        kind: str = "application/json",
        tries: int = TRIES,
    ) -> bytes:
        """Send a request and return the answer's bytes; the errors are those of `ask`."""
        from urllib3.exceptions import HTTPError

        where = path + (f"?{urlencode(query)}" if query else "")
        for attempt in range(tries):
            wait = 0.25 * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311 - so that many do not come back at once
            try:
                status, headers, answer = self._send(method, where, body, kind)
            except (HTTPError, OSError) as error:
                problem = f"{method} {path}: the API server gives no answer: {error}"
            else:
                if status < 300:
                    return answer
                problem = f"{method} {path}: the API server answers {status}: {_said(answer)}"
                if status == 401:
                    problem += ": the credentials are unknown or have expired: log in again, or make a new token"
                if status != 429 and status < 500:
                    raise (Foreign if _owned(answer) else _KINDS.get(status, StageError))(problem)
                wait = _seconds(headers.get("Retry-After")) or wait
            if attempt + 1 < tries:
                self._pause(min(wait, 10.0))
        raise StageError(f"{problem}, {tries} times")

    def _send(
        self, method: str, where: str, body: Mapping[str, Any] | None, kind: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        from urllib3 import Timeout

        headers = {"Accept": "application/json, */*", "Content-Type": kind}
        self._client.update_params_for_auth(headers, [], ["BearerToken"], where, method, body)
        answer = self._client.rest_client.pool_manager.request(
            method,
            self._client.configuration.host + where,
            body=None if body is None else json.dumps(body).encode(),
            headers=headers,
            timeout=Timeout(connect=LIMIT[0], read=self._limit),
            retries=False,  # `raw` knows what may be repeated, and says how often it was
        )
        return answer.status, answer.headers, answer.data


_KINDS = {401: Denied, 403: Denied, 404: Missing, 409: Conflict}


def _seconds(text: str | None) -> float | None:
    """Return a `Retry-After` in seconds; a date, which load balancers send, counts as none."""
    try:
        return float(text or "")
    except ValueError:
        return None


def _said(answer: bytes) -> str:
    """Return the message of a `Status` object, or the beginning of whatever was answered."""
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return answer[:200].decode(errors="replace").strip()


def _owned(answer: bytes) -> bool:
    try:
        causes = json.loads(answer)["details"]["causes"]
        return any(cause.get("reason") == "FieldManagerConflict" for cause in causes)
    except (ValueError, KeyError, TypeError):
        return False
