"""The Kubernetes API server, asked in JSON. Each request has a time limit.

A request is sent again where the server is busy or cannot be reached. That is safe for everything that is sent here:
reads, deletions, server-side apply, and writes with the resourceVersion that they were decided on. If such a write was
made although its answer was lost, the server refuses the second one (`Conflict`).
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from urllib3 import Retry, Timeout
from urllib3.exceptions import HTTPError, InvalidHeader, MaxRetryError

from ci.errors import StageError
from ci.kube.context import CURRENT, Context

Json = dict[str, Any]
TRIES = 5
"""Requests at most before the server counts as not available."""
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


class Gone(StageError):  # noqa: N818 - a state, not a fault
    """410: what was asked for is no longer kept, such as the rest of a long list."""


class Foreign(StageError):  # noqa: N818 - a state, not a fault
    """409 of a server-side apply: another manager owns a field and gave it another value."""


class _Again(Retry):
    """When and how often urllib3 repeats a request; a `Retry-After` that is no time counts as none."""

    def parse_retry_after(self, retry_after: str) -> float:
        """Return how long the server asks to wait; seconds."""
        try:
            return super().parse_retry_after(retry_after)
        except InvalidHeader:
            return 0.0


_AGAIN = _Again(
    total=TRIES - 1,
    allowed_methods=None,  # all of them: see above
    status_forcelist={429, *range(500, 600)},
    backoff_factor=0.25,
    backoff_jitter=0.25,  # so that many clients do not come back at once
    backoff_max=10.0,
    retry_after_max=10,
    raise_on_status=False,
)


class ApiServer:
    """One cluster's API server.

    Args:
        context: the cluster.
        client: the official client's `ApiClient` for it; None makes one.
        limit: longest wait for an answer; seconds.

    Raises:
        InputError: there is no such context, or no kubeconfig.
    """

    def __init__(self, context: Context = CURRENT, *, client: Any = None, limit: float = LIMIT[1]) -> None:
        self._client, self._limit = client or context.client(), limit

    def within(self, seconds: float) -> "ApiServer":
        """Return the same server, asked with another limit for an answer."""
        return ApiServer(client=self._client, limit=seconds)

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
        except (ValueError, TypeError, RecursionError):
            raise StageError(f"{method} {path}: this is no API server: {message_of(answer)[:80]!r}") from None

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
        """Send a request, up to so many times, and return the answer's bytes; the errors are those of `ask`."""
        where = path + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json, */*", "Content-Type": kind}
        self._client.update_params_for_auth(headers, [], ["BearerToken"], where, method, body)
        try:
            answer = self._client.rest_client.pool_manager.request(
                method,
                self._client.configuration.host + where,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=Timeout(connect=LIMIT[0], read=self._limit),
                retries=_AGAIN.new(total=tries - 1),
                redirect=False,
            )
        except MaxRetryError as error:
            problem = f"{method} {path}: the API server gives no answer: {error.reason}"
            raise StageError(f"{problem}, {tries} times") from None
        except (HTTPError, OSError) as error:
            raise StageError(f"{method} {path}: the API server gives no answer: {error}") from None
        if answer.status < 300:
            return bytes(answer.data)
        said = message_of(answer.data) or answer.reason
        problem = f"{method} {path}: the API server answers {answer.status}: {said}"
        if answer.status == 429 or answer.status >= 500:
            raise StageError(f"{problem}, {tries} times")
        raise _refusal(problem, answer.status, answer.data)


_KINDS = {401: Denied, 403: Denied, 404: Missing, 409: Conflict, 410: Gone}


def _refusal(problem: str, status: int, answer: bytes) -> StageError:
    """Return the error of the kind that a status means; `problem` is its message."""
    if status == 401:
        problem += ": the credentials are unknown or have expired: log in again, or make a new token"
    return (Foreign if _owned(answer) else _KINDS.get(status, StageError))(problem)


def message_of(answer: bytes) -> str:
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
