"""What a rollout sees of a cluster: the versions that run in the serving namespace, and what their pods say.

Everything that a rollout knows is in the cluster: the digest that a Deployment serves in its template's annotation, so
that `kubectl rollout undo` brings it back too; what a canary has passed in the canary's own annotations; releases in
ConfigMaps.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, Literal

from ci.capture.gateways import GATEWAY, ask
from ci.errors import StageError
from ci.kube import endpoints, pods
from ci.kube.api import ApiServer, Missing
from ci.kube.context import inside
from ci.kube.forward import forward
from ci.kube.lease import holder
from ci.placement.peers import REVISION
from ci.releases.cluster import ClusterLedger
from ci.rollout.cluster import deployments, manifests, planned
from ci.rollout.cluster.applied import DIGEST
from ci.rollout.cluster.planned import Planned
from ci.rollout.decision import Phase

MANAGER = "deployer"
PASSED = "model-serving/passed"
"""Annotation of the canary: which digest has passed what, as JSON."""
UNVERIFIED = "model-serving/unverified"
"""Annotation of the Service: the digest that stable was given and that is not verified yet, until it is recorded.

Not of stable: a ReplicaSet keeps its Deployment's annotations, and `kubectl rollout undo` would bring it back.
"""
LEASE = "rollout"
PORT = 8501
"""Of the server in a pod; port-forwards lead to it, past the gateway."""
_SHOWN = 3
"""Pods that are not ready are described up to so many; the others are counted."""
_KINDS = {manifests.SERVICE: "Service", manifests.AUTOSCALER: "HorizontalPodAutoscaler"}
_GROUPS = {"Deployment": "/apis/apps/v1", "HorizontalPodAutoscaler": "/apis/autoscaling/v2"}
"""Where the API server has the objects of a kind, if not among those of its core."""
Json = dict[str, Any]


class Namespace:
    """The serving namespace of one cluster, to look at.

    Args:
        api: the API server.
        rendered: what `manifests.render` made of the settings.
        ledger: the namespace's releases.
        plan: where the placement's plan wants the pods.
        option: what names the environment in a command line.
    """

    shares: Literal[True] = True
    interval = 1.0

    def __init__(
        self, api: ApiServer, rendered: list[Json], ledger: ClusterLedger, plan: Planned, option: str = ""
    ) -> None:
        self._api, self._ledger, self._plan, self._rendered = api, ledger, plan, rendered
        self.namespace = manifests.namespace(rendered)
        self._option = option
        self._seen: dict[str, Json] = {}

    def phases(self) -> dict[str, Phase]:
        """Return what the canary and stable do, by digest; if both are of one version, what stable does."""
        self._observe()
        found = {}
        if canary := self._seen.get(manifests.CANARY):
            found[deployments.digest(canary)] = self._canary(canary)
        if stable := self._seen.get(manifests.STABLE):
            phase = deployments.rolled(stable)
            reached = manifests.SERVICE in self._seen  # without the Service no client gets there
            found[deployments.digest(stable)] = Phase.READY if phase is Phase.SERVING and not reached else phase
        return found

    def has(self, name: str) -> bool:
        """Tell whether an object was there when this was looked at last."""
        return name in self._seen

    def leftover(self, digest: str) -> bool:
        """Tell whether a version serves as stable while its canary still runs, by what was seen last."""
        names = [name for name in (manifests.STABLE, manifests.CANARY) if name in self._seen]
        return len(names) == 2 and all(deployments.digest(self._seen[name]) == digest for name in names)

    def passed(self, digest: str) -> set[str]:
        """Return what a canary of this digest has passed, by what was seen last."""
        canary = self._seen.get(manifests.CANARY)
        written = canary["metadata"].get("annotations", {}).get(PASSED) if canary else None
        try:
            found = json.loads(written or "{}")
            return set(found["facts"]) if found.get("digest") == digest else set()
        except (
            ValueError,
            AttributeError,
            LookupError,
            TypeError,
        ):  # somebody else wrote that: the canary has passed nothing
            return set()

    def changed(self, digest: str) -> str | None:
        """Return in a sentence what was put there by hand: an earlier release or another image; None if nothing."""
        self._observe()
        releases, stable = self._ledger.read(), self._seen.get(manifests.STABLE)
        serves = deployments.digest(stable) if stable else None
        back = next((release for release in reversed(releases) if release["digest"] == serves), None)
        if stable is None or back is None:
            return None
        last, undo = releases[-1]["release"], f"`python -m scripts.rollback{self._option} --to {back['release']}`"
        if serves not in (digest, releases[-1]["digest"]):
            return (
                f"release {last} was verified last, but {manifests.STABLE} is of release {back['release']}: it was "
                f"changed by hand, as `kubectl rollout undo` does; {undo} makes that the release, `--to {last}` undoes "
                f"it"
            )
        if runs := deployments.by_hand(stable, self._ledger.version(back["digest"]), MANAGER):
            return (
                f"{manifests.STABLE} runs the image {runs}: it was changed by hand, as `kubectl set image` does; "
                f"{undo} puts back that of release {back['release']}"
            )
        return None

    def pending(self, digest: str) -> bool:
        """Tell whether a version was promoted by a deployment that has not verified it yet, by what was seen last."""
        service, canary = (self._seen.get(name) for name in (manifests.SERVICE, manifests.CANARY))
        said = (service["metadata"].get("annotations") or {}).get(UNVERIFIED) if service else None
        return said == digest or (canary is not None and deployments.digest(canary) == digest)

    @contextmanager
    def addresses(self, digest: str, *, public: bool) -> Iterator[list[str]]:
        """Give the URLs of a version's ready pods: of its canary, or (public) of all that clients' requests reach.

        If the version has no canary but serves as stable, these are the URLs of its stable pods.

        Raises:
            StageError: there is none.
        """
        track = "stable" if public else "canary"
        names = self._ready(track, digest) or ([] if public else self._ready("stable", digest))
        if not names:
            raise StageError(f"no pod of {track} is ready: {self.waiting(digest)}")
        with ExitStack() as stack:
            yield [stack.enter_context(forward(self._api, self.namespace, name, PORT)) for name in names]

    def captured(self, digest: str) -> dict[str, list[Json]]:
        """Return sampled requests to each ready pod of a version with its answers, its canary's too."""
        return {pod: told["captured"] for pod, told in self.told(digest=digest).items()}

    def placed(self, digest: str) -> str | None:
        """Return in a sentence how many of a version's stable pods are on the plan's nodes; None without a plan."""
        return planned.placed(self._plan, self.pods(digest, "stable"))

    def revision(self, digest: str) -> str | None:
        """Return the name of the pod template of a version's stable pods, as their ReplicaSet carries it."""
        names = {pod["metadata"]["labels"].get(REVISION) for pod in self.pods(digest, "stable") if pods.ready(pod)}
        return names.pop() if len(names) == 1 else None

    def busy(self) -> str | None:
        """Return who holds the Lease."""
        return holder(self._api, self.namespace, LEASE)

    def failure(self, digest: str) -> str:
        """Return why a version's pods are not ready, in words, with the last lines of a server that ended."""
        failed = [(pod, reason) for pod in self.pods(digest) if (reason := self._failure(pod))]
        return "; ".join(f"{reason}{self.last_lines(pod)}" for pod, reason in failed) or self.waiting(digest)

    def waiting(self, digest: str) -> str:
        """Return what the pods of a version that are not ready wait for."""
        events, found = self._events(), self.pods(digest, ended=True)
        late = sorted((pod for pod in found if not pods.ready(pod)), key=pods.over)
        said = [pods.progress(pod, manifests.OURS, _about(pod, events)) for pod in late]
        more = [f"{len(said) - _SHOWN} more pods are not ready"] if len(said) > _SHOWN else []
        held = [reason for each in self._deployments(digest) for reason in deployments.held(each)]
        if told := [*dict.fromkeys(held), *said[:_SHOWN], *more]:
            return "; ".join(told)
        return "its pods are ready, others still end" if found else "it has no pods yet"

    def lacking(self, digest: str) -> str | None:
        """Return how many stable pods of a version answer and what the others wait for; None if all answer, or none."""
        stable = self._seen.get(manifests.STABLE)
        if stable is None or deployments.digest(stable) != digest:
            return None
        few, ready = deployments.lacking(stable), len(self._ready("stable", digest))
        if deployments.rolled(stable) is not Phase.SERVING and ready:  # as after `kubectl rollout restart`
            few = f"{ready} pods are ready"
        return f"{few}: {self.waiting(digest)}" if few and ready else None

    def disturbed(self, digest: str) -> str:
        """Return where to look for what undoes a deployment's steps."""
        where = f"kubectl get deployments,services -n {self.namespace} -o yaml --show-managed-fields"
        return (
            f"something undoes it (an operator, a controller, an admission webhook): `{where}`; {self.waiting(digest)}"
        )

    def by_hand(self, release: int) -> str:
        """Return what somebody can do to bring a release back where a rollout could not."""
        look, bring = "`python -m scripts.status`", f"`python -m scripts.rollback{self._option} --to {release}`"
        return f"{bring} brings release {release} back; {look} says what serves until then"

    def last_lines(self, pod: Json) -> str:
        """Return the last lines of a pod's server that ended, as the end of a sentence; nothing without them."""
        for container in pods.ended(pod, manifests.OURS):
            path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}/log"
            query: dict[str, str | int] = {"container": container, "tailLines": 5, "limitBytes": 2000}
            try:
                text = self._api.raw("GET", path, query={**query, "previous": "true"}).decode(errors="replace").strip()
            except StageError:  # the container and its log are gone
                continue
            if text:
                return f"; its last lines: {text}"
        return ""

    def told(self, track: str | None = None, digest: str | None = None) -> dict[str, Json]:
        """Return what the gateways of the ready pods of a track or a version report. A pod may disappear meanwhile."""
        told = {}
        for name in self._ready(track, digest):
            try:
                with forward(self._api, self.namespace, name, GATEWAY) as url:
                    told[name] = ask(url)
            except StageError:
                if name in self._ready(track, digest):
                    raise
        return told

    def watched(self, version: str) -> dict[str, Json]:
        """Return what the gateways before a version (its number) report, by pod: of all pods that Services lead to.

        In a pod of the cluster they are asked at their addresses, else through the API server.

        Raises:
            StageError: one does not answer.
        """
        told = {}
        for name, address in self._endpoints().items():
            direct = nullcontext(f"http://{address}:{GATEWAY}")
            try:
                with direct if inside() else forward(self._api, self.namespace, name, GATEWAY) as url:
                    told[name] = ask(url)
            except StageError:
                if name in self._endpoints():
                    raise
        return {name: said for name, said in told.items() if said["version"] in (None, version)}

    def _endpoints(self) -> dict[str, str]:
        return endpoints.ready(self._api, self.namespace, (manifests.SERVICE, manifests.CANARY))

    def _ready(self, track: str | None, digest: str | None) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.pods(digest, track) if pods.ready(pod)]

    def _canary(self, canary: Json) -> Phase:
        if deployments.rolled(canary) is Phase.SERVING:
            selector = self._seen.get(manifests.SERVICE, {}).get("spec", {}).get("selector", {})
            return Phase.READY if "track" in selector or not selector else Phase.SHARING
        return Phase.FAILED if self.hopeless(deployments.digest(canary)) else Phase.LOADING

    def hopeless(self, digest: str) -> bool:
        """Tell whether a pod of a version's canary will not become ready by itself."""
        return any(self._failure(pod) for pod in self.pods(digest, "canary"))

    def _failure(self, pod: Json) -> str | None:
        """Return why a pod will not become ready; its events are read only if the reason may be there."""
        unknown = pods.untold(pod, manifests.OURS)
        return pods.failure(pod, manifests.OURS, _about(pod, self._events()) if unknown else ())

    def _events(self) -> list[Json]:
        """Return the namespace's events, the newest last."""
        found: list[Json] = self._api.get(f"/api/v1/namespaces/{self.namespace}/events").get("items", [])
        return sorted(found, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")

    def _deployments(self, digest: str) -> list[Json]:
        """Return which Deployments are of a version, by what was seen last."""
        found = [self._seen[name] for name in (manifests.CANARY, manifests.STABLE) if name in self._seen]
        return [each for each in found if deployments.digest(each) == digest]

    def pods(self, digest: str | None, track: str | None = None, *, ended: bool = False) -> list[Json]:
        """Return the pods of a version and of a track (None: any); with `ended` also those that nodes gave up."""
        labels = "app.kubernetes.io/name=model" + (f",track={track}" if track else "")
        found = self._api.get(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector=labels).get("items", [])
        there = [pod for pod in found if "deletionTimestamp" not in pod["metadata"] and (ended or not pods.over(pod))]
        return [pod for pod in there if digest in (None, pod["metadata"].get("annotations", {}).get(DIGEST))]

    def _observe(self) -> None:
        self._seen = {}
        for name in (manifests.STABLE, manifests.CANARY, manifests.SERVICE):
            try:
                found = self._api.get(self._path(name))
            except Missing:
                continue
            if "deletionTimestamp" not in found["metadata"]:  # what is being deleted counts as gone
                self._seen[name] = found

    def _path(self, name: str, kind: str = "") -> str:
        kind = kind or _KINDS.get(name, "Deployment")
        name = manifests.STABLE if name == manifests.AUTOSCALER else name
        group = _GROUPS.get(kind, "/api/v1")
        return f"{group}/namespaces/{self.namespace}/{kind.lower()}s/{name}"


def _about(pod: Json, events: list[Json]) -> list[Json]:
    return [event for event in events if event["involvedObject"].get("name") == pod["metadata"]["name"]]
