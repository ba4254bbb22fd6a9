"""Rollouts on a cluster under load, and what the gateway costs: requests lost, seconds, latency, throughput.

    python -m benchmarks.rollout [--quick] [--drills] [--json FILE]

Makes a cluster with `kind` if there is none of the drills' name, deploys light models (tests/cluster/drills), and asks
them without pause, half of the requests on new connections, none twice. The gateway is measured on this machine, in
front of the stand-in with a real model and without, in turn, by `wrk`. `--drills` runs every drill of
tests/cluster/test_rollout.py five times. Needs kind, kubectl, kwok, docker, skopeo, nginx with njs, and wrk. `--quick`
leaves the rollback out and asks for fewer requests.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import requests

from benchmarks.lines import Line, arguments, finish

PROGRAMS = ("kind", "kubectl", "docker", "skopeo", "nginx", "wrk")
REQUESTS = 10_000
TIMES = 5
ROW = {"x": 1.0, "carrier": "UA", "hour": 3}
"""What the model of `tests/saved_models.py` takes."""


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table and return the exit code."""
    parser = arguments("rollout", __doc__)
    parser.add_argument("--drills", action="store_true", help="run every drill five times too")
    options = parser.parse_args(argv)
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        print(f"not on the PATH: {', '.join(missing)}", file=sys.stderr)
        return 2
    lines = [*gateway(seconds=3 if options.quick else 10), *rollouts(quick=options.quick)]
    if options.drills:
        lines += drills()
    return finish(lines, options.json)


def rollouts(*, quick: bool) -> Iterator[Line]:
    """Promote a version, apply it again and roll it back, under load."""
    from tests.cluster.drills import harness

    with _cluster() as cluster, tempfile.TemporaryDirectory() as folder, harness.fork(cluster, Path(folder)) as fork:
        fork.package({"bias": 1.0})
        _expect(fork.run("deploy").code == 0, "the first deployment")
        fork.package({"bias": 2.0})
        yield from _under_load(fork, "promotion", "deploy", 2_000 if quick else REQUESTS)
        steps = [json.loads(line) for line in harness.STEPS.read_text().splitlines()]
        window = next(step["seconds"] for step in steps if step["step"] == "analyse")
        begin = time.monotonic()
        yield Line(
            "promotion: seconds besides the analysis",
            _duration(steps) - window,
            "<= 30",
            _duration(steps) - window <= 30,
        )
        before = harness.written()
        _expect(fork.run("deploy").code == 0, "applying again")
        changed = len(set(harness.written().items()) ^ set(before.items()))
        yield Line("applying again: objects changed", changed, "<= 0", changed == 0)
        yield Line("applying again: seconds", time.monotonic() - begin, "printed", True)
        if not quick:
            yield from _under_load(fork, "rollback", "rollback", REQUESTS)


def _under_load(fork: Any, name: str, command: str, requests: int) -> Iterator[Line]:
    """Measure latency at rest for some seconds, then during a command, and on until enough was asked."""
    from tests.cluster.drills import harness

    with harness.Load(harness.url(), clients=8, rest=0.0) as load:
        time.sleep(8)
        begin, rest = time.monotonic(), len(load.answers)
        _expect(fork.run(command).code == 0, name)
        end = time.monotonic()
        while len(load.answers) - rest < requests:
            time.sleep(0.2)
    answers = load.answers
    for when, part in (
        ("at rest", [each for each in answers if each[0] < begin]),
        ("during", [each for each in answers if begin <= each[0] < end]),
    ):
        for quantile in (50, 99):
            value = float(np.percentile([seconds for _, seconds, _ in part], quantile)) * 1000
            yield Line(f"{name}: p{quantile} {when}, ms", value, "printed", True)
    asked = len(answers) - rest
    yield Line(f"{name}: requests", asked, f">= {requests}", asked >= requests)
    yield Line(f"{name}: failed requests", len(load.failures), "<= 0", not load.failures)


def _duration(steps: list[dict[str, Any]]) -> float:
    """Return the seconds from the beginning of the first step to the end of the last."""
    from datetime import datetime

    first, last = (datetime.fromisoformat(steps[end]["time"]).timestamp() for end in (0, -1))
    return last - first + float(steps[0]["seconds"])


@contextmanager
def _cluster() -> Iterator[str]:
    from tests import pods
    from tests.cluster.conftest import HERE, NAME
    from tests.cluster.tools import kubectl

    with tempfile.TemporaryDirectory() as folder:
        os.environ["KUBECONFIG"] = str(Path(folder) / "kubeconfig")
        there = NAME in subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=True).stdout
        verb = ["export", "kubeconfig"] if there else ["create", "cluster", "--config", str(HERE / "kind.yaml")]
        subprocess.run(["kind", *verb, "--name", NAME], check=True)
        try:
            kubectl("apply", "--server-side", "-k", pods.REPOSITORY / "k8s/overlays/kind")
            yield NAME
        finally:
            if not there:
                subprocess.run(["kind", "delete", "cluster", "--name", NAME], check=True)


def gateway(*, seconds: int) -> Iterator[Line]:
    """Compare the stand-in alone with the stand-in behind the gateway: one client's latency, and throughput."""
    from tests import saved_models
    from tests.k8s.test_gateway import Gateway

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = saved_models.save(folder / "models/demo/1")
        with standin(model.parent) as port:
            found = Gateway(folder, port)
            try:
                urls = {"alone": f"http://127.0.0.1:{port}", "behind": found.url}
                latency: dict[str, list[float]] = {each: [] for each in urls}
                most: dict[str, list[float]] = {each: [] for each in urls}
                for _ in range(3):
                    for each, url in urls.items():
                        latency[each].append(_wrk(folder, url, 1, seconds)[0])
                        most[each].append(_wrk(folder, url, 32, seconds)[1])
            finally:
                found.process.terminate()
                found.process.wait()
    added = float(np.median(latency["behind"]) - np.median(latency["alone"]))
    alone, behind = (float(np.median(most[each])) for each in urls)
    yield Line("gateway: p50 alone, ms", float(np.median(latency["alone"])), "printed", True)
    yield Line("gateway: p50 added, ms", added, "<= 1", added <= 1)
    yield Line("gateway: requests a second alone", alone, "printed", True)
    yield Line("gateway: requests a second behind it", behind, "printed", True)
    yield Line("gateway: throughput lost", 1 - behind / alone, "<= 0.2", behind >= 0.8 * alone)


@contextmanager
def standin(base: Path, *more: str) -> Iterator[int]:
    """Run the stand-in with the model `demo` below a folder, and give its port once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    options = [f"--rest_api_port={port}", "--model_name=demo", f"--model_base_path={base}", *more]
    process = subprocess.Popen([sys.executable, "-m", "ci.serving.standin", *options])
    try:
        url, body = f"http://127.0.0.1:{port}/v1/models/demo:predict", {"instances": [ROW]}
        for _ in range(600):
            with suppress(requests.ConnectionError):
                if requests.post(url, json=body, timeout=10).ok:
                    break
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wrk(folder: Path, url: str, connections: int, seconds: int) -> tuple[float, float]:
    """Return the median latency in milliseconds and the requests a second of `wrk` on one thread."""
    body = json.dumps({"instances": [ROW]})
    script = folder / "post.lua"
    script.write_text(f"wrk.method = 'POST'\nwrk.body = '{body}'\n")
    target = f"{url}/v1/models/demo:predict"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, target]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    _expect("Non-2xx" not in said, said)
    found, rate = re.search(r"50%\s+([\d.]+)(us|ms|s)", said), re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found
    assert rate
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]], float(rate[1])


def drills() -> Iterator[Line]:
    """Run every drill five times and count how often it passed."""
    passed: dict[str, int] = {}
    for _ in range(TIMES):
        command = [sys.executable, "-m", "pytest", "-m", "cluster", "-v", "tests/cluster/test_rollout.py"]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        for name, word in re.findall(r"::(test_\S+.*?) (PASSED|FAILED|ERROR)", said):
            passed[name] = passed.get(name, 0) + (word == "PASSED")
        print(said.splitlines()[-1], flush=True)
    _expect(bool(passed), "no drill ran")
    yield from (Line(name, times, f">= {TIMES}", times >= TIMES) for name, times in passed.items())


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise SystemExit(f"this was to succeed and did not: {what}")


if __name__ == "__main__":
    sys.exit(main())
