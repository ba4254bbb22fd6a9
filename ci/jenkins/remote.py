"""Requests to a Jenkins controller: who asks, where the answer may come from, and what a refusal means.

User and token are sent with the first request, as Jenkins does not ask for them. They go to the controller's own origin
(scheme, host, port) and nowhere else: of addresses that Jenkins names itself only the path is used, as behind a proxy
their host is another one, and a redirect to another origin is an error.
"""

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from ci import http
from ci.errors import InputError, StageError

if TYPE_CHECKING:
    import requests

    Response = requests.Response

_TIMEOUT = (10, 60)
"""Longest waits for a connection and between two parts of an answer; seconds."""
_AWAY = (502, 503, 504)
"""What Jenkins says while it starts, and a proxy while it is gone."""
_REDIRECTS = 5


class Refused(StageError):  # noqa: N818 - what an answer says
    """An answer that is no success.

    Attributes:
        status: its HTTP status.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Unsure(StageError):  # noqa: N818 - a state, not a fault
    """No answer came to a request that may have arrived: what it asked for may have been done, or not."""


class Away(StageError):  # noqa: N818 - a state, not a fault
    """The controller could not be reached, or was starting: what was asked for was not done.

    Attributes:
        answered: by HTTP status 503, which a proxy may also give of a request that it has passed on.
    """

    def __init__(self, message: str, *, answered: bool = False):
        super().__init__(message)
        self.answered = answered


class Remote:
    """One controller.

    Args:
        url: its address, such as `https://ci.example.com/jenkins`.
        user: who asks.
        secret: the user's API token; or the password, for which crumbs are fetched.
        patience: how long it may be away, as while it restarts; seconds.
        say: takes a line for people.
        pause: waits some seconds.
    """

    def __init__(
        self,
        url: str,
        user: str,
        secret: str,
        *,
        patience: float = 600.0,
        say: Callable[[str], None] = print,
        pause: Callable[[float], None] = time.sleep,
    ):
        self.url = checked(url)
        self.origin = _origin(self.url)
        self.user, self.patience, self.say, self.pause = user, patience, say, pause
        self._session = http.session()
        self._login = "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()
        self._crumb: dict[str, str] = {}

    def path(self, url: str) -> str:
        """Return the path of an address that Jenkins named: host and scheme are those of its settings, not ours."""
        return urlsplit(url).path

    def base(self) -> str:
        """Return the path that all of its paths begin with: empty, or a context path such as `/jenkins`."""
        return urlsplit(self.url).path

    def read(self, path: str, query: Mapping[str, Any] | None = None) -> "Response":
        """Return the answer to a GET; while the controller is away, it is asked again.

        Args:
            path: from the host on, as `path` returns it.
            query: what follows `?`.

        Raises:
            Refused: the answer is no success.
            Away: it was away for longer than it may.
        """
        end, told = time.monotonic() + self.patience, False
        while True:
            try:
                return self._get(path, query)
            except (Away, Unsure) as error:
                if time.monotonic() >= end:
                    raise Away(f"{error}; given up after {self.patience:g} s") from None
                if not told:
                    self.say(f"jenkins: {error}: waiting, at most {self.patience:g} s")
                told = True
                self.pause(2)

    def json(self, path: str, tree: str) -> dict[str, Any]:
        """Return what the API says at a path.

        Args:
            path: of a job, a build or the like.
            tree: the fields that are wanted, in Jenkins' own notation.

        Raises:
            Refused: the answer is no success.
            StageError: it is away, or what answers is no Jenkins.
        """
        answer = self.read(f"{path.rstrip('/')}/api/json", {"tree": tree})
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise StageError(f"{self.url} answers with something that is not Jenkins' JSON: is it a Jenkins?")
        return found

    def send(self, path: str, form: Mapping[str, str] | None = None) -> "Response":
        """Return the answer to a POST, which is sent once; again only if it was refused for want of a crumb.

        Args:
            path: from the host on.
            form: fields of the form.

        Raises:
            Refused: the answer is neither a success nor a redirect.
            Away: it did not arrive.
            Unsure: it may have arrived.
        """
        answer = self._ask("POST", path, data=dict(form or {}), headers=self._crumb)
        if answer.status_code == 403 and "crumb" in answer.text[:20_000].lower():
            self._crumb = self._new_crumb()
            answer = self._ask("POST", path, data=dict(form or {}), headers=self._crumb)
        if answer.is_redirect:  # not followed: Jenkins names what it has made, by the host of its settings
            self._require_no_login(answer)
            return answer
        return self._success(answer, path)

    def _get(self, path: str, query: Mapping[str, Any] | None) -> "Response":
        answer = self._ask("GET", path, params=query)
        for _ in range(_REDIRECTS):
            if not answer.is_redirect:
                return self._success(answer, path)
            self._require_here(answer)
            target = urlsplit(urljoin(answer.url, answer.headers["Location"]))
            answer = self._ask("GET", f"{target.path}?{target.query}" if target.query else target.path)
        raise Refused(answer.status_code, f"{self.url}: more than {_REDIRECTS} redirects from {path}")

    def _ask(self, method: str, path: str, **options: Any) -> "Response":
        """Send one request to the controller, and follow no redirect."""
        import requests

        url = "{}://{}{}".format(*urlsplit(self.url)[:2], path)
        try:
            answer = self._session.request(
                method, url, auth=self._authorize, timeout=_TIMEOUT, allow_redirects=False, **options
            )
        except requests.exceptions.SSLError as error:
            raise InputError(f"{self.url}: TLS: {error}; REQUESTS_CA_BUNDLE names a file of certificates") from None
        except requests.RequestException as error:
            kind = Away if _never_arrived(error) else Unsure
            raise kind(f"{self.url} does not answer ({type(error).__name__})") from None
        if answer.status_code in _AWAY:
            said = f"{self.url} is not ready (HTTP {answer.status_code})"
            raise Away(said, answered=True) if answer.status_code == 503 else Unsure(said)
        return answer

    def _authorize(self, request: "requests.PreparedRequest") -> "requests.PreparedRequest":
        request.headers["Authorization"] = self._login
        return request

    def _require_here(self, answer: "Response") -> None:
        """Make sure that a redirect may be followed.

        Raises:
            Refused: it is the way to the login.
            InputError: it leads elsewhere.
        """
        self._require_no_login(answer)
        target = urljoin(answer.url, answer.headers["Location"])
        if _origin(target) != self.origin:
            there = "{}://{}".format(*urlsplit(target)[:2])
            raise InputError(
                f"{self.url} redirects to {there}, and user and token are not sent there: if that is the controller, "
                "name it in jenkins.url"
            )

    def _require_no_login(self, answer: "Response") -> None:
        path = self.path(answer.headers["Location"]).removeprefix(self.base())
        if path.startswith(("/login", "/securityRealm/")):
            raise Refused(401, self._meaning(401, urlsplit(answer.url).path))

    def _success(self, answer: "Response", path: str) -> "Response":
        if answer.ok:
            return answer
        raise Refused(answer.status_code, self._meaning(answer.status_code, path))

    def _meaning(self, status: int, path: str) -> str:
        """Say what a status means, and what to do."""
        meanings = {
            400: "it does not take this request",
            401: f"user {self.user} or the token is wrong: look at JENKINS_USER and JENKINS_TOKEN",
            403: f"user {self.user} may not do this: it needs Overall/Read, Job/Read and Job/Build, to stop Job/Cancel",
            404: f"there is no such thing, or user {self.user} may not see it (Job/Read)",
            405: "it does not take this request",
            409: "the job is disabled, as those of deleted branches are",
            500: "it failed, as it does for a value that is none of a parameter's choices, and for parameters of a job "
            "that no build has given any yet",
        }
        return f"Jenkins answers {path} with HTTP {status}: {meanings.get(status, 'its log has more')}"

    def _new_crumb(self) -> dict[str, str]:
        """Return the header that a password needs beside the session's cookie; none if Jenkins issues none."""
        try:
            found = self.json(f"{self.base()}/crumbIssuer", "crumb,crumbRequestField")
            return {str(found["crumbRequestField"]): str(found["crumb"])}
        except (Refused, KeyError):
            return {}


def checked(url: str) -> str:
    """Return the address of a controller without a slash at its end.

    Raises:
        InputError: it is none.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool((parts.hostname or "").encode("idna")) and parts.port != 0
    except ValueError:  # of the port, of an IPv6 address, or of a name with `..` in it
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise InputError(f"jenkins.url: {json.dumps(url)} is no address: expected such as https://ci.example.com")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(
            "jenkins.url: expected scheme, host, port and path alone; JENKINS_USER and JENKINS_TOKEN log in"
        )
    return url.rstrip("/")


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _never_arrived(error: "requests.RequestException") -> bool:
    """Tell whether a request certainly was not sent: there was no connection to send it on."""
    import requests
    from urllib3.exceptions import NewConnectionError

    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ProxyError):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, NewConnectionError)
