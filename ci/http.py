"""HTTP sessions: requests to this machine never go through a proxy.

`HTTP_PROXY` and its kin are for the network outside: a proxy cannot reach this machine's loopback addresses, whatever
`NO_PROXY` leaves out.
"""

import ipaddress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import requests


def loopback(url: str) -> bool:
    """Tell whether a URL leads to this machine: `localhost`, a name below it, a loopback address, or 0.0.0.0."""
    host = (urlsplit(url).hostname or "").removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def session() -> "requests.Session":
    """Return a session of `requests` that honours the environment's proxies, but for requests to this machine."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.exceptions import LocationParseError

    class Direct(HTTPAdapter):
        """Sends requests to this machine without a proxy, also after a redirect."""

        def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
            if loopback(request.url or ""):
                options["proxies"] = None
            try:
                return super().send(request, *arguments, **options)
            except LocationParseError as error:  # a name with `..` in it, or too long: requests does not see that
                raise requests.exceptions.InvalidURL(str(error), request=request) from None

    found = requests.Session()
    for scheme in ("http://", "https://"):
        found.mount(scheme, Direct())
    return found
