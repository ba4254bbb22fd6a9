"""What the tests on a cluster share: a program's output, waiting, and acting as one of the accounts."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.pods import REPOSITORY

PIPELINE, SERVING = "model-pipeline", "model-serving"


def kubectl(*arguments: Any, given: str | None = None, account: str | None = None) -> str:
    """Run kubectl, as a ServiceAccount of the pipeline if one is named, and return its output."""
    done = attempt(*arguments, given=given, account=account)
    assert done.returncode == 0, f"kubectl {' '.join(map(str, arguments))}: {done.stderr}"
    return done.stdout


def attempt(*arguments: Any, given: str | None = None, account: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run kubectl, which may fail."""
    acting = [f"--as={user(account)}"] if account else []
    return subprocess.run(["kubectl", *acting, *arguments], input=given, capture_output=True, text=True, timeout=300)


def forget_rollouts() -> None:
    """Delete what rollouts have made and written, so that none of a test's before is seen."""
    kubectl("delete", "deployments,services", "--all", "-n", SERVING)
    until(lambda: "the pods are gone", lambda: not kubectl("get", "pods", "-n", SERVING, "-o", "name"), 120)
    kubectl("delete", "configmap", "rollout-history", "-n", SERVING)
    kubectl("apply", "--server-side", "-k", REPOSITORY / "k8s/overlays/kind")


def user(account: str) -> str:
    """Return how the API server calls a ServiceAccount of the pipeline."""
    return f"system:serviceaccount:{PIPELINE}:{account}"


def until(what: Callable[[], str], holds: Callable[[], Any], seconds: float) -> Any:
    """Wait until `holds()` gives something true, and return it."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, f"after {seconds} s still not: {what()}"
        time.sleep(1)
    return found


def restart_api_server(away: float) -> list[subprocess.Popen[bytes]]:
    """Kill the API server of the cluster on this machine, and wait until it answers again.

    On Kind the kubelet starts it again. Where nobody does within some seconds, it is started here as it was.

    Args:
        away: those seconds.

    Returns:
        what was started here, and is to be ended here: the cluster does not know of it.
    """
    [killed] = _api_servers()
    command = Path(f"/proc/{killed}/cmdline").read_bytes().split(b"\0")[:-1]
    os.kill(killed, signal.SIGKILL)
    time.sleep(away)
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [] if _api_servers() else [subprocess.Popen(command, start_new_session=True, **quiet)]
    until(lambda: "the API server answers", lambda: attempt("get", "--raw", "/readyz").stdout == "ok", 120)
    return started


def _api_servers() -> list[int]:
    """Return the processes that are API servers, without those that only wait to be reaped."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):  # it has just ended
            if path.read_text() == "kube-apiserver\n" and path.with_name("cmdline").read_bytes():
                found.append(int(path.parent.name))
    return found


@contextmanager
def kwok(log: Path) -> Iterator[None]:
    """Have kwok play the kubelet of all nodes with the annotation `kwok.x-k8s.io/node: fake`."""
    with log.open("w") as file:
        process = subprocess.Popen(
            ["kwok", f"--config={Path(__file__).with_name('kwok.yaml')}", f"--kubeconfig={os.environ['KUBECONFIG']}",
             "--manage-all-nodes=false", "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
             "--node-lease-duration-seconds=120"],
            stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            process.wait()
