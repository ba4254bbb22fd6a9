"""Where a deployment goes: this machine or a cluster, each with its lock, its releases and its servers."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ci import reading, workspace
from ci.errors import InputError, StageError
from ci.kube.context import Context, chosen
from ci.packaging import package
from ci.registry import local as registry
from ci.releases import machine as releases
from ci.rollout.decision import Phase, unrecorded
from ci.rollout.local import servers as local
from ci.rollout.rollout import Ledger, Where
from ci.rollout.status import Status, describe
from ci.settings import Settings

_EVIDENCE = (package.MANIFEST, package.GOLDEN, package.REFERENCE)
"""What a rollout and the monitor need of a release; it outlives the build."""


@dataclass(frozen=True)
class Place:
    """One place where versions serve.

    Attributes:
        name: for people, such as `port 8501`.
        where: its servers.
        ledger: its releases.
        keep: puts a package's image and evidence where the rollout finds them, and the image where the next build does.
        add: records a release and returns it with its number.
        lost: what to do where something serves and no release is of it.
        forget: deletes the evidence of images that are not among those to keep, and returns its names.
    """

    name: str
    where: Where
    ledger: Ledger
    keep: Callable[[Mapping[str, Any]], None]
    add: Callable[[dict[str, Any]], dict[str, Any]]
    lost: str
    forget: Callable[..., list[str]] = lambda *_, **__: []

    def serving(self) -> releases.Release:
        """Return the last verified release.

        Raises:
            InputError: there is none.
            StageError: something serves that is not recorded.
        """
        self.require_agreement()
        found = self.ledger.last()
        if found is None:
            raise InputError("nothing was released yet: run `python -m scripts.deploy` first")
        return found

    def disagreement(self) -> str | None:
        """Return in a sentence that something serves though no release is of it; None if that is as it should be.

        So it is where the record was lost, in whole or its end. A deployment that was interrupted continues.
        """
        found = unrecorded(self.ledger.read(), self.where.phases())
        if found is None or self.where.pending(found):
            return None
        last = self.ledger.last()
        known = "no release is recorded"
        if last is not None:
            why = "the end of the record was lost, or it was changed by hand"
            known = f"the last release recorded is {last['release']}, another version ({why})"
        what = found[:19] if found.startswith("sha256:") else "a version that no deployment put there"
        return f"{what} serves on {self.name}, but {known}: {self.lost}"

    def require_agreement(self, wanted: str | None = None) -> None:
        """Make sure that what serves is recorded, unless it is what is wanted: then it is recorded now.

        Raises:
            StageError: it is not.
        """
        if self.where.phases().get(wanted or "") in (Phase.SERVING, Phase.ROLLING):
            return
        if problem := self.disagreement():
            raise StageError(problem)

    def needed(self, count: int) -> set[str]:
        """Return the digests of the images that stay: what runs, and what the last releases and a rollback need.

        Args:
            count: how many of the last images to keep, at least 1.

        Raises:
            StageError: a server does not say what it runs, or runs what is not recorded as released.
        """
        self.require_agreement()
        return releases.kept(self.ledger.read(), count) | self.where.phases().keys()

    def settled(self, digest: str) -> bool:
        """Tell whether a version is all that runs, without a canary, and as it was released."""
        alone = self.where.phases() == {digest: Phase.SERVING} and not self.where.leftover(digest)
        return alone and self.where.changed(digest) is None

    def status(self) -> Status:
        """Return what serves, in words."""
        phases = self.where.phases()
        waiting = {d: self.where.waiting(d) for d, phase in phases.items() if phase in (Phase.LOADING, Phase.ROLLING)}
        waiting |= {d: self.where.failure(d) for d, phase in phases.items() if phase is Phase.FAILED}
        releases = self.ledger.read()
        leftover = bool(releases) and self.where.leftover(releases[-1]["digest"])
        serves = bool(releases) and phases.get(releases[-1]["digest"]) in (Phase.SERVING, Phase.ROLLING)
        return describe(
            self.name,
            phases,
            releases,
            waiting=waiting,
            leftover=leftover,
            lacking=self.where.lacking(releases[-1]["digest"]) if serves else None,
            changed=self.where.changed(""),
            disagrees=self.disagreement(),
            busy=self.where.busy(),
        )


def here(settings: Settings) -> Place:
    """Return this machine."""

    def keep(manifest: Mapping[str, Any]) -> None:
        digest = manifest["image"]["digest"]
        _keep_image(manifest)
        for name in (*_EVIDENCE, package.SBOM, package.CARD):
            workspace.write_bytes(releases.evidence(digest) / name, (workspace.PACKAGE / name).read_bytes())

    where = local.Local(settings.serving.port, settings.rollout.drain_timeout)

    def add(release: dict[str, Any]) -> dict[str, Any]:
        where.verified(release["digest"])
        return releases.add(release)

    lost = (
        f"restore {releases.RECORDS} from a backup, finish the deployment that left it by `python -m scripts.deploy`, "
        "or end it by `make stop` to begin anew"
    )
    return Place(f"port {settings.serving.port}", where, releases, keep, add, lost)


def _keep_image(manifest: Mapping[str, Any]) -> None:
    """Keep the image on this machine too: the next build's model is compared with the one in it."""
    registry.push(workspace.PACKAGE / package.IMAGE, manifest["image"]["digest"], manifest["image"]["reference"])


@contextmanager
def locked(settings: Settings, context: str | None = None, wait: float = 0.0) -> Iterator[Place]:
    """Hold a place, so that nobody else deploys there meanwhile.

    Args:
        settings: the fork's.
        context: of a kubeconfig (`-`: the current one) in place of the settings'.
        wait: for whoever deploys there now; seconds.

    Raises:
        StageError: another deployment is under way there.
        InputError: there is no such context.
    """
    cluster = chosen(context, settings.serving.context)
    if cluster is None:
        with releases.alone():
            yield here(settings)
        return
    from ci.kube.api import ApiServer
    from ci.kube.lease import Lease
    from ci.rollout.cluster import manifests, preflight
    from ci.rollout.cluster.apply import LEASE, identity

    api = ApiServer(cluster)
    rendered = manifests.render(settings)
    namespace = manifests.namespace(rendered)
    preflight.permitted(api, namespace)
    with Lease(api, namespace, LEASE, identity(), wait=wait) as lease:
        yield _cluster(api, settings, rendered, lease, cluster)


def look(settings: Settings, context: str | None = None) -> Place:
    """Return a place to look at; nothing can be written there on a cluster."""
    cluster = chosen(context, settings.serving.context)
    if cluster is None:
        return here(settings)
    from ci.kube.api import ApiServer
    from ci.rollout.cluster import manifests

    return _cluster(ApiServer(cluster), settings, manifests.render(settings), None, cluster)


def _cluster(api: Any, settings: Settings, rendered: list[dict[str, Any]], lease: Any, context: Context) -> Place:
    from ci.registry.delivery import deliver
    from ci.releases.cluster import NAME, History
    from ci.rollout.cluster import manifests
    from ci.rollout.cluster.apply import Cluster

    history = History(api, manifests.namespace(rendered))

    def keep(manifest: Mapping[str, Any]) -> None:
        _keep_image(manifest)
        digest, reference = manifest["image"]["digest"], manifest["image"]["reference"]
        layout, plain = workspace.PACKAGE / package.IMAGE, settings.packaging.plain_http
        print(f"deploy: image {deliver(layout, digest, reference, context.name, plain)}")
        files = {name: reading.text(workspace.PACKAGE / name) for name in _EVIDENCE}
        history.keep(digest, files)

    where = Cluster(api, settings, rendered, history, lease, manifests.advice())

    def add(release: dict[str, Any]) -> dict[str, Any]:
        where.verified(release["digest"])
        record = {**release, "revision": where.revision(release["digest"])}
        lease.check()
        return history.add(record)

    lost = (
        f"restore the ConfigMap {NAME} of namespace {where.namespace} from a backup, bring a release back with "
        f"`python -m scripts.rollback --to RELEASE`, or delete the Deployment {manifests.STABLE} to begin anew"
    )
    return Place(f"namespace {where.namespace}", where, history, keep, add, lost, history.forget)
