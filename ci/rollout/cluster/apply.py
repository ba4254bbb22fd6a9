"""What a rollout changes: a stable Deployment, a canary beside it, and whether the Service includes the canary.

Whatever is applied, deleted, or noted on a canary carries the resourceVersion that the decision was based on.
"""

import copy
import difflib
import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import yaml

from ci.errors import StageError
from ci.kube.api import APPLY, MERGE, ApiServer, Conflict, Foreign, Missing
from ci.kube.lease import Lease, Lost
from ci.placement.peers import REVISION
from ci.releases.cluster import ClusterLedger
from ci.releases.version import Version
from ci.rollout.cluster import analyse, applied, deployments, manifests, planned
from ci.rollout.cluster.applied import DIGEST
from ci.rollout.cluster.observe import MANAGER, PASSED, UNVERIFIED, Json, Namespace
from ci.rollout.cluster.planned import Planned
from ci.settings import Settings

TERM = "model-serving/term"
"""Annotation of all that a deployer writes: the term of the Lease that wrote last."""
_NOTHING = "1"
"""A resourceVersion that no object has, as etcd's first write gets 2: an apply that carries it creates or conflicts."""


class Cluster(Namespace):
    """The serving namespace of one cluster, as a rollout changes it: `ci.rollout.where.Shared`.

    Args:
        api: the API server.
        settings: the fork's.
        rendered: what `manifests.render` made of them.
        ledger: the namespace's releases.
        lease: ours; checked before each write. None only looks.
        plan: where the placement's plan wants the pods.
        clock: returns seconds that never go back.
        pause: waits so many seconds between two looks at the traffic.
    """

    def __init__(
        self,
        api: ApiServer,
        settings: Settings,
        rendered: list[Json],
        ledger: ClusterLedger,
        lease: Lease | None = None,
        plan: Planned | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(api, rendered, ledger, plan or Planned(), settings.option)
        self._settings, self._lease, self._clock, self._pause = settings, lease, clock, pause
        self._force = False

    def reserve(self, digest: str, *, force: bool) -> None:
        """Write our term into every object, so that the previous holder of the Lease cannot change any of them.

        With `force` fields that somebody has changed by hand are taken back, also where the version serves already.

        Raises:
            StageError: the plan's nodes are gone, and pods may go nowhere else; or no release can be recorded.
        """
        self._ledger.require_room()
        self._observe()
        pod = _named(self._rendered, manifests.STABLE)["spec"]["template"]["spec"]
        if warning := planned.unusable(self._api, self._plan, pod):
            print(f"warning: {warning}", file=sys.stderr)
        term = {"metadata": {"annotations": {TERM: str(self._lease.term if self._lease else 0)}}}
        for name in list(self._seen):
            self._checked()
            self._seen[name] = self._api.ask("PATCH", self._path(name), term, kind=MERGE)
        self._force = force
        self._scale()
        if force and manifests.STABLE in self._seen and deployments.digest(self._seen[manifests.STABLE]) == digest:
            self.promote(digest)

    def rescale(self) -> str | None:
        """Set how many pods stable has at least where the settings alone have changed, and return that in a sentence.

        Raises:
            StageError: somebody else has set it to another number.
        """
        self._see_autoscaler()
        before = self._seen.get(manifests.AUTOSCALER, {}).get("spec", {}).get("minReplicas")
        if before == (wanted := self._settings.serving.replicas):
            return None
        self._scale()
        return f"{manifests.STABLE} has at least {wanted} pods now, {before or 'no number of'} before"

    def _see_autoscaler(self) -> None:
        self._seen.pop(manifests.AUTOSCALER, None)
        with suppress(Missing):
            self._seen[manifests.AUTOSCALER] = self._api.get(self._path(manifests.AUTOSCALER))

    def _scale(self) -> None:
        """Set how many pods stable has at least, before a new version is started.

        Raises:
            StageError: somebody else has set it to another number.
        """
        self._see_autoscaler()
        try:
            self._apply(_named(self._rendered, manifests.AUTOSCALER))
        except Foreign as error:
            remove = f"`kubectl delete hpa {manifests.STABLE} -n {self.namespace}`"
            raise StageError(
                f"{error}; serving.replicas is {self._settings.serving.replicas}: {remove} lets a rollout set it"
            ) from None

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
        """Watch the canary's traffic beside the stable version's until it can be judged."""
        return analyse.watch(self, digest, self._settings.rollout.analysis, tell, self._clock, self._pause)

    def promote(self, digest: str) -> None:
        """Let the stable Deployment roll to a version, none of its pods unavailable at any time."""
        objects, last = self._objects(digest), self._ledger.last()
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
        last = self._ledger.last()
        path = f"/apis/apps/v1/namespaces/{self.namespace}/replicasets"
        selector = f"app.kubernetes.io/name=model,track=stable,{REVISION}={last.get('revision') if last else ''}"
        found = self._api.get(path, labelSelector=selector).get("items", [])
        if manifests.STABLE not in self._seen or len(found) != 1:
            self.promote(digest)
            return
        template = copy.deepcopy(found[0]["spec"]["template"])
        del template["metadata"]["labels"][REVISION]
        stable = _named(self._objects(digest), manifests.STABLE)
        stable["spec"]["template"] = template
        try:
            self._apply(stable, back=True)
            self._mark(None)
        except Foreign:  # others had set fields of that template, and have changed them since
            self.promote(digest)
        if manifests.SERVICE not in self._seen:  # somebody has deleted it
            self._apply(_named(self._rendered, manifests.SERVICE))

    def verified(self, digest: str) -> None:
        """Take away the mark that a version is not verified yet: from now on it must be in the record."""
        self._observe()
        if (stable := self._seen.get(manifests.STABLE)) and deployments.digest(stable) == digest:
            self._mark(None)

    def note(self, digest: str, fact: str) -> None:
        """Write down what a canary has passed, so that a deployer that is killed need not repeat it."""
        if self._seen.get(manifests.CANARY) and deployments.digest(self._seen[manifests.CANARY]) == digest:
            self._checked()
            canary = self._seen[manifests.CANARY]["metadata"]
            facts = json.dumps({"digest": digest, "facts": sorted(self.passed(digest) | {fact})})
            body = {"metadata": {"annotations": {PASSED: facts}, "resourceVersion": canary["resourceVersion"]}}
            self._api.ask("PATCH", self._path(manifests.CANARY), body, kind=MERGE)

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
        except StageError as error:  # the canary is deleted next, and then takes no requests either
            problem = error
        did = self._delete_canary()
        if problem:
            raise problem
        return did

    def difference(self, version: Version) -> str:
        """Return as a diff what the API server would make of a version's manifests; nothing is changed (dry run)."""
        self._observe()
        lines: list[str] = []
        for wanted in self._put(version):
            name, kind = manifests.key(wanted), wanted["kind"]
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

    def _mark(self, digest: str | None) -> None:
        """Mark a version as not verified yet; None takes the mark away."""
        service = self._seen.get(manifests.SERVICE)
        if service is None or (service["metadata"].get("annotations") or {}).get(UNVERIFIED) == digest:
            return
        self._checked()
        version = service["metadata"]["resourceVersion"]
        body = {"metadata": {"annotations": {UNVERIFIED: digest}, "resourceVersion": version}}
        self._seen[manifests.SERVICE] = self._api.ask("PATCH", self._path(manifests.SERVICE), body, kind=MERGE)

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
        """Create the configuration that pods mount. Its name holds its digest, so an existing one is equal."""
        for wanted in (each for each in objects if each["kind"] == "ConfigMap"):
            self._checked()
            with suppress(Conflict):
                self._api.ask("POST", self._path("", wanted["kind"]).rstrip("/"), wanted)

    def _apply(self, wanted: Json, *, back: bool = False) -> None:
        """Apply an object if nobody has changed it since it was seen, and compare the answer with what was applied.

        A field that stays though it was left out is an error. On the way back to a release (`back`) it is a warning,
        because serving again matters more.

        Raises:
            Conflict: it is not.
            StageError: it is not as it was meant since; names the fields and who owns them.
            Foreign: another manager has given a field of ours another value, and nobody said that it is to be forced.
            Lost: the Lease is no longer ours.
        """
        self._checked()
        name = manifests.key(wanted)
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

    def _objects(self, digest: str) -> list[Json]:
        return self._put(self._ledger.version(digest))

    def _put(self, version: Version) -> list[Json]:
        """Return what `k8s/` says, with a version in it."""
        objects = copy.deepcopy(self._rendered)
        manifests.put(objects, self._settings, version.number, manifests.image(version), self._plan.fields)
        for each in objects:
            if each["kind"] == "Deployment":
                each["spec"]["template"]["metadata"].setdefault("annotations", {})[DIGEST] = version.digest
        return objects


def _declared(found: Json) -> Json:
    """Return an object without what the API server keeps of it."""
    kept = {"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"}
    metadata = {key: value for key, value in found["metadata"].items() if key not in kept}
    return {**{key: value for key, value in found.items() if key != "status"}, "metadata": metadata}


def _named(objects: list[Json], name: str) -> Json:
    [found] = [each for each in objects if manifests.key(each) == name]
    return copy.deepcopy(found)
