"""Reading nodes and pods from the API server, page by page; only what a plan needs is kept."""

import json
from collections.abc import Iterator
from typing import Any

from ci.errors import StageError
from ci.kube.api import ApiServer, Denied, Gone
from ci.kube.context import Context
from ci.placement.inventory import Entry, Inventory, gather, slim

PAGE = 500
"""Objects of an answer at most."""
_LIMIT = 30.0
"""Longest wait for an answer: a page takes longer than one object; seconds."""
_LISTS = {"Node": "/api/v1/nodes", "Pod": "/api/v1/pods"}


def read(context: Context) -> Inventory:
    """Return the inventory of a cluster.

    Raises:
        InputError: there is no such context, or no kubeconfig.
        StageError: the API server refuses, does not answer, or stays too busy.
    """
    return inventory(ApiServer(context, limit=_LIMIT), context.given or "the current cluster")


def inventory(api: ApiServer, name: str) -> Inventory:
    """Return the inventory that an API server gives; `name` names it in messages."""
    return gather(_items(api, name), name)


def _items(api: ApiServer, name: str) -> Iterator[Entry]:
    """Yield the nodes and then the pods, with their places for errors."""
    for kind, path in _LISTS.items():
        token: str | None = None
        count = 0
        while token != "":
            page = _page(api, path, token, what := f"{name}: listing {kind.lower()}s")
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


def _page(api: ApiServer, path: str, token: str | None, what: str) -> dict[str, Any]:
    query: dict[str, str | int] = {"limit": PAGE, **({"continue": token} if token else {})}
    try:
        return dict(json.loads(api.raw("GET", path, query=query), object_hook=slim))
    except Denied as error:
        raise StageError(f"{what}: {error}: give this account `list` on nodes and pods") from None
    except Gone as error:
        raise StageError(f"{what}: {error}: run again") from None
    except StageError as error:
        raise StageError(f"{what}: {error}: try again later, or give --inventory a recorded one") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise StageError(f"{what}: no answer that can be used: {error}") from None
