"""Reading nodes and pods from the API server, page by page; only what a plan needs is kept."""

import json
from collections.abc import Callable, Iterator
from time import sleep
from typing import Any

from ci.errors import StageError
from ci.kube import context as contexts
from ci.placement.inventory import Entry, Inventory, gather, slim

PAGE = 500
_TRIES, _TIMEOUT = 4, (5, 30)
"""Requests before giving up; seconds to connect and to wait for an answer."""


def read(context: str | None, pause: Callable[[float], None] = sleep) -> Inventory:
    """Return the inventory of a cluster.

    Args:
        context: name in the kubeconfig; None means the current one, or the service account of the pod this runs in.
        pause: waits so many seconds before a request is repeated.

    Raises:
        InputError: there is no such context, or no kubeconfig.
        StageError: the API server refuses, does not answer, or stays too busy.
    """
    from kubernetes import client

    found = contexts.client(context)
    found.configuration.retries = False  # urllib3 would repeat each of our tries, and wait for as long as it is told
    return inventory(client.CoreV1Api(client.ApiClient(found.configuration)), context or "the current cluster", pause)


def inventory(api: Any, name: str, pause: Callable[[float], None] = sleep) -> Inventory:
    """Return the inventory that a `CoreV1Api` gives; `name` names it in messages."""
    return gather(_items(api, name, pause), name)


def _items(api: Any, name: str, pause: Callable[[float], None]) -> Iterator[Entry]:
    """Yield the nodes and then the pods, with their places for errors."""
    for kind, listing in (("Node", api.list_node), ("Pod", api.list_pod_for_all_namespaces)):
        token: str | None = None
        count = 0
        while token != "":
            page = _page(listing, token, what := f"{name}: listing {kind.lower()}s", pause)
            try:
                token = str((page.get("metadata") or {}).get("continue") or "")
                items = [*(page.pop("items", None) or ())][::-1]
            except (TypeError, AttributeError):
                items = [None]
            while items:  # each is let go before the next page comes
                if not isinstance(item := items.pop(), dict):
                    raise StageError(f"{what}: the answer is no list of objects: is this a Kubernetes API server?")
                yield kind, item, f"{name}: {kind.lower()}s[{count}]"
                count += 1


def _page(listing: Callable[..., Any], token: str | None, what: str, pause: Callable[[float], None]) -> dict[str, Any]:
    """Return one page, asking again where the server is busy or cannot be reached for a moment."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    fixes = {401: ": log in again", 403: ": give this account `list` on nodes and pods", 410: ": run again"}
    for attempt in range(_TRIES):
        wait = 0.5 * 2**attempt
        try:
            answer = listing(limit=PAGE, _continue=token, _preload_content=False, _request_timeout=_TIMEOUT)
            return dict(json.loads(answer.data, object_hook=slim))
        except ApiException as error:
            problem = f"the API server answers {error.status} {error.reason}"
            if error.status and error.status != 429 and error.status < 500:
                raise StageError(f"{what}: {problem}{fixes.get(error.status, '')}") from None
            asked = str((error.headers or {}).get("Retry-After"))
            wait = float(asked) if asked.isdigit() else wait  # a date is allowed too: then our own wait is as good
        except (HTTPError, ValueError, TypeError, RecursionError) as error:
            problem = f"no answer that can be used: {error}"
        if attempt + 1 < _TRIES:
            pause(min(wait, 10.0))
    raise StageError(f"{what}: {problem}, {_TRIES} times: try again later, or give --inventory a recorded one")
