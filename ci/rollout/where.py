"""What a rollout asks of the place where versions run, each named by its image's digest: a machine or a cluster."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from ci.releases.version import Version
from ci.rollout.decision import Phase


class Servers(Protocol):
    """The servers of a place, as every rollout needs them."""

    interval: float
    """Between two looks at a version that loads; seconds."""

    def phases(self) -> dict[str, Phase]:
        """Return what each running version does."""

    def reserve(self, digest: str, *, force: bool) -> None:
        """Make sure, before a version is started, that this deployment may serve on the public address.

        With `force` what others have changed by hand is taken back.
        """

    def start(self, digest: str) -> None:
        """Start a version that takes no traffic."""

    def promote(self, digest: str) -> None:
        """Let a version take all new connections, also after it was paused."""

    def restore(self, digest: str) -> None:
        """Let the last verified release take all new connections again, as it was when it was verified."""

    def retire(self, digest: str) -> str:
        """End a version after its requests, its canary where it serves as stable; return how that went."""

    def addresses(self, digest: str, *, public: bool) -> AbstractContextManager[list[str]]:
        """Give the URLs of a version alone, or of all that clients' requests reach."""

    def pending(self, digest: str) -> bool:
        """Tell whether a version serves because a deployment was interrupted before it had verified it."""

    def busy(self) -> str | None:
        """Return who deploys there now."""

    def failure(self, digest: str) -> str:
        """Return why a version could not load."""

    def waiting(self, digest: str) -> str:
        """Return what a version that loads, or takes over, waits for."""

    def disturbed(self, digest: str) -> str:
        """Return where to look for what undoes a deployment's steps."""

    def by_hand(self, release: int) -> str:
        """Return what somebody can do to bring a release back where a rollout could not."""


class OnePort(Servers, Protocol):
    """A place where versions take turns on one port."""

    @property
    def shares(self) -> Literal[False]:
        """A canary cannot take part of the traffic."""

    def pause(self, digest: str) -> None:
        """Let a version take no new connections."""


class Shared(Servers, Protocol):
    """A place where a canary takes its part of the traffic, beside the stable version's pods."""

    @property
    def shares(self) -> Literal[True]:
        """A canary can take part of the traffic."""

    def join(self, digest: str) -> None:
        """Let a version take part of the traffic."""

    def analyse(self, digest: str, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Watch a version's part of the traffic and return what was measured, or `interrupted` and why.

        Args:
            digest: its image.
            tell: gets what was measured so far after each look: its `requests`, and the `measures`.

        Raises:
            StageError: it is worse than the stable version's, or too little to judge.
        """

    def passed(self, digest: str) -> set[str]:
        """Return what an earlier run has noted that a canary passed: `smoked`, `analysed`."""

    def note(self, digest: str, fact: str) -> None:
        """Write down what a canary has passed, for as long as it runs."""

    def leftover(self, digest: str) -> bool:
        """Tell whether a version serves as stable while its canary still runs."""

    def rescale(self) -> str | None:
        """Set how many pods serve at least, and return that in a sentence; None if it is as the settings say."""

    def lacking(self, digest: str) -> str | None:
        """Return how many pods of a version answer and what the others wait for; None if all answer, or none."""

    def changed(self, digest: str) -> str | None:
        """Return in a sentence what was changed by hand; None if nothing was, or if it is the version named."""

    def difference(self, version: Version) -> str:
        """Return as a diff what a version's manifests would change."""

    def placed(self, digest: str) -> str | None:
        """Return in a sentence how many of a version's pods are where the placement's plan wanted them, if one did."""

    def captured(self, digest: str) -> dict[str, list[dict[str, Any]]]:
        """Return sampled requests to each pod of a version with its answers."""

    def watched(self, version: str) -> dict[str, dict[str, Any]]:
        """Return the same of the gateways before a version (its number) that Services lead to."""

    def told(self, track: str | None = None, digest: str | None = None) -> dict[str, dict[str, Any]]:
        """Return what the gateway of each pod reports, as `ci.capture.gateways.ask` gives it."""


Where = OnePort | Shared
