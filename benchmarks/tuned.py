"""Numbers for `k8s/server/batching.config`, measured on TensorFlow Serving itself: `benchmarks.serving --tune`.

Each candidate is served by a container of the image `serving`, with the CPU of `resources.serving`, and asked by one
client and by 64 for the golden requests of the last build.
"""

import itertools
import json
import math
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import requests

from benchmarks.load import Load, wrk
from ci import configuration, workspace
from ci.capture.replay import BATCH
from ci.errors import InputError
from ci.placement.amounts import quantity
from ci.results.evaluation import GOLDEN, sent
from ci.run.programs import attempt, last_words
from ci.settings import Settings

ROWS, WAITS = (64, 256, 2048), (0, 500, 2000)
"""What is tried: rows in a batch, and microseconds that a batch waits for company."""
LATENCY = 0.1
"""What 99 of 100 requests of 64 clients may take, where `serving.batch_target` is null; seconds."""
_SECONDS = 5
_LOADING = 120.0
Candidate = tuple[int, int]
"""Rows in a batch, and microseconds that it waits."""


class NotItError(Exception):
    """The server is not TensorFlow Serving itself, or it is not there; the message says which and why."""


def tune() -> int:
    """Measure every candidate, print what is proposed, and return the exit code."""
    try:
        settings = configuration.read(Path("pipeline.yaml"))
        image = _image(settings)
        golden = GOLDEN.read()
    except (NotItError, InputError) as error:
        print(f"serving --tune: {error}", file=sys.stderr)
        return 2
    cpus = max(1, math.ceil(Fraction(quantity(settings.resources.serving.cpu, "cpu", Fraction(1, 1000)), 1000)))
    latency = settings.serving.batch_target or LATENCY
    body = json.dumps({"instances": sent(golden.instances[:1])})
    found: dict[Candidate, tuple[Load, Load]] = {}
    for candidate in itertools.product(ROWS, WAITS):
        found[candidate] = _measured(image, settings.model.name, cpus, candidate, body)
        one, many = found[candidate]
        print(
            f"{candidate[0]:5} rows, {candidate[1]:5} us: p50 of one client {one.median:.2f} ms; of 64 clients", end=" "
        )
        print(f"p99 {many.p99:.1f} ms, {many.rate:.0f} requests a second", flush=True)
    chosen = proposed(found, latency)
    if chosen is None:
        print(f"no candidate answers 99 of 100 requests of 64 clients in {latency:g} s: more CPU, or more replicas")
        return 1
    print(f"\nproposed for k8s/server/batching.config, so that 99 of 100 requests take {latency:g} s at most:\n")
    print(config(chosen, cpus))
    if chosen[0] < BATCH:
        print(
            f"with it a request of more than {chosen[0]} rows is refused; the monitor's simulated traffic has {BATCH}"
        )
    return 0


def proposed(found: Mapping[Candidate, tuple[Load, Load]], latency: float) -> Candidate | None:
    """Return the candidate that answers most; None if none keeps to the latency.

    Of those that answer about as much (a twentieth less at most), it is the one that answers a lone client first; of
    several the one with the shortest wait and the largest batch.

    Args:
        found: what one client and 64 saw, by candidate.
        latency: what 99 of 100 requests of 64 clients may take; seconds.
    """
    fit = {each: loads for each, loads in found.items() if loads[1].p99 <= latency * 1000}
    most = max((many.rate for _, many in fit.values()), default=0.0)
    good = [each for each, (_, many) in fit.items() if many.rate >= 0.95 * most]
    return min(good, key=lambda each: (round(fit[each][0].median, 1), each[1], -each[0]), default=None)


def config(candidate: Candidate, cpus: int) -> str:
    """Return a candidate as `batching.config` has it."""
    rows, wait = candidate
    numbers = {
        "max_batch_size": rows,
        "batch_timeout_micros": wait,
        "num_batch_threads": cpus,
        "max_enqueued_batches": 8,
    }
    return "".join(f"{name} {{ value: {value} }}\n" for name, value in numbers.items())


def _image(settings: Settings) -> str:
    """Return the image of TensorFlow Serving, once this machine has it.

    Raises:
        NotItError: the settings serve by the stand-in, or the image does not run here, or `wrk` does not.
    """
    from ci.run import checks
    from tests import pods

    if settings.serving.server != "tensorflow-serving":
        raise NotItError(
            "pipeline.yaml serves by the stand-in, which reads no batching.config: serving.batch_target is its number"
        )
    if not shutil.which("wrk"):
        raise NotItError("wrk is not on the PATH: it asks as 64 clients do; install it (Debian: apt-get install wrk)")
    docker, reference = checks.docker(), pods.images()["serving"]
    if docker.wrong:
        raise NotItError(f"numbers are measured on TensorFlow Serving itself, and Docker {docker.found}")
    done = attempt(
        "docker", "run", "--rm", "--entrypoint", "tensorflow_model_server", reference, "--version", timeout=1800
    )
    if done.returncode:
        raise NotItError(
            f"numbers are measured on TensorFlow Serving itself: {reference} does not run: {last_words(done)}"
        )
    if "TensorFlow ModelServer" not in done.stdout + done.stderr:
        raise NotItError(f"{reference} is not TensorFlow Serving: it calls itself {last_words(done)}")
    return reference


def _measured(image: str, model: str, cpus: int, candidate: Candidate, body: str) -> tuple[Load, Load]:
    """Return what one client and 64 see of a candidate."""
    name = f"tune-{secrets.token_hex(4)}"
    saved = (workspace.MODEL / "saved_model").resolve()
    with tempfile.TemporaryDirectory() as folder:
        file, script = Path(folder) / "batching.config", Path(folder) / "post.lua"
        file.write_text(config(candidate, cpus), encoding="utf-8")
        script.write_text(f"wrk.method = 'POST'\nwrk.body = [==[{body}]==]\n", encoding="utf-8")
        try:
            done = attempt(
                "docker", "run", "-d", "--name", name, f"--cpus={cpus}", "-p", "127.0.0.1::8501",
                "-v", f"{saved}:/models/{model}/1:ro", "-v", f"{file}:/etc/batching.config:ro",
                "--entrypoint", "tensorflow_model_server", image, "--rest_api_port=8501", f"--model_name={model}",
                f"--model_base_path=/models/{model}", "--enable_batching=true", "--enable_profiler=false",
                "--batching_parameters_file=/etc/batching.config", f"--tensorflow_intra_op_parallelism={cpus}",
                f"--tensorflow_inter_op_parallelism={cpus}", "--rest_api_num_threads=16", timeout=120,
            )  # fmt: skip
            if done.returncode:
                raise SystemExit(f"docker does not run it: {last_words(done)}")
            url = f"http://{attempt('docker', 'port', name, '8501').stdout.split()[0]}/v1/models/{model}:predict"
            _wait(url, body, name)
            one, many = (wrk(script, url, clients, _SECONDS) for clients in (1, 64))
            return one, many
        finally:
            attempt("docker", "rm", "-f", name)


def _wait(url: str, body: str, name: str) -> None:
    end = time.monotonic() + _LOADING
    while time.monotonic() < end:
        try:
            if requests.post(url, data=body, timeout=5).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.5)
    raise SystemExit(f"no prediction after {_LOADING:g} s: {last_words(attempt('docker', 'logs', name))}")
