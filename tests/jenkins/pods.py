"""Agents in pods: made of a template as the Kubernetes plugin makes them, and used by `exec` as it uses them."""

import contextlib
import copy
import json
import queue
import secrets
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tests.jenkins.controller import PATIENCE, Aborted, Build, Lost, Trouble

HOME = "/home/jenkins/agent"
ENTERED = 'mkdir -p "$WORKSPACE" && cd "$WORKSPACE" && exec sh -xec "$1" </dev/null'
ENDED = (
    'for each in /proc/[0-9]*; do tr "\\0" "\\n" 2>/dev/null < "$each/environ" | grep -qx "JENKINS_SERVER_COOKIE=$1" '
    '&& kill -TERM "${each#/proc/}"; done; true'
)
"""Ends all processes of a step, which Jenkins knows by a variable of that name."""
Json = dict[str, Any]


def merged(template: Json, name: str, url: str, image: str) -> Json:
    """Return the pod that the Kubernetes plugin makes of a template.

    Args:
        template: the pod's YAML.
        name: of the pod, which is its label too.
        url: of the build.
        image: of a container `jnlp` that names none. The real one starts the agent by itself; ours sleeps, and what the
            agent does is done by `exec`.
    """
    pod = copy.deepcopy(template)
    metadata, spec = pod.setdefault("metadata", {}), pod["spec"]
    run = url.split("/", 3)[3]
    metadata["name"] = name
    metadata.setdefault("labels", {}).update({"jenkins": "slave", "jenkins/label": name.rpartition("-")[0]})
    metadata["labels"]["kubernetes.jenkins.io/controller"] = "rehearsal"
    metadata.setdefault("annotations", {}).update({"buildUrl": url, "runUrl": run})
    spec.setdefault("restartPolicy", "Never")
    spec.setdefault("nodeSelector", {"kubernetes.io/os": "linux"})
    containers = spec["containers"]
    if not any(each["name"] == "jnlp" for each in containers):
        containers.insert(0, {"name": "jnlp"})
    for container in containers:
        mounts = container.setdefault("volumeMounts", [])
        if not any(mount["mountPath"] == HOME for mount in mounts):
            mounts.append({"name": "workspace-volume", "mountPath": HOME})
        if container["name"] == "jnlp":
            container.setdefault("image", image)
            container.setdefault("command", ["sleep", "infinity"])
            container.setdefault("env", []).append({"name": "JENKINS_AGENT_NAME", "value": name})
            container.setdefault("resources", {"requests": {"cpu": "100m", "memory": "256Mi"}})
    spec.setdefault("volumes", []).append({"name": "workspace-volume", "emptyDir": {}})
    return pod


@dataclass
class Cloud:
    """The cluster as the controller sees it: with the rights of its own account.

    Attributes:
        kubeconfig: of the controller's ServiceAccount.
        namespace: where agents live.
        image: what stands in for `jenkins/inbound-agent`; it needs `git`.
    """

    kubeconfig: Path
    namespace: str
    image: str

    def start(self, text: str, said: Json, build: Build, hear: Callable[[str], None]) -> "Pod":
        """Start an agent: a pod that is not ready after `slaveConnectTimeout` is made anew, until the build's end.

        A build that is stopped meanwhile leaves the pod, as Jenkins does.
        """
        cloud = replace(self, namespace=said.get("namespace") or self.namespace)
        job = build.url.split("/")[-3]
        template, limit = yaml.safe_load(text), said.get("slaveConnectTimeout", 1000)
        while True:
            name = f"{job}-{build.number}-{secrets.token_hex(3)}-{secrets.token_hex(3)}"
            made = cloud.kubectl("create", "-f", "-", given=json.dumps(merged(template, name, build.url, self.image)))
            if made.returncode:  # such as one that Pod Security refuses
                raise Aborted(f"the agent could not be made: {made.stderr.strip()}")
            pod = Pod(cloud, name, f"{HOME}/workspace/{job}")
            if pod.ready(limit, hear):
                return pod
            pod.close()

    def kubectl(self, *arguments: Any, given: str | bytes | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the controller; its output is text."""
        text = given.decode() if isinstance(given, bytes) else given
        return subprocess.run(self.command(*arguments), input=text, capture_output=True, text=True, timeout=300)

    def command(self, *arguments: Any) -> list[str]:
        """Return the command line of kubectl as the controller."""
        return ["kubectl", f"--kubeconfig={self.kubeconfig}", "-n", self.namespace, *map(str, arguments)]


@dataclass
class Pod:
    """An agent in a pod."""

    cloud: Cloud
    name: str
    workspace: str

    def ready(self, seconds: float, hear: Callable[[str], None]) -> bool:
        """Wait until all containers run, saying why they do not; tell whether they do in time.

        Raises:
            Aborted: a container cannot be started.
        """
        end, said = time.monotonic() + seconds, ""
        while time.monotonic() < end:
            hear("")
            status = self._found().get("status", {})
            states = status.get("containerStatuses", [])
            if states and all("running" in each["state"] for each in states):
                return True
            waits = [each["state"].get("waiting", {}) for each in states]
            if any(
                each.get("reason") in ("ErrImageNeverPull", "InvalidImageName", "ImagePullBackOff") for each in waits
            ):
                raise Aborted(f"{self.name}: {[each.get('message') for each in waits]}")
            why = [each.get("message", "") for each in status.get("conditions", []) if each["type"] == "PodScheduled"]
            if why and why[0] != said:
                said = why[0]
                hear(f"Still waiting to schedule task: {said}" if said else "")
            time.sleep(0.3)
        return False

    def _found(self) -> Json:
        """Return the pod.

        Raises:
            Lost: it is gone, or has ended.
        """
        got = self.cloud.kubectl("get", "pod", self.name, "-o", "json")
        if got.returncode:
            raise Lost(f"Agent was removed: {got.stderr.strip()}")
        pod: Json = json.loads(got.stdout)
        if "deletionTimestamp" in pod["metadata"]:
            raise Lost("Agent was removed: its pod is being deleted")
        if pod.get("status", {}).get("phase") in ("Failed", "Succeeded"):
            raise Lost(f"Agent was removed: {pod['status'].get('reason') or pod['status']['phase']}")
        return pod

    def _exec(self, container: str, *command: str, stdin: bool = False) -> list[str]:
        return self.cloud.command("exec", *(["-i"] if stdin else []), self.name, "-c", container, "--", *command)

    def _do(self, *command: str, given: bytes | None = None) -> bytes:
        """Run a command in the agent's own container and return its output.

        Raises:
            Lost: the pod is gone.
            Trouble: the command failed.
        """
        line = self._exec("jnlp", *command, stdin=given is not None)
        done = subprocess.run(line, input=given, capture_output=True, timeout=120)
        if done.returncode:
            self._found()
            raise Trouble(f"{command}: {done.stderr.decode().strip()}")
        return done.stdout

    def run(self, script: str, container: str, env: dict[str, str], hear: Callable[[str], None]) -> int:
        """Run a script in a container, and return its exit code."""
        own = {"WORKSPACE": self.workspace, "JENKINS_SERVER_COOKIE": secrets.token_hex(8)}
        variables = [f"{key}={value}" for key, value in {**env, **own}.items()]
        inside = ["env", *variables, "sh", "-c", ENTERED, "sh", script]
        line = self._exec(container, *inside)
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8")
        lines: queue.Queue[str | None] = queue.Queue()

        def read() -> None:
            assert process.stdout
            for each in process.stdout:
                lines.put(each.rstrip("\n"))
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        try:
            while True:
                try:
                    said = lines.get(timeout=1)
                except queue.Empty:
                    hear("")
                    continue
                if said is None:
                    break
                hear(said)
            code = process.wait()
        except Aborted:
            self.cloud.kubectl(
                "exec", self.name, "-c", container, "--", "sh", "-c", ENDED, "sh", own["JENKINS_SERVER_COOKIE"]
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            raise
        finally:
            process.kill()
            process.wait()
        if code:
            self._found()
        return code

    def read(self, file: str) -> bytes | None:
        """Return what is in a file; None if it is not there."""
        path = f"{self.workspace}/{file}"
        said = self._do("sh", "-c", '[ ! -e "$1" ] || { echo there; cat -- "$1"; }', "sh", path)
        return said.partition(b"\n")[2] if said else None

    def write(self, file: str, content: bytes) -> None:
        """Write a file."""
        path = f"{self.workspace}/{file}"
        self._do("sh", "-c", 'mkdir -p -- "$(dirname -- "$1")" && cat > "$1"', "sh", path, given=content)

    def find(self, folder: str) -> list[str]:
        """Return the files below a folder."""
        within = 'cd "$1" && { [ ! -d "$2" ] || find "$2" -type f; }'
        return sorted(self._do("sh", "-c", within, "sh", self.workspace, folder).decode().splitlines())

    def checkout(self, bundle: bytes, commit: str) -> None:
        """Check a commit out, into a workspace that is empty then."""
        steps = (
            'rm -rf "$1" && mkdir -p "$1" && cd "$1" && cat > ../bundle && git init -q && '
            'git fetch -q ../bundle "+refs/heads/*:refs/remotes/origin/*" && git checkout -q -f "$2"; code=$?; '
            "rm -f ../bundle; exit $code"
        )
        self._do("sh", "-c", steps, "sh", self.workspace, commit, given=bundle)

    def close(self) -> None:
        """Delete the pod."""
        self.cloud.kubectl("delete", "pod", self.name, "--ignore-not-found", "--wait=false")
