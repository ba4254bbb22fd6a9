"""A cluster for rollouts without one: a small API server, Deployments that roll at once, servers that answer."""

import copy
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

from ci.kube.api import ApiServer
from ci.kube.lease import Lease
from ci.releases.cluster import NAME, ClusterLedger
from ci.rollout.cluster import manifests, observe
from ci.rollout.cluster.applied import DIGEST
from ci.rollout.cluster.apply import Cluster
from ci.rollout.place import Place
from ci.rollout.rollout import Rollout
from ci.settings import Settings
from ci.settings.building import Model
from ci.settings.cluster import Analysis
from ci.settings.cluster import Rollout as RolloutSettings
from tests import pods
from tests.ci import apiservers
from tests.ci.rollout import journals

NAMESPACE = "model-serving"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
STABLE, CANARY = f"{DEPLOYMENTS}/{manifests.STABLE}", f"{DEPLOYMENTS}/{manifests.CANARY}"
AUTOSCALER = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers/{manifests.STABLE}"
SERVICE = f"/api/v1/namespaces/{NAMESPACE}/services/{manifests.SERVICE}"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
REPLICASETS = f"/apis/apps/v1/namespaces/{NAMESPACE}/replicasets"
CONFIGMAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
Json = dict[str, Any]


def settings(**rollout: Any) -> Settings:
    """Settings of a fork with short waits."""
    watch = Analysis(window=1.0, timeout=5.0, min_predictions=10)
    return Settings(
        schema_version=1,
        as_of=date(2013, 4, 1),
        model=Model(name="light"),
        rollout=RolloutSettings(startup_timeout=rollout.pop("startup_timeout", 2.0), analysis=watch, **rollout),
    )


def rendered() -> list[Json]:
    """What `k8s/server` holds, without Kustomize: Deployments of its pod, Service, autoscaler, a configuration."""
    folder = pods.REPOSITORY / "k8s/server"
    pod = yaml.safe_load((folder / "pod/deployment.yaml").read_text())
    found = []
    for track in ("stable", "canary"):
        each = copy.deepcopy(pod)
        each["metadata"] |= {"name": f"model-{track}", "namespace": NAMESPACE}
        each["metadata"]["labels"]["track"] = each["spec"]["selector"]["matchLabels"]["track"] = track
        each["spec"]["template"]["metadata"]["labels"]["track"] = track
        found.append(each)
    found[1]["spec"]["replicas"] = 1
    scaler, service = (yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in ("autoscaler", "service"))
    service["metadata"]["namespace"] = scaler["metadata"]["namespace"] = NAMESPACE
    scaler["spec"]["minReplicas"] = 3
    metadata = {"name": "serving-1", "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}},
        *found,
        scaler,
        service,
    ]


def digest(letter: str) -> str:
    """The digest of an image from one hexadecimal digit."""
    return f"sha256:{letter * 64}"


class World:
    """The cluster, seen by those who test: a store, and what its controllers and nodes do.

    Attributes:
        loads: tells whether a pod of a Deployment becomes ready.
        after: called with the path of each object that was written.
    """

    def __init__(self, store: apiservers.Store, api: ApiServer) -> None:
        self.store, self.api = store, api
        self.loads: Callable[[Json], bool] = lambda _: True
        self.after: Callable[[str], None] = lambda _: None
        self.settings, self.rendered = settings(), rendered()
        self.history = ClusterLedger(api, NAMESPACE)
        write = store.write

        def write_and_roll(path: str, body: Json) -> tuple[int, Json]:
            status, answer = write(path, body)
            if body.get("kind") == "Deployment":
                self.roll(path)
            self.after(path)
            return status, answer

        store.write = write_and_roll  # type: ignore[method-assign]
        api.ask("POST", CONFIGMAPS, {"metadata": {"name": NAME}})
        api.ask(
            "POST", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases", {"metadata": {"name": "rollout"}}
        )

    def roll(self, path: str) -> None:
        """Do what the Deployment's controller does, at once: pods of its template, and its status."""
        found = self.store.objects[path]
        spec, name = found["spec"], found["metadata"]["name"]
        if name == manifests.STABLE:
            spec.setdefault("replicas", self.store.objects[AUTOSCALER]["spec"]["minReplicas"])
        template, hashed = spec["template"], f"h{abs(hash(json.dumps(spec['template'], sort_keys=True))) % 10**8}"
        labels = {**template["metadata"]["labels"], "pod-template-hash": hashed}
        ready = self.loads(found)
        metadata = {**copy.deepcopy(template["metadata"]), "labels": labels}
        replicaset = {"metadata": {"name": f"{name}-{hashed}", "labels": labels}}
        held = {"metadata": metadata, "spec": copy.deepcopy(template["spec"])}
        self.store.objects[f"{REPLICASETS}/{name}-{hashed}"] = {**replicaset, "spec": {"template": held}}
        self.remove_pods(name)
        for number in range(spec["replicas"]):
            self.add_pod(f"{name}-{hashed}-{number}", template, labels, ready=ready)
        counts = {"updatedReplicas": spec["replicas"], "replicas": spec["replicas"]}
        reason = "NewReplicaSetAvailable" if ready else "ReplicaSetUpdated"
        found["status"] = {
            "observedGeneration": found["metadata"]["generation"],
            **counts,
            "availableReplicas": spec["replicas"] * ready,
            "conditions": [{"type": "Progressing", "status": "True", "reason": reason}],
        }

    def remove_pods(self, deployment: str) -> None:
        """End the pods of a Deployment."""
        for path in [p for p in self.store.objects if p.startswith(f"{PODS}/{deployment}-")]:
            del self.store.objects[path]

    def add_pod(self, name: str, template: Json, labels: Json, *, ready: bool = True, **status: Any) -> None:
        """Add a pod of a template."""
        conditions = [{"type": "Ready", "status": str(ready)}]
        containers = [
            {"name": each["name"], "restartCount": 0, "state": {"running": {}}}
            for each in template["spec"]["containers"]
        ]
        annotations = template["metadata"].get("annotations", {})
        self.store.objects[f"{PODS}/{name}"] = {
            "metadata": {"name": name, "uid": name, "labels": labels, "annotations": annotations},
            "spec": template["spec"],
            "status": {"phase": "Running", "conditions": conditions, "containerStatuses": containers, **status},
        }

    def package(self, letter: str, **image: str) -> str:
        """Keep a version's evidence as a deployment does, and return its digest."""
        found = {"reference": f"registry.example/light:{letter}", "base": "a server", "digest": digest(letter), **image}
        manifest = {
            "model": "light",
            "version": str(int(letter, 16)),
            "as_of": "2013-04-01",
            "image": found,
            "signature": {"inputs": {"x": "DT_FLOAT"}, "output": "y"},
            "digests": {},
        }
        golden = {"instances": [{"x": 1.0}], "predictions": [2.0]}
        self.history.keep(digest(letter), {"manifest.json": json.dumps(manifest), "golden.json": json.dumps(golden)})
        return digest(letter)

    def where(self, lease: Lease | None = None, **options: Any) -> Cluster:
        """A deployer's view; it writes if it holds the Lease."""
        return Cluster(self.api, self.settings, self.rendered, self.history, lease, pause=lambda _: None, **options)

    def lease(self, name: str = "one", **options: Any) -> Lease:
        """A deployer's Lease."""
        return Lease(self.api, NAMESPACE, "rollout", name, **options)

    def rollout(
        self,
        letter: str,
        *,
        trusted: bool = False,
        where: Cluster | None = None,
        rescore: Callable[[], Json] = dict,
    ) -> None:
        """Roll a version out and record it."""
        with self.lease() as lease:
            place = where or self.where(lease)
            place._lease = lease  # of a view that was made before
            place.interval = 0.01

            def record() -> None:
                place.verified(digest(letter))
                release = journals.release(letter, version=str(int(letter, 16)))
                self.history.add({**release, "revision": place.revision(digest(letter))})

            Rollout(
                where=place,
                digest=digest(letter),
                ledger=self.history,
                record=record,
                settings=self.settings.rollout,
                clock=lambda: datetime(2013, 4, 1, tzinfo=UTC),
                trusted=trusted,
                rescore=rescore,
            ).run()

    def released(self, *letters: str) -> None:
        """Release some versions."""
        for letter in letters:
            self.package(letter)
            self.rollout(letter, trusted=True)


def place(world: World, where: Cluster | None = None) -> Place:
    """The place of a cluster, as commands see it."""
    return Place(
        "namespace models",
        where or world.where(),
        world.history,
        lambda _: None,
        lambda *_: None,
        world.history.add,
        "mend it",
    )


@contextmanager
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A cluster for the block; port-forwards lead to one server that answers for every pod."""
    counted: Counter[str] = Counter()
    with apiservers.serving() as (store, api, _), _pod(counted) as url:
        found = World(store, api)

        @contextmanager
        def forward(_: ApiServer, __: str, pod: str, port: int) -> Iterator[str]:
            there = store.objects[f"{PODS}/{pod}"]["metadata"]
            version = int(there["annotations"][DIGEST].removeprefix("sha256:")[0], 16)
            yield f"{url}/{there['labels']['track']}/{pod}/{version}/{port}"

        monkeypatch.setattr(observe, "forward", forward)
        monkeypatch.setattr(time, "sleep", lambda _, sleep=time.sleep: sleep(0.001))
        yield found


@contextmanager
def _pod(counted: Counter[str]) -> Iterator[str]:
    """Serve what every pod answers: status, metadata, predictions, and what its gateway has counted since."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path
            signature = {"inputs": {"x": {"dtype": "DT_FLOAT"}}, "outputs": {"y": {"dtype": "DT_FLOAT"}}}
            if path.endswith("/metadata"):
                answer: Any = {"metadata": {"signature_def": {"signature_def": {"serving_default": signature}}}}
            elif path.endswith(":predict"):
                answer = {"predictions": [2.0]}
            elif path.endswith("/traffic"):
                counted[path.split("/")[2]] += 600
                now = counted[path.split("/")[2]]
                recent = [{"number": n, "seconds": 0.01 + n % 10 / 1000} for n in range(now - 599, now + 1)]
                answer = {"requests": now, "errors": 0, "refused": 0, "recent": recent, "version": path.split("/")[3]}
            elif path.endswith("/captured"):
                now = counted[path.split("/")[2]]
                said = json.dumps({"predictions": [n / 30 for n in range(30)]})
                answer = [{"number": now, "response": said}]
            else:
                answer = {"model_version_status": [{"state": "AVAILABLE"}]}
            text = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET  # noqa: N815 - http.server's name

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
