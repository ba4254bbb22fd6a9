"""Serving on a cluster: a stable Deployment, a canary beside it, and one Service that includes the canary or not.

Everything that a rollout knows is in the cluster: the digest that a Deployment serves in its template's annotation, so
that `kubectl rollout undo` brings it back too; what a canary has passed in the canary's own annotations; releases in
ConfigMaps. Whatever is applied, deleted, or noted on a canary carries the resourceVersion that this was decided on.
"""

import copy
import difflib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import yaml

from ci.capture.gateways import GATEWAY, Meter, ask
from ci.errors import StageError
from ci.kube.api import APPLY, MERGE, ApiServer, Conflict, Foreign, Missing
from ci.kube.forward import forward
from ci.kube.lease import Lease, Lost, holder
from ci.releases.cluster import History
from ci.results.package import MANIFEST
from ci.rollout.analysis import analyse, as_json, verdict
from ci.rollout.cluster import applied, deployments, manifests, planned, pods
from ci.rollout.cluster.applied import DIGEST
from ci.rollout.cluster.deployments import digest as _digest
from ci.rollout.decision import Phase
from ci.settings import Settings

MANAGER = "deployer"
PASSED = "model-serving/passed"
"""Annotation of the canary: which digest has passed what, as JSON."""
UNVERIFIED = "model-serving/unverified"
"""Annotation of the Service: the digest that stable was given and that is not verified yet, until it is recorded.

Not of stable: a ReplicaSet keeps its Deployment's annotations, and `kubectl rollout undo` would bring it back.
"""
TERM = "model-serving/term"
"""Annotation of all that a deployer writes: the term of the Lease that wrote last."""
HASH = "pod-template-hash"
"""Label that Kubernetes gives a ReplicaSet and its pods, after the pod template."""
LEASE = "rollout"
_SHOWN = 3
"""Pods that are not ready are described up to so many; the others are counted."""
_NOTHING = "1"
"""A resourceVersion that no object has, as etcd's first write gets 2: an apply that carries it creates or conflicts."""
PORT = 8501
Json = dict[str, Any]


class Cluster:
    """The serving namespace of one cluster, as `ci.rollout.rollout.Where`.

    Args:
        api: the API server.
        settings: the fork's.
        rendered: what `manifests.render` made of them.
        history: the namespace's releases.
        lease: ours; checked before each write. None only looks.
        advice: pod fields of the placement's plan.
        clock: returns seconds that never go back.
        pause: waits so many seconds between two looks at the traffic.
    """

    shares = True
    interval = 1.0

    def __init__(
        self,
        api: ApiServer,
        settings: Settings,
        rendered: list[Json],
        history: History,
        lease: Lease | None = None,
        advice: Json | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api, self._settings, self._history, self._lease = api, settings, history, lease
        self._advice, self._clock, self._pause = advice, clock, pause
        self._rendered, self.namespace = rendered, manifests.namespace(rendered)
        self._seen: dict[str, Json] = {}
        self._force = False

    # What is there.

    def phases(self) -> dict[str, Phase]:
        """Return what the canary and the stable Deployment do, by digest; what serves as stable counts as that."""
        self._observe()
        found = {}
        if canary := self._seen.get(manifests.CANARY):
            found[_digest(canary)] = self._canary(canary)
        if stable := self._seen.get(manifests.STABLE):
            phase = deployments.rolled(stable)
            reached = manifests.SERVICE in self._seen  # without the Service no client gets there
            found[_digest(stable)] = Phase.READY if phase is Phase.SERVING and not reached else phase
        return found

    def leftover(self, digest: str) -> bool:
        """Tell whether a version serves as stable while its canary still runs, by what was seen last."""
        names = [name for name in (manifests.STABLE, manifests.CANARY) if name in self._seen]
        return len(names) == 2 and all(_digest(self._seen[name]) == digest for name in names)

    def passed(self, digest: str) -> set[str]:
        """Return what a canary of this digest has passed, by what was seen last."""
        canary = self._seen.get(manifests.CANARY)
        written = canary["metadata"].get("annotations", {}).get(PASSED) if canary else None
        try:
            found = json.loads(written or "{}")
            return set(found["facts"]) if found.get("digest") == digest else set()
        except (ValueError, AttributeError, LookupError, TypeError):  # whoever has written that, it passed nothing
            return set()

    def changed(self, digest: str) -> str | None:
        """Return in a sentence that an earlier release, not the one wanted, was put back by hand, or another image."""
        self._observe()
        releases, stable = self._history.read(), self._seen.get(manifests.STABLE)
        serves = _digest(stable) if stable else None
        back = next((release for release in reversed(releases) if release["digest"] == serves), None)
        if stable is None or back is None:
            return None
        last, undo = releases[-1]["release"], f"`python -m scripts.rollback --to {back['release']}`"
        if serves not in (digest, releases[-1]["digest"]):
            return (
                f"release {last} was verified last, but {manifests.STABLE} is of release {back['release']}: it was "
                f"changed by hand, as `kubectl rollout undo` does; {undo} makes that the release, `--to {last}` undoes "
                f"it"
            )
        if runs := deployments.by_hand(stable, self._manifest(back["digest"]), MANAGER):
            return (
                f"{manifests.STABLE} runs the image {runs}: it was changed by hand, as `kubectl set image` does; "
                f"{undo} puts back that of release {back['release']}"
            )
        return None

    def disturbed(self, digest: str) -> str:
        """Return where to look for what undoes a deployment's steps."""
        where = f"kubectl get deployments,services -n {self.namespace} -o yaml --show-managed-fields"
        return (
            f"something undoes it (an operator, a controller, an admission webhook): `{where}`; {self.waiting(digest)}"
        )

    def by_hand(self, release: int) -> str:
        """Return what somebody can do to bring a release back where a rollout could not."""
        look, bring = "`python -m scripts.status`", f"`python -m scripts.rollback --to {release}`"
        return f"{bring} brings release {release} back; {look} says what serves until then"

    def busy(self) -> str | None:
        """Return who holds the Lease."""
        return holder(self._api, self.namespace, LEASE)

    def failure(self, digest: str) -> str:
        """Return why a version's pods are not ready, in words, with the last lines of a server that ended."""
        failed = [(pod, reason) for pod in self._pods(digest) if (reason := self._failure(pod))]
        return "; ".join(f"{reason}{self._last_lines(pod)}" for pod, reason in failed) or self.waiting(digest)

    def _last_lines(self, pod: Json) -> str:
        for container in pods.ended(pod):
            path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}/log"
            query: dict[str, str | int] = {"container": container, "tailLines": 5, "limitBytes": 2000}
            try:
                text = self._api.raw("GET", path, query={**query, "previous": "true"}).decode(errors="replace").strip()
            except StageError:  # the container is gone, and what it said with it: the reason must do
                continue
            if text:
                return f"; its last lines: {text}"
        return ""

    def waiting(self, digest: str) -> str:
        """Return what the pods of a version that are not ready wait for."""
        events, found = self._events(), self._pods(digest, ended=True)
        late = sorted((pod for pod in found if not pods.ready(pod)), key=pods.over)
        said = [pods.progress(pod, _about(pod, events)) for pod in late]
        more = [f"{len(said) - _SHOWN} more pods are not ready"] if len(said) > _SHOWN else []
        held = [reason for each in self._deployments(digest) for reason in deployments.held(each)]
        if told := [*dict.fromkeys(held), *said[:_SHOWN], *more]:
            return "; ".join(told)
        return "its pods are ready, others still end" if found else "it has no pods yet"

    def lacking(self, digest: str) -> str | None:
        """Return how many pods of a version answer as stable and what others wait for; None if all do, or none."""
        stable = self._seen.get(manifests.STABLE)
        if stable is None or _digest(stable) != digest:
            return None
        few, ready = deployments.lacking(stable), len(self._ready("stable", digest))
        if deployments.rolled(stable) is not Phase.SERVING and ready:  # as after `kubectl rollout restart`
            few = f"{ready} pods are ready"
        return f"{few}: {self.waiting(digest)}" if few and ready else None

    def pending(self, digest: str) -> bool:
        """Tell whether a version was promoted by a deployment that has not verified it yet, by what was seen last."""
        service, canary = (self._seen.get(name) for name in (manifests.SERVICE, manifests.CANARY))
        said = (service["metadata"].get("annotations") or {}).get(UNVERIFIED) if service else None
        return said == digest or (canary is not None and _digest(canary) == digest)

    @contextmanager
    def addresses(self, digest: str, *, public: bool) -> Iterator[list[str]]:
        """Give the URLs of a version's ready pods: of its canary, or (public) of all that clients' requests reach.

        A version without a canary that serves as stable is asked there.

        Raises:
            StageError: there is none.
        """
        track = "stable" if public else "canary"
        names = self._ready(track, digest) or ([] if public else self._ready("stable", digest))
        if not names:
            raise StageError(f"no pod of {track} is ready: {self.waiting(digest)}")
        with ExitStack() as stack:
            yield [stack.enter_context(forward(self._api, self.namespace, name, PORT)) for name in names]

    def difference(self, manifest: Mapping[str, Any]) -> str:
        """Return as a diff what the API server would make of a version's manifests, which it only tries."""
        self._observe()
        lines: list[str] = []
        for wanted in self._put(manifest):
            name, kind = wanted["metadata"]["name"], wanted["kind"]
            path = self._path(name, kind)
            try:
                before = self._seen.get(name) or self._api.get(path)
            except Missing:
                before = {}
            if kind == "ConfigMap":  # created, never changed: its name says what is in it
                after = before or wanted
            else:
                query = {"fieldManager": MANAGER, "dryRun": "All"}
                after = self._api.ask("PATCH", path, wanted, query=query, kind=APPLY)
            old, new = (yaml.safe_dump(_declared(each)).splitlines() if each else [] for each in (before, after))
            lines += difflib.unified_diff(old, new, f"{kind} {name} now", f"{kind} {name} then", lineterm="", n=2)
        return "\n".join(lines)

    # What is done.

    def reserve(self, digest: str, *, force: bool) -> None:
        """Take hold of all that will be written, so that whoever held the Lease before can write nothing any more.

        With `force` fields that somebody has changed by hand are taken back, also where the version serves already.

        Raises:
            StageError: the plan's nodes are gone, and pods may go nowhere else; or no release can be recorded.
        """
        self._history.require_room()
        self._observe()
        pod = _named(self._rendered, manifests.STABLE)["spec"]["template"]["spec"]
        if warning := planned.unusable(self._api, self._advice, pod):
            print(f"warning: {warning}", file=sys.stderr)
        term = {"metadata": {"annotations": {TERM: str(self._lease.term if self._lease else 0)}}}
        for name in list(self._seen):
            self._checked()
            self._seen[name] = self._api.ask("PATCH", self._path(name), term, kind=MERGE)
        self._force = force
        if force and manifests.STABLE in self._seen and _digest(self._seen[manifests.STABLE]) == digest:
            self.promote(digest)

    def start(self, digest: str) -> None:
        """Apply the canary, which takes no traffic, and the configuration that its pods mount."""
        objects = self._objects(digest)
        self._configure(objects)
        if manifests.SERVICE not in self._seen:
            self._apply(_named(objects, manifests.SERVICE))
        self._exclude()
        self._apply(_named(objects, manifests.CANARY))

    def join(self, digest: str) -> None:  # noqa: ARG002 - there is one canary
        """Let the canary take its part of the traffic, one pod of all."""
        service = _named(self._rendered, manifests.SERVICE)
        del service["spec"]["selector"]["track"]
        self._apply(service)

    def analyse(self, digest: str, tell: Callable[[Json], None]) -> Json:
        """Watch the canary's traffic beside the stable version's until it can be judged.

        Args:
            digest: the canary's image.
            tell: gets what was measured so far after each look.

        Raises:
            StageError: it is worse, too little to judge in `rollout.analysis.timeout`, or its pod ended.
        """
        settings, meters = self._settings.rollout.analysis, {"canary": Meter(), "stable": Meter()}
        ran = {pod["metadata"]["uid"]: pods.restarts(pod) for pod in self._pods(digest, "canary")}
        begin = self._clock()
        while True:
            for track, meter in meters.items():
                meter.read(self._told(track))
            if self._hopeless(digest):  # before its failed requests are counted: they are what came of it
                raise StageError(f"the canary does not serve any more: {self.failure(digest)}")
            canary, stable = (meters[track].traffic() for track in ("canary", "stable"))
            measures = analyse(canary, stable, settings)
            word, reason = verdict(measures)
            measured = {"requests": canary.requests, "measures": as_json(measures)}
            tell(measured)
            spent = self._clock() - begin
            if word == "fail":
                raise StageError(f"the canary's traffic is worse than the stable version's: {reason}")
            if word == "pass" and spent >= settings.window:
                return measured
            if spent > settings.timeout:
                raise StageError(f"the canary had too little traffic to be judged in {settings.timeout:g} s: {reason}")
            self._pause(min(2.0, settings.window / 10))
            phase = self.phases().get(digest)
            if manifests.STABLE not in self._seen:
                raise StageError(f"the Deployment {manifests.STABLE} was deleted while the canary was watched")
            if ended := [
                p for p in self._pods(digest, "canary") if pods.restarts(p) > ran.get(p["metadata"]["uid"], 0)
            ]:
                why = f"{pods.last_end(ended[0])}{self._last_lines(ended[0])}"
                raise StageError(f"the canary's server ended while it was watched: {why}")
            if phase is Phase.LOADING:
                return {"interrupted": self.waiting(digest)}
            if phase is not Phase.SHARING:
                raise StageError(f"the canary does not serve any more: {self.failure(digest)}")

    def captured(self, digest: str) -> dict[str, list[Json]]:
        """Return sampled requests to each ready pod of a version with its answers, its canary's too."""
        return {pod: told["captured"] for pod, told in self._told(digest=digest).items()}

    def placed(self, digest: str) -> str | None:
        """Return in a sentence how many of a version's stable pods are on the plan's nodes; None without a plan."""
        return planned.strays(self._api, self._advice, self._pods(digest, "stable"))

    def _told(self, track: str | None = None, digest: str | None = None) -> dict[str, Json]:
        """Return what the gateways of ready pods tell, of a track or of a version; a pod may go while it is asked."""
        told = {}
        for name in self._ready(track, digest):
            try:
                with forward(self._api, self.namespace, name, GATEWAY) as url:
                    told[name] = ask(url)
            except StageError:
                if name in self._ready(track, digest):
                    raise
        return told

    def _ready(self, track: str | None, digest: str | None) -> list[str]:
        return [pod["metadata"]["name"] for pod in self._pods(digest, track) if pods.ready(pod)]

    def promote(self, digest: str) -> None:
        """Let the stable Deployment roll to a version, none of its pods unavailable at any time."""
        objects, last = self._objects(digest), self._history.last()
        self._configure(objects)
        if manifests.SERVICE not in self._seen:  # somebody has deleted it
            self._apply(_named(objects, manifests.SERVICE))
        self._mark(None if last is not None and last["digest"] == digest else digest)
        self._apply(_named(objects, manifests.STABLE))

    def restore(self, digest: str) -> None:
        """Let the stable Deployment roll back to the very pods that the last release was verified with.

        Their template is in the ReplicaSet that the release names. Where that is gone, with a Deployment deleted by
        hand or after many revisions, `k8s/` as it is now has to do.
        """
        last = self._history.last()
        path = f"/apis/apps/v1/namespaces/{self.namespace}/replicasets"
        selector = f"app.kubernetes.io/name=model,track=stable,{HASH}={last.get('revision') if last else ''}"
        found = self._api.get(path, labelSelector=selector).get("items", [])
        if manifests.STABLE not in self._seen or len(found) != 1:
            self.promote(digest)
            return
        template = copy.deepcopy(found[0]["spec"]["template"])
        del template["metadata"]["labels"][HASH]
        stable = _named(self._objects(digest), manifests.STABLE)
        stable["spec"]["template"] = template
        try:
            self._apply(stable, back=True)
            self._mark(None)
        except Foreign:  # of what others had set in that template, and have changed since
            self.promote(digest)
        if manifests.SERVICE not in self._seen:  # somebody has deleted it
            self._apply(_named(self._rendered, manifests.SERVICE))

    def revision(self, digest: str) -> str | None:
        """Return the name of the pod template of a version's stable pods, as their ReplicaSet carries it."""
        names = {pod["metadata"]["labels"].get(HASH) for pod in self._pods(digest, "stable") if pods.ready(pod)}
        return names.pop() if len(names) == 1 else None

    def verified(self, digest: str) -> None:
        """Take away the mark that a version is not verified yet: from now on it must be in the record."""
        self._observe()
        if (stable := self._seen.get(manifests.STABLE)) and _digest(stable) == digest:
            self._mark(None)

    def _mark(self, digest: str | None) -> None:
        """Mark a version as not verified yet, or none."""
        service = self._seen.get(manifests.SERVICE)
        if service is None or (service["metadata"].get("annotations") or {}).get(UNVERIFIED) == digest:
            return
        self._checked()
        version = service["metadata"]["resourceVersion"]
        body = {"metadata": {"annotations": {UNVERIFIED: digest}, "resourceVersion": version}}
        self._seen[manifests.SERVICE] = self._api.ask("PATCH", self._path(manifests.SERVICE), body, kind=MERGE)

    def note(self, digest: str, fact: str) -> None:
        """Write down what a canary has passed, so that a deployer that is killed need not repeat it."""
        if self._seen.get(manifests.CANARY) and _digest(self._seen[manifests.CANARY]) == digest:
            self._checked()
            canary = self._seen[manifests.CANARY]["metadata"]
            facts = json.dumps({"digest": digest, "facts": sorted(self.passed(digest) | {fact})})
            body = {"metadata": {"annotations": {PASSED: facts}, "resourceVersion": canary["resourceVersion"]}}
            self._api.ask("PATCH", self._path(manifests.CANARY), body, kind=MERGE)

    def pause(self, digest: str) -> None:
        """Never asked for: the stable Deployment has one version."""
        raise StageError(f"{digest} serves as stable and cannot be paused")

    def retire(self, digest: str) -> str:  # noqa: ARG002 - only a canary is ever deleted
        """Take the canary out of the traffic and delete it, also where somebody else keeps it in the traffic.

        Raises:
            Foreign, StageError: the Service is not as it was meant.
        """
        problem: StageError | None = None
        try:
            self._exclude()
        except (Conflict, Lost):
            raise
        except StageError as error:  # without its pods it takes no requests either
            problem = error
        did = self._delete_canary()
        if problem:
            raise problem
        return did

    def _delete_canary(self) -> str:
        if manifests.CANARY not in self._seen:
            return "had ended"
        self._checked()
        seen = {key: self._seen[manifests.CANARY]["metadata"][key] for key in ("uid", "resourceVersion")}
        body = {"propagationPolicy": "Background", "preconditions": seen}
        try:
            self._api.ask("DELETE", self._path(manifests.CANARY), body)
        except Missing:
            return "had ended"
        return "ended after its requests"

    def _exclude(self) -> None:
        service = self._seen.get(manifests.SERVICE)
        if service and "track" not in service["spec"]["selector"]:
            self._apply(_named(self._rendered, manifests.SERVICE))

    def _configure(self, objects: list[Json]) -> None:
        """Create the configuration that pods mount: it is named by its digest, so what is there already is the same."""
        for wanted in (each for each in objects if each["kind"] == "ConfigMap"):
            self._checked()
            with suppress(Conflict):
                self._api.ask("POST", self._path("", wanted["kind"]).rstrip("/"), wanted)

    def _apply(self, wanted: Json, *, back: bool = False) -> None:
        """Apply an object, if it is still as it was seen, or still not there, and compare what is there then.

        On the way back to a release, where what serves must be had at any price, a field that stays though it was left
        out is only told.

        Raises:
            Conflict: it is not.
            StageError: it is not as it was meant since; names the fields and who owns them.
            Foreign: another manager has given a field of ours another value, and nobody said that it is to be forced.
            Lost: the Lease is no longer ours.
        """
        self._checked()
        name = wanted["metadata"]["name"]
        seen = self._seen.get(name)
        wanted["metadata"]["resourceVersion"] = seen["metadata"]["resourceVersion"] if seen else _NOTHING
        query = {"fieldManager": MANAGER, "force": str(self._force).lower()}
        there = self._api.ask("PATCH", self._path(name, wanted["kind"]), wanted, query=query, kind=APPLY)
        self._seen[name] = there
        unmet = applied.unmet(wanted, seen, there, MANAGER)
        if not unmet:
            return
        what = f"{wanted['kind']} {name} is not as it was applied: {'; '.join(map(str, unmet))}"
        where = f"`kubectl edit {wanted['kind'].lower()} {name} -n {self.namespace} --show-managed-fields`"
        what += f"; end what writes it, or mend it by hand ({where}), then try again"
        if any(each.decides for each in unmet) or not (back or self._force):
            raise StageError(what)
        print(f"warning: {what}", file=sys.stderr)

    def _checked(self) -> None:
        assert self._lease is not None  # noqa: S101 - without one nothing is written
        self._lease.check()

    def _observe(self) -> None:
        self._seen = {}
        for name in (manifests.STABLE, manifests.CANARY, manifests.SERVICE):
            try:
                found = self._api.get(self._path(name))
            except Missing:
                continue
            if "deletionTimestamp" not in found["metadata"]:  # what is being deleted takes no part in any decision
                self._seen[name] = found

    def _path(self, name: str, kind: str = "") -> str:
        kind = kind or ("Service" if name == manifests.SERVICE else "Deployment")
        group = "/apis/apps/v1" if kind == "Deployment" else "/api/v1"
        return f"{group}/namespaces/{self.namespace}/{kind.lower()}s/{name}"

    def _objects(self, digest: str) -> list[Json]:
        return self._put(self._manifest(digest))

    def _manifest(self, digest: str) -> Json:
        found: Json = MANIFEST.plain(self._history.evidence(digest) / "manifest.json")
        return found

    def _put(self, manifest: Mapping[str, Any]) -> list[Json]:
        """Return what `k8s/` says, with the fields of a version's manifest."""
        objects = copy.deepcopy(self._rendered)
        manifests.put(objects, self._settings, manifest["version"], manifests.image(manifest), self._advice)
        for each in objects:
            if each["kind"] == "Deployment":
                each["spec"]["template"]["metadata"].setdefault("annotations", {})[DIGEST] = manifest["image"]["digest"]
        return objects

    def _canary(self, canary: Json) -> Phase:
        if deployments.rolled(canary) is Phase.SERVING:
            selector = self._seen.get(manifests.SERVICE, {}).get("spec", {}).get("selector", {})
            return Phase.READY if "track" in selector or not selector else Phase.SHARING
        return Phase.FAILED if self._hopeless(_digest(canary)) else Phase.LOADING

    def _hopeless(self, digest: str) -> bool:
        return any(self._failure(pod) for pod in self._pods(digest, "canary"))

    def _failure(self, pod: Json) -> str | None:
        """Return why a pod will not become ready; its events are only asked for where that may depend on them."""
        return pods.failure(pod, _about(pod, self._events()) if pods.untold(pod) else ())

    def _events(self) -> list[Json]:
        """Return the namespace's events, the newest last."""
        found: list[Json] = self._api.get(f"/api/v1/namespaces/{self.namespace}/events").get("items", [])
        return sorted(found, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")

    def _deployments(self, digest: str) -> list[Json]:
        """Return which Deployments are of a version, by what was seen last."""
        found = [self._seen[name] for name in (manifests.CANARY, manifests.STABLE) if name in self._seen]
        return [each for each in found if _digest(each) == digest]

    def _pods(self, digest: str | None, track: str | None = None, *, ended: bool = False) -> list[Json]:
        """Return the pods of a version, of a track; `ended` ones, which their nodes have given up, too."""
        labels = "app.kubernetes.io/name=model" + (f",track={track}" if track else "")
        found = self._api.get(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector=labels).get("items", [])
        there = [pod for pod in found if "deletionTimestamp" not in pod["metadata"] and (ended or not pods.over(pod))]
        return [pod for pod in there if digest in (None, pod["metadata"].get("annotations", {}).get(DIGEST))]


def identity() -> str:
    """Return a name of this process for the Lease: who it is, for people, and unlike any other."""
    return f"{os.environ.get('USER') or 'deployer'}@{os.uname().nodename}-{os.getpid()}-{os.urandom(3).hex()}"


def _declared(found: Json) -> Json:
    """Return an object without what the API server keeps of it."""
    kept = {"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"}
    metadata = {key: value for key, value in found["metadata"].items() if key not in kept}
    return {**{key: value for key, value in found.items() if key != "status"}, "metadata": metadata}


def _about(pod: Json, events: list[Json]) -> list[Json]:
    return [event for event in events if event["involvedObject"].get("name") == pod["metadata"]["name"]]


def _named(objects: list[Json], name: str) -> Json:
    [found] = [each for each in objects if each["metadata"]["name"] == name]
    return copy.deepcopy(found)
