"""Which cluster is meant, and with which credentials: a context of the kubeconfig, or the cluster of this pod.

The kubeconfig is what `$KUBECONFIG` names, or else `~/.kube/config`. A pod's own service account is used only where
there is no kubeconfig at all: one that is there but wrong is an error, as guessing would lead to another cluster.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import yaml

from ci import reading, reading_yaml
from ci.errors import InputError
from ci.http import loopback


class NoCluster(InputError):  # noqa: N818 - a state, not a fault
    """There is neither a kubeconfig nor a pod's service account: nothing is wrong where none is needed."""


@dataclass(frozen=True)
class Context:
    """One cluster.

    Attributes:
        given: name of its context in the kubeconfig; None means the current one, or the cluster of this pod where there
            is no kubeconfig.
    """

    given: str | None = None

    @property
    def name(self) -> str:
        """Name of the context; `-` in a pod that has no kubeconfig.

        Raises:
            InputError: the kubeconfig is wrong.
        """
        return self.given or (_current() if _kubeconfigs() else _CURRENT)

    def client(self) -> Any:
        """Return the official client's `ApiClient`; the address and the credentials are read, nothing is asked yet.

        Raises:
            NoCluster: there is no cluster to talk to.
            InputError: there is no such context, or the kubeconfig is wrong.
        """
        return _client(self.given)


CURRENT = Context()


def inside() -> bool:
    """Tell whether this is a pod of the cluster, as no kubeconfig leads anywhere else: then it reaches other pods."""
    return not _kubeconfigs()


_CURRENT = "-"
"""How settings and options write it."""


def chosen(option: str | None, setting: str | None) -> Context | None:
    """Return the cluster that a command is about; None means this machine.

    Args:
        option: `--context` of the command; None if it was not given.
        setting: `serving.context` of the settings, which an option replaces.

    Raises:
        InputError: it is empty, as where a variable was not set.
    """
    text = setting if option is None else option
    if text == "":
        what = "--context" if option == "" else "serving.context"
        raise InputError(f"{what}: it is empty: name a context of the kubeconfig, `-` for its current one, or none")
    return None if text is None else Context(None if text == _CURRENT else text)


def _client(context: str | None) -> Any:
    from kubernetes import client as kubernetes
    from kubernetes import config

    settings = kubernetes.Configuration()
    if context is None and not _kubeconfigs():
        try:
            config.load_incluster_config(client_configuration=settings)
        except config.ConfigException as error:
            raise NoCluster(
                f"no cluster: there is no kubeconfig ({_location()}), and this is no pod with a service account "
                f"({error}): set KUBECONFIG, or look at `kubectl config get-contexts`"
            ) from None
    else:
        context = context or _current()
        with _problems(context):
            config.load_kube_config(_location(), context, settings)
    if settings.proxy and not _around(settings):
        _require_proxy(settings.proxy, context or "of this pod")
    return kubernetes.ApiClient(settings)


def _around(settings: Any) -> bool:
    """Tell whether requests to the cluster go around the environment's proxy, and see to it that port-forwards do."""
    from kubernetes.client.rest import should_bypass_proxies

    if settings.proxy not in getproxies().values():  # the kubeconfig's own: it is for this cluster
        return False
    if not (loopback(settings.host) or should_bypass_proxies(settings.host, settings.no_proxy or "")):
        return False
    settings.no_proxy = ",".join(filter(None, [settings.no_proxy, urlsplit(settings.host).hostname]))
    return True


def _require_proxy(proxy: str, cluster: str) -> None:
    """Make sure that a proxy is one that can be used.

    Raises:
        InputError: it is not.
    """
    hint = "set proxy-url in the kubeconfig, or HTTPS_PROXY, to such a proxy"
    try:
        found = urlsplit(proxy)
        usable = found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:  # of the port, or of an IPv6 address
        usable = False
    if not usable:
        shown = re.sub(r"//[^/]*@", "//…@", proxy)
        raise InputError(
            f"the proxy of cluster {cluster} is {shown}: only http://HOST:PORT and https://HOST:PORT can be used here, "
            f"as port-forwards need one too: {hint}"
        )


def _location() -> str:
    return os.environ.get("KUBECONFIG") or "~/.kube/config"


def _kubeconfigs() -> list[Path]:
    """Return the files of the kubeconfig, those that exist; `$KUBECONFIG` may name several.

    Raises:
        InputError: `$KUBECONFIG` is set, and none of them exists.
    """
    named = [Path(path).expanduser() for path in _location().split(os.pathsep) if path]
    found = [path for path in named if path.exists()]
    if not found and os.environ.get("KUBECONFIG"):
        raise InputError(f"KUBECONFIG: {_location()} does not exist: name a kubeconfig, or unset the variable")
    return found


def _current() -> str:
    """Return the current context: as for kubectl, that of the first file that names one.

    Raises:
        InputError: none names one, or a file is no kubeconfig.
    """
    for path in _kubeconfigs():
        with _problems(None):
            found = reading_yaml.read(path)
            if not isinstance(found, dict):
                raise ValueError(f"{path}: expected a mapping with clusters, users and contexts")
            if current := found.get("current-context"):
                return str(current)
    raise InputError(f"{_location()} names no current-context: `kubectl config use-context NAME` sets it")


@contextmanager
def _problems(context: str | None) -> Iterator[None]:
    from kubernetes import config

    hint = "look at `kubectl config view` and `kubectl config get-contexts`"
    try:
        yield
    except config.ConfigException as error:
        # The client puts whole entries into its messages, tokens and all.
        problem = re.sub(r"\{.*\}", "…", str(error), flags=re.DOTALL)
        raise InputError(f"{_location()}: no cluster {context or ''}: {problem}; {hint}") from None
    except (TypeError, LookupError, AttributeError) as error:
        what = (
            f"the context {context}, its cluster or its user has a value of a kind that cannot be used here ({error})"
        )
        raise InputError(f"{_location()}: {what}; {hint}") from None
    except (reading.ReadError, yaml.YAMLError, ValueError, OSError) as error:
        raise InputError(f"{_location()} is no kubeconfig: {str(error).splitlines()[0]}; {hint}") from None
