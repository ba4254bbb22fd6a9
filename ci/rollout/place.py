"""Where a deployment goes: this machine or a cluster, each with its lock, its releases and its servers."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci import reading, workspace
from ci.errors import InputError, StageError
from ci.kube.context import Context, chosen
from ci.packaging import package
from ci.registry import local as registry
from ci.releases import machine
from ci.releases.ledger import Ledger, Release, kept
from ci.releases.version import Version
from ci.rollout.decision import Phase, unrecorded
from ci.rollout.local.servers import Local
from ci.rollout.status import Status, describe
from ci.rollout.where import Where
from ci.settings import Settings

_EVIDENCE = (package.MANIFEST, package.GOLDEN, package.REFERENCE, package.PRIOR)
"""What a rollout, the monitor and the next search need of a release; it outlives the build."""


@dataclass(frozen=True)
class Place:
    """One place where versions serve.

    Attributes:
        name: for people, such as `port 8501`.
        where: its servers.
        ledger: its releases.
        keep: stores the packaged version's image and evidence, for its rollout and for the next build.
        adopt: makes sure that the image of a version that another environment has verified can be had here, and stores
            its evidence, which is in a folder.
        add: records a release and returns it with its number.
        lost: what to do if something serves that is not recorded as released.
        forget: deletes the evidence of images that are not among those to keep, and returns its names.
        command: the one that releases there.
    """

    name: str
    where: Where
    ledger: Ledger
    keep: Callable[[Version], None]
    adopt: Callable[[Version, Path], None]
    add: Callable[[Release], Release]
    lost: str
    forget: Callable[..., list[str]] = lambda *_, **__: []
    command: str = "python -m scripts.deploy"

    def serving(self) -> Release:
        """Return the last verified release.

        Raises:
            InputError: there is none.
            StageError: something serves that is not recorded.
        """
        self.require_agreement()
        return self.recorded()

    def watched(self) -> Release:
        """Return the release whose requests are watched.

        On a cluster the record alone tells it: each gateway says which version it stands before, and whoever watches
        may not look at Deployments.

        Raises:
            InputError: there is none.
            StageError: on this machine, something serves that is not recorded.
        """
        return self.recorded() if self.where.shares else self.serving()

    def recorded(self) -> Release:
        """Return the last verified release by the record alone; raises InputError if there is none."""
        found = self.ledger.last()
        if found is None:
            raise InputError("nothing was released yet: run `python -m scripts.deploy` first")
        return found

    def disagreement(self) -> str | None:
        """Return a sentence if something serves that is not recorded as released, None otherwise.

        That happens if the record was lost, or its end. An interrupted deployment is no disagreement: it continues.
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
        """Make sure that what serves is recorded, or is the wanted version, which is about to be recorded.

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
        return kept(self.ledger.read(), count) | self.where.phases().keys()

    def settled(self, digest: str) -> bool:
        """Tell whether a version is all that runs, without a canary, and as it was released."""
        where, alone = self.where, self.where.phases() == {digest: Phase.SERVING}
        return alone and not (where.shares and (where.leftover(digest) or where.changed(digest)))

    def status(self) -> Status:
        """Return what serves, in words."""
        where, phases, releases = self.where, self.where.phases(), self.ledger.read()
        waiting = {d: where.waiting(d) for d, phase in phases.items() if phase in (Phase.LOADING, Phase.ROLLING)}
        waiting |= {d: where.failure(d) for d, phase in phases.items() if phase is Phase.FAILED}
        more: dict[str, Any] = {}
        if where.shares:
            last = releases[-1]["digest"] if releases else ""
            serves = phases.get(last) in (Phase.SERVING, Phase.ROLLING)
            more = {"leftover": where.leftover(last), "lacking": where.lacking(last) if serves else None}
            more["changed"] = where.changed("")
        disagrees, busy = self.disagreement(), where.busy()
        more |= {"disagrees": disagrees, "busy": busy, "command": self.command}
        return describe(self.name, phases, releases, waiting=waiting, **more)


def here(settings: Settings) -> Place:
    """Return this machine."""
    ledger = machine.MachineLedger(settings.environment)
    where = Local(settings.serving.port, settings.rollout.drain_timeout, ledger, settings.serving.batch_target)

    def keep(version: Version) -> None:
        _keep_image(version)
        for path in _there(workspace.PACKAGE, *_EVIDENCE, package.SBOM, package.CARD):
            workspace.write_bytes(ledger.evidence(version.digest) / path.name, path.read_bytes())

    def adopt(version: Version, folder: Path) -> None:
        registry.unpack(version.digest)
        ledger.keep(version.digest, {path.name: reading.text(path) for path in folder.iterdir()})

    def add(release: Release) -> Release:
        where.verified(release["digest"])
        return ledger.add(release)

    lost = (
        f"restore {ledger.records} from a backup (`python -m scripts.restore`), finish the deployment that left it by "
        f"`{_command(settings)}`, or end it by `make stop` to begin anew"
    )
    name = _name(settings, f"port {settings.serving.port}")
    return Place(name, where, ledger, keep, adopt, add, lost, command=_command(settings))


def _there(folder: Path, *names: str) -> list[Path]:
    """Return the files of a package that it has: what its search found is kept of some builds only."""
    return [folder / name for name in names if name != package.PRIOR or (folder / name).exists()]


def _name(settings: Settings, where: str) -> str:
    """Return the name of a place for people."""
    return f"{settings.environment} ({where})" if settings.environment else where


def _command(settings: Settings) -> str:
    """Return the command that releases there."""
    if settings.environment == settings.first().environment:
        return "python -m scripts.deploy"
    return f"python -m scripts.promote --to {settings.environment}"


def _keep_image(version: Version) -> None:
    """Keep the image on this machine: the next build's model is compared with the one in it."""
    registry.push(workspace.PACKAGE / package.IMAGE, version.digest, version.reference)


@contextmanager
def locked(settings: Settings, context: str | None = None, wait: float = 0.0) -> Iterator[Place]:
    """Hold a place, so that nobody else deploys there meanwhile.

    Args:
        settings: the fork's.
        context: of a kubeconfig (`-`: the current one) in place of the settings'.
        wait: for whoever deploys there now; seconds.

    Raises:
        StageError: another deployment is under way there.
        InputError: there is no such context, or another environment is the same place.
    """
    cluster = chosen(context, settings.serving.context)
    if cluster is None:
        with machine.alone(machine.folder(settings.environment)):
            yield here(settings)
        return
    from ci.kube.api import ApiServer
    from ci.kube.lease import Lease
    from ci.rollout.cluster import manifests, preflight
    from ci.rollout.cluster.observe import LEASE

    api = ApiServer(cluster)
    _require_apart(settings, cluster, api)
    rendered = manifests.render(settings)
    namespace = manifests.namespace(rendered)
    preflight.permitted(api, namespace)
    with Lease(api, namespace, LEASE, _identity(), wait=wait) as lease:
        yield _cluster(api, settings, rendered, lease, cluster)


def _require_apart(settings: Settings, cluster: Context, api: Any) -> None:
    """Make sure that no other environment of this cluster has the same namespace.

    Else what builds release to the first one, which nobody approves, would serve in the next as well. Two contexts are
    one cluster if both have the very same ledger. One that cannot be asked is told of, and keeps nobody from deploying.

    Raises:
        InputError: one has.
    """
    from ci.rollout.cluster import manifests

    here = settings.serving.overlay
    for name in settings.environments:
        other = settings.at(name)
        there = chosen(None, other.serving.context)
        if name == settings.environment or there is None:
            continue
        namespace, theirs = (manifests.namespace(manifests.render(each)) for each in (settings, other))
        if namespace != theirs:
            continue
        why = ""
        if there.name != cluster.name:
            if not _one_ledger(api, there, namespace):
                continue
            why = f"the contexts {cluster.name} and {there.name} lead to one cluster, and "
        raise InputError(
            f"environments: {settings.environment} and {name} are the same place, as {why}k8s/overlays/{here} and "
            f"k8s/overlays/{other.serving.overlay} both have namespace {namespace}: give one of them an overlay "
            "with a namespace of its own, as k8s/overlays/staging is"
        )


def _one_ledger(api: Any, there: Context, namespace: str) -> bool:
    """Tell whether another context leads to the ledger that we have; what cannot be asked is taken for another."""
    from ci.kube.api import ApiServer
    from ci.releases.cluster import ClusterLedger

    try:
        ours, theirs = (ClusterLedger(each, namespace).uid() for each in (api, ApiServer(there)))
    except (InputError, StageError) as error:
        print(f"environments: whether {there.name} is another cluster could not be asked: {error}")
        return False
    return ours == theirs


def _identity() -> str:
    """Return a unique name of this process for the Lease, by which people know who it is."""
    return f"{os.environ.get('USER') or 'deployer'}@{os.uname().nodename}-{os.getpid()}-{os.urandom(3).hex()}"


def look(settings: Settings, context: str | None = None) -> Place:
    """Return a place to look at; nothing can be written there on a cluster."""
    cluster = chosen(context, settings.serving.context)
    if cluster is None:
        return here(settings)
    from ci.kube.api import ApiServer
    from ci.rollout.cluster import manifests

    return _cluster(ApiServer(cluster), settings, manifests.render(settings), None, cluster)


def _cluster(api: Any, settings: Settings, rendered: list[dict[str, Any]], lease: Any, context: Context) -> Place:
    from ci.registry.delivery import deliver, require
    from ci.releases.cluster import NAME, ClusterLedger
    from ci.rollout.cluster import manifests, planned
    from ci.rollout.cluster.apply import Cluster

    ledger, plain = ClusterLedger(api, manifests.namespace(rendered)), settings.packaging.plain_http

    def keep(version: Version) -> None:
        _keep_image(version)
        layout = workspace.PACKAGE / package.IMAGE
        image = deliver(layout, version.digest, version.reference, context.name, plain, version.base)
        print(f"deploy: image {image}")
        files = {path.name: reading.text(path) for path in _there(workspace.PACKAGE, *_EVIDENCE)}
        ledger.keep(version.digest, files)

    def adopt(version: Version, folder: Path) -> None:
        require(registry.LAYOUT, version.digest, version.reference, context.name, plain, version.base)
        ledger.keep(version.digest, {path.name: reading.text(path) for path in _there(folder, *_EVIDENCE)})

    where = Cluster(api, settings, rendered, ledger, lease, planned.read(settings.environment))

    def add(release: Release) -> Release:
        where.verified(release["digest"])
        record = {**release, "revision": where.revision(release["digest"])}
        lease.check()
        return ledger.add(record)

    lost = (
        f"restore the ConfigMap {NAME} of namespace {where.namespace} from a backup (`python -m scripts.restore`), "
        f"bring a release back with `python -m scripts.rollback{settings.option} --to RELEASE`, or delete the "
        f"Deployment {manifests.STABLE} to begin anew"
    )
    name = _name(settings, f"namespace {where.namespace}")
    return Place(name, where, ledger, keep, adopt, add, lost, ledger.forget, _command(settings))
