"""One deployer at a time: a Kubernetes Lease that is renewed while it is held, and given up when it is not.

A Lease has expired when it has not changed for as long as it says, on the observer's own clock, so clocks need not
agree. Holding it is not enough to write: between the check and the write another may take it. So every write also
carries the resourceVersion that it was decided on, and whoever takes the Lease first changes each object it will write.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from ci.errors import StageError
from ci.kube.api import ApiServer, Conflict, Missing

Json = dict[str, Any]
_CONFLICTS = 100
"""How often the Lease may change between a look and a write: where many deployers meet, one gets it each time."""

_DEAD = 60.0
"""Longest wait for the end of a Lease whose holder seems dead, beyond what was asked for; seconds. Ours last 15."""


class Held(StageError):  # noqa: N818 - a state, not a fault
    """Another deployer holds the Lease."""


class Lost(StageError):  # noqa: N818 - a state, not a fault
    """The Lease was taken by another, or could not be renewed in time."""


class Lease:
    """A Lease, used as `with Lease(...) as lease:`; `lease.check()` before each write.

    Args:
        api: the API server.
        namespace: where the Lease is.
        name: its name.
        holder: who we are; unique to this process.
        seconds: after how long without renewal another may take it.
        wait: how long to wait for another holder; seconds.
        pause: waits so many seconds between two looks.
        clock: returns seconds that never go back.
    """

    def __init__(
        self,
        api: ApiServer,
        namespace: str,
        name: str,
        holder: str,
        *,
        seconds: int = 15,
        wait: float = 0.0,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._namespace, self._name, self._holder = (
            api.within(max(1.0, seconds / 5)),
            namespace,
            name,
            holder,
        )
        self._seconds, self._wait, self._pause, self._clock = seconds, wait, pause, clock
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._ended = threading.Event()
        self._lost: str | None = None
        self._renewed = 0.0
        self.term = 0
        """How often the Lease has changed hands, this time included."""

    def __enter__(self) -> Self:
        """Take the Lease and begin to renew it.

        Raises:
            Held: another deployer holds it, and still does after the wait.
            StageError: it is nobody's, and changes all the time.
        """
        self._take()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the Lease back, if it is still ours."""
        self._ended.set()
        self._thread.join()
        if self._lost is None:
            with suppress(StageError):  # whoever has changed it has it now, and what cannot be given back expires
                lease = self._read()
                if _holder(lease) == self._holder:
                    self._put(lease, "", self.term)

    def check(self) -> None:
        """Make sure that the Lease is ours.

        Raises:
            Lost: it is not, or was not renewed in time.
        """
        if self._lost is None and self._clock() - self._renewed > self._seconds:
            self._lost = f"it could not be renewed for {self._seconds} s"
        if self._lost:
            raise Lost(f"the lease {self._name} was lost: {self._lost}; another deployment may be under way")

    def _take(self) -> None:
        begin, conflicts = self._clock(), 0
        seen: tuple[str, float] | None = None
        while True:
            now = self._clock()
            lease = self._read()
            holder, version = _holder(lease), lease.get("metadata", {}).get("resourceVersion", "")
            if seen is None or seen[0] != version:
                seen = version, self._clock()  # after the read, which may have taken long
            limit = float(lease.get("spec", {}).get("leaseDurationSeconds") or self._seconds)
            if holder in ("", self._holder) or now - seen[1] > limit:  # ours: an answer was lost on its way
                try:
                    self.term = int(lease.get("spec", {}).get("leaseTransitions") or 0) + 1
                    self._put(lease, self._holder, self.term)
                    return
                except Conflict:  # another was quicker: look again at who
                    conflicts += 1
                    if conflicts < _CONFLICTS:
                        continue
                    what = f"the Lease {self._name} of namespace {self._namespace} changes all the time"
                    raise StageError(f"{what}: who writes it besides deployers?") from None
            dead = _silent(lease, limit / 2)
            if now - begin >= max(self._wait, min(limit + 2.0, _DEAD) if dead else 0.0):
                what = f"{holder} is deploying to namespace {self._namespace}"
                if dead and limit > _DEAD:
                    edit = f"`kubectl edit lease {self._name} -n {self._namespace}`"
                    what += f", by a Lease that lasts {limit:,.0f} s; if it is not, empty its holderIdentity ({edit})"
                raise Held(f"{what}: wait for it (`--wait 60`), then try again")
            self._pause(min(1.0, limit / 10))

    def _renew(self) -> None:
        while not self._ended.wait(self._seconds / 3):
            try:
                lease = self._read()
                if _holder(lease) != self._holder:
                    self._lost = f"{_holder(lease) or 'nobody'} holds it now"
                    return
                self._put(lease, self._holder, self.term)
            except StageError:
                continue  # tried again in a moment; `check` notices when it has been too long

    def _read(self) -> Json:
        try:
            return self._api.get(f"{self._path}/{self._name}")
        except Missing:
            return {}

    def _put(self, seen: Json, holder: str, term: int) -> None:
        """Write the Lease if it is still as it was seen; labels, owners, finalizers and fields of others stay in it.

        Raises:
            Conflict: it is not.
        """
        sent = self._clock()
        stamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec: Json = {
            **seen.get("spec", {}),
            "holderIdentity": holder,
            "leaseDurationSeconds": self._seconds,
            "leaseTransitions": term,
            "renewTime": stamp,
        }
        kind: Json = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        if seen:
            self._api.ask("PUT", f"{self._path}/{self._name}", {**kind, **seen, "spec": spec})
        else:
            self._api.ask("POST", self._path, {**kind, "metadata": {"name": self._name}, "spec": spec})
        self._renewed = sent


def holder(api: ApiServer, namespace: str, name: str) -> str | None:
    """Return who holds a Lease now; None if nobody does, or whoever did has let it expire."""
    lease = api.get(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}")
    seconds = float(lease.get("spec", {}).get("leaseDurationSeconds") or 0)
    return None if not _holder(lease) or _silent(lease, seconds) else _holder(lease)


def _holder(lease: Json) -> str:
    return str(lease.get("spec", {}).get("holderIdentity") or "")


def _silent(lease: Json, seconds: float) -> bool:
    """Tell whether the holder's own time stamp says that it is dead, so that a wait for the Lease's end is worth it."""
    stamp = lease.get("spec", {}).get("renewTime")
    return not stamp or (datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds() > seconds
