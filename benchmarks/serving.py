"""What batches and the gateway's cache bring: requests a second and p99 at 1, 8 and 64 clients, with and without.

    python -m benchmarks.serving [--quick] [--tune] [--json FILE]

The stand-in serves a small real model on one thread, as a pod of one CPU does. By turns `wrk` asks it alone, with
`serving.batch_target`, behind the gateway, and behind a gateway with `serving.cache_mib`. There are 20,000 different
requests, the k-th of which is 1/k times as frequent as the first. Needs nginx with njs, and wrk.

`--tune` measures TensorFlow Serving instead, on the model that was built last (build/model), and proposes the numbers
of k8s/server/batching.config. On the stand-in they would say nothing: without TensorFlow Serving the exit code is 2.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import requests

from benchmarks.lines import Line, arguments, finish
from benchmarks.load import Load, wrk
from benchmarks.rollout import standin
from benchmarks.tuned import tune

CLIENTS = (1, 8, 64)
TARGET = 0.02
"""What a batch may take; seconds."""
MIB = 16
DIFFERENT = 20_000
"""Different requests."""
_SCRIPT = """
local bodies = {}
function init(args)
  math.randomseed(7)
  for n = 1, %d do
    bodies[n] = wrk.format('POST', nil, nil, '{"instances": [{"x": ' .. n .. '.5, "carrier": "UA", "hour": 3}]}')
  end
end
function request()
  return bodies[math.floor((#bodies) ^ math.random())]
end
"""


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table and return the exit code."""
    parser = arguments("serving", __doc__)
    parser.add_argument("--tune", action="store_true", help="propose numbers for batching.config")
    options = parser.parse_args(argv)
    if options.tune:
        return tune()
    if missing := [name for name in ("nginx", "wrk") if not shutil.which(name)]:
        print(f"not on the PATH: {', '.join(missing)}", file=sys.stderr)
        return 2
    return finish([*measured(options)], options.json)


def measured(options: argparse.Namespace) -> Iterator[Line]:
    """Ask every server in turn, with each number of clients, several times over."""
    from tests import saved_models
    from tests.k8s.test_gateway import Gateway

    rounds, seconds = (6, 1) if options.quick else (10, 3)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        base = saved_models.save(folder / "models/demo/1").parent
        one = "--rest_api_num_threads=1"
        alone = stack.enter_context(standin(base, one))
        batches = stack.enter_context(standin(base, one, f"--batch_target={TARGET}"))
        urls = {"alone": f"http://127.0.0.1:{alone}", "batches": f"http://127.0.0.1:{batches}"}
        gateways = {}
        for each, variables in (("gateway", {}), ("cache", {"CACHE_MIB": str(MIB)})):
            (folder / each).mkdir()
            gateways[each] = Gateway(folder / each, alone, **variables)
            stack.callback(gateways[each].process.wait)
            stack.callback(gateways[each].process.terminate)
            urls[each] = gateways[each].url
        script = folder / "requests.lua"
        script.write_text(_SCRIPT % DIFFERENT)
        loads: dict[tuple[str, int], list[Load]] = {(each, clients): [] for each in urls for clients in CLIENTS}
        for _ in range(rounds):
            for (each, clients), found in loads.items():
                found.append(wrk(script, f"{urls[each]}/v1/models/demo:predict", clients, seconds))
        counts = requests.get(f"{gateways['cache'].inside}/traffic", timeout=10).json()
        yield from lines({key: _best(found) for key, found in loads.items()})
        hits = counts["cached"] / counts["requests"]
        yield Line("cache: share of requests that it answered", hits, ">= 0.3", hits >= 0.3)
        kept = (
            sum(path.stat().st_blocks * 512 for path in (folder / "cache/cache").rglob("*") if path.is_file()) / 2**20
        )
        yield Line(f"cache: MiB it takes of {MIB}", kept, f"<= {MIB}", kept <= MIB)


def lines(loads: Mapping[tuple[str, int], Load]) -> Iterator[Line]:
    """Yield each figure with and without, and what is asked of their ratio."""
    for each, without in (("batches", "alone"), ("cache", "gateway")):
        for clients in CLIENTS:
            before, after = loads[without, clients], loads[each, clients]
            yield Line(f"{without}, {clients} clients: requests a second", before.rate, "printed", True)
            yield Line(f"{each}, {clients} clients: requests a second", after.rate, "printed", True)
            least = {"batches": {1: 0.8, 64: 1.3}, "cache": {1: 0.8, 64: 1.3}}[each].get(clients, 1.0)
            ratio = after.rate / before.rate
            yield Line(f"{each}, {clients} clients: times as many", ratio, f">= {least:g}", ratio >= least)
            yield Line(f"{without}, {clients} clients: p99, ms", before.p99, "printed", True)
            yield Line(f"{each}, {clients} clients: p99, ms", after.p99, "printed", True)


def _best(found: list[Load]) -> Load:
    """Return the round that other work on the machine disturbed least."""
    return max(found, key=lambda load: load.rate)


if __name__ == "__main__":
    sys.exit(main())
