"""The registry beside a cluster of Kind, set up as https://kind.sigs.k8s.io/docs/user/local-registry/ says.

It is the container `kind-registry`: `localhost:5001` on this machine, `kind-registry:5000` for nodes and pods, plain
HTTP. One that somebody else started under that name is used, and never removed. Nodes also ask it first for images of
Docker Hub, so that what is pushed there under its own name, such as the gateway's, needs no pull from outside.
"""

import json
from collections.abc import Callable, Sequence

from ci import references
from ci.errors import StageError
from ci.run.programs import Done, attempt, last_words, output
from ci.run.state import Note

NAME = "kind-registry"
IMAGE = "registry:3"
PORT = 5001
HOST = f"localhost:{PORT}"
"""The registry's name on this machine; pods may name images by it, as nodes know it too."""
INSIDE = f"{NAME}:5000"
"""The registry's name for nodes and for what runs in pods."""
HOSTS = '[host."http://kind-registry:5000"]\n'
_MIRROR = f'server = "https://registry-1.docker.io"\n{HOSTS}  capabilities = ["pull", "resolve"]\n'
_ANNOUNCED = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "local-registry-hosting", "namespace": "kube-public"},
    "data": {
        "localRegistryHosting.v1": f'host: "{HOST}"\nhelp: "https://kind.sigs.k8s.io/docs/user/local-registry/"\n'
    },
}
_OURS = Note(NAME)


def running() -> bool:
    """Tell whether the registry's container runs."""
    return _state() == "true"


def ours() -> bool:
    """Tell whether the registry was made here, so that it may be removed."""
    return bool(_OURS.text())


def start(say: Callable[[str], None]) -> None:
    """Make sure that the registry runs: start it if it has stopped, make it if there is none.

    Raises:
        StageError: Docker cannot start it, for example because another program has its port.
    """
    state = _state()
    if state == "true":
        return
    if state is not None:
        if attempt("docker", "start", NAME).returncode == 0:
            return
        _require_ours()
        attempt("docker", "rm", "-f", NAME)
    done = _run()
    if _named(done):  # a container that was there all the same, though Docker could not say how it is
        _require_ours()
        attempt("docker", "rm", "-f", NAME)
        done = _run()
    if done.returncode:
        raise StageError(
            f"the registry cannot be started on {HOST}: {last_words(done)}; `make doctor` looks at that port"
        )
    say(f"cluster: registry {NAME} runs on {HOST}")


def _run() -> Done:
    """Make and start the container. If it cannot start, it is removed."""
    known = ours()
    _OURS.write("made by this machine's `make cluster` or `make ci`")
    published = f"127.0.0.1:{PORT}:5000"
    done = attempt("docker", "run", "-d", "--restart=always", "-p", published, "--name", NAME, IMAGE, timeout=600)
    if done.returncode:
        if not _named(done):
            attempt("docker", "rm", "-f", NAME)
        if not known:
            _OURS.remove()
    return done


def _named(done: Done) -> bool:
    """Tell whether a container could not be made because there is one of that name."""
    return done.returncode != 0 and f'"/{NAME}" is already in use' in done.stderr


def _require_ours() -> None:
    if not ours():
        raise StageError(
            f"the container {NAME} does not run, and was not made here: `docker start {NAME}`, or `docker rm {NAME}`, "
            "and a new one is made"
        )


def _state() -> str | None:
    """Return `true` if the container runs, `false` if it has stopped, None if there is none."""
    done = attempt("docker", "inspect", "-f", "{{.State.Running}}", NAME)
    return done.stdout.strip() if done.returncode == 0 else None


def connect(nodes: Sequence[str], context: str) -> None:
    """Let the nodes of a cluster, and its pods, reach the registry, and announce it in the cluster.

    Args:
        nodes: containers of the nodes.
        context: of the cluster.

    Raises:
        StageError: a node does not take its configuration.
    """
    for node in nodes:
        for name, hosts in ((HOST, HOSTS), (INSIDE, HOSTS), (references.DOCKER_HUB, _MIRROR)):
            folder = f"/etc/containerd/certs.d/{name}"
            output("docker", "exec", node, "mkdir", "-p", folder)
            output("docker", "exec", "-i", node, "cp", "/dev/stdin", f"{folder}/hosts.toml", given=hosts)
    join()
    announce = ("apply", "--server-side", "--force-conflicts", "-f", "-")
    output("kubectl", "--context", context, *announce, given=json.dumps(_ANNOUNCED))


def mirror(nodes: Sequence[str], host: str) -> None:
    """Let nodes ask the registry first for the images of another one, and that one for what it does not have.

    Args:
        nodes: containers of the nodes.
        host: of the other registry.
    """
    said = _MIRROR.replace("registry-1.docker.io", host)
    for node in nodes:
        folder = f"/etc/containerd/certs.d/{host}"
        output("docker", "exec", node, "mkdir", "-p", folder)
        output("docker", "exec", "-i", node, "cp", "/dev/stdin", f"{folder}/hosts.toml", given=said)


def join() -> None:
    """Connect the registry to the network of Kind's nodes, if it is not yet."""
    networks = attempt("docker", "inspect", "-f", "{{json .NetworkSettings.Networks.kind}}", NAME)
    if networks.stdout.strip() in ("", "null", "<no value>"):
        output("docker", "network", "connect", "kind", NAME)


def remove(say: Callable[[str], None]) -> None:
    """Remove the registry with all its images, if it is ours."""
    if not ours():
        if _state() is not None:
            say(f"cluster: the registry {NAME} was not made here, and stays")
        return
    output("docker", "rm", "-f", NAME)
    say(f"cluster: registry {NAME} removed, and the images in it")
    _OURS.remove()
